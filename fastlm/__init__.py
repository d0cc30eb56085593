"""fastlm: train and use word-level language models on a CPU.

The public names are loaded when they are first used, so that the import is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlm.errors import DataError, FastLMError, FileError, ModelFileError, TrainingError
    from fastlm.models import NNLM, RNNLM, Adapted, FrozenNNLM, LanguageModel, Mixture, NGramLM, gradient_sizes, load
    from fastlm.text.corpus import Corpus
    from fastlm.text.tokenizer import Tokenizer
    from fastlm.text.vocabulary import Vocabulary
    from fastlm.training.recipes import recipe
    from fastlm.training.trainer import Trainer

    __version__: str

_HOMES = {
    "NNLM": "fastlm.models",
    "RNNLM": "fastlm.models",
    "Adapted": "fastlm.models",
    "Corpus": "fastlm.text.corpus",
    "DataError": "fastlm.errors",
    "FastLMError": "fastlm.errors",
    "FileError": "fastlm.errors",
    "FrozenNNLM": "fastlm.models",
    "LanguageModel": "fastlm.models",
    "Mixture": "fastlm.models",
    "ModelFileError": "fastlm.errors",
    "NGramLM": "fastlm.models",
    "Tokenizer": "fastlm.text.tokenizer",
    "Trainer": "fastlm.training.trainer",
    "TrainingError": "fastlm.errors",
    "Vocabulary": "fastlm.text.vocabulary",
    "gradient_sizes": "fastlm.models",
    "line_perplexities": "fastlm.inference.tokens",
    "load": "fastlm.models",
    "recipe": "fastlm.training.recipes",
    "score_lines": "fastlm.inference.tokens",
}

__all__ = [
    "NNLM",
    "RNNLM",
    "Adapted",
    "Corpus",
    "DataError",
    "FastLMError",
    "FileError",
    "FrozenNNLM",
    "LanguageModel",
    "Mixture",
    "ModelFileError",
    "NGramLM",
    "Tokenizer",
    "Trainer",
    "TrainingError",
    "Vocabulary",
    "gradient_sizes",
    "line_perplexities",
    "load",
    "recipe",
    "score_lines",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes longer than all else that is loaded here

        return version("fastlm")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastlm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
