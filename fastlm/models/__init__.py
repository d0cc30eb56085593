"""The language models, and the one table that maps a model file's architecture to its class."""

import os
from collections.abc import Callable, Iterable

from fastlm.errors import ModelFileError
from fastlm.modelfile import read_model
from fastlm.models.adapted import Adapted
from fastlm.models.base import LanguageModel
from fastlm.models.dynamic_evaluation import gradient_sizes
from fastlm.models.frozen import FrozenNNLM
from fastlm.models.mixture import Mixture
from fastlm.models.neural import NeuralModel
from fastlm.models.ngram import NGramLM
from fastlm.models.nnlm import NNLM
from fastlm.models.rnnlm import RNNLM

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "NNLM",
    "RNNLM",
    "Adapted",
    "FrozenNNLM",
    "LanguageModel",
    "Mixture",
    "NGramLM",
    "NeuralModel",
    "gradient_sizes",
    "load",
]

NETWORKS: dict[str, type[NeuralModel]] = {"nnlm": NNLM, "rnnlm": RNNLM}
ARCHITECTURES: dict[str, type[LanguageModel]] = {
    **NETWORKS,
    **{"ngram": NGramLM, "mixture": Mixture, "adapted": Adapted, "frozen": FrozenNNLM},
}


def load(
    path: str | os.PathLike[str], *, verify: bool = True, tokenizer: Callable[[str], Iterable[str]] | None = None
) -> LanguageModel:
    """Open a model file.

    Parameters
    ----------
    path : path of a file that `save` or `fastlm train` has written
    verify : bool
        Whether to check every byte against the file's checksums. False checks the header and the lengths only, and
        maps the arrays into memory as they are: quick for large models, and shared between processes.
    tokenizer : callable, optional
        The function that split the text, for a model whose tokenizer was a Python callable.

    Returns
    -------
    LanguageModel
        An NNLM, RNNLM, NGramLM, Mixture, Adapted or FrozenNNLM. Its parameters are read-only until it is trained.

    Raises
    ------
    FileError
        If the file cannot be read.
    ModelFileError
        If it is damaged, was written by a newer version, or is not a model.

    Examples
    --------
    >>> import fastlm
    >>> model = fastlm.NNLM(fastlm.Vocabulary(["the", "cat"]), context_size=2, embedding_dim=4, hidden_size=8)
    >>> model.save("cat.fastlm")
    >>> fastlm.load("cat.fastlm").predict("the", k=1) == model.predict("the", k=1)
    True
    """
    contents = read_model(path, verify=verify, tokenizer=tokenizer)
    if contents.architecture not in ARCHITECTURES:
        raise ModelFileError(
            f"{path} holds a model of architecture {contents.architecture!r}, expected one of "
            f"{', '.join(ARCHITECTURES)}; a newer version of fastlm may know it"
        )
    return ARCHITECTURES[contents.architecture].from_contents(contents)
