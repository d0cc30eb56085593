"""Sample texts, for demonstrations and for trying things out; one sentence or review a line, not tokenized.

``shakespeare``
    40,000 lines of Shakespeare's plays with speaker names and empty lines, known as "tiny Shakespeare" (A. Karpathy,
    char-rnn, 2015). Public domain.
``korean``
    13,000 short film reviews with the spelling as people typed it: the first 13,000 reviews of the Naver sentiment
    movie corpus (L. Park, https://github.com/e9t/nsmc) in the order of the SHA-256 of their text, which is as good
    as a random order. Unicode NFC, runs of white space made one space, repeated and empty reviews dropped, e-mail
    addresses and telephone numbers replaced by ``<email>`` and ``<phone>``. CC0 1.0.

Both are UTF-8, compressed by gzip, and go well with ``tokenizer="word"``.
"""

from importlib import resources
from pathlib import Path

__all__ = ["SAMPLE_TEXTS", "sample_text"]

SAMPLE_TEXTS = ("shakespeare", "korean")


def sample_text(name: str) -> Path:
    """Where a sample text lies, as a file that everything in fastlm reads as it is.

    Parameters
    ----------
    name
        ``"shakespeare"`` or ``"korean"``.

    Returns
    -------
    Path
        A gzip-compressed UTF-8 text, inside the installed package: not to be written to.

    Raises
    ------
    ValueError
        If there is no sample of this name.

    Examples
    --------
    >>> import gzip
    >>> from fastlm.data import sample_text
    >>> with gzip.open(sample_text("shakespeare"), "rt", encoding="utf-8") as lines:
    ...     next(lines)
    'First Citizen:\\n'
    """
    if name not in SAMPLE_TEXTS:
        raise ValueError(f"no sample text is called {name!r}; there are {' and '.join(map(repr, SAMPLE_TEXTS))}")
    return Path(str(resources.files(__name__) / f"{name}.txt.gz"))
