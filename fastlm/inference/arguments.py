"""Checks of what callers hand in."""

import math
import numbers
import operator
from typing import SupportsIndex

from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["check_vocabulary", "known_id", "one_line", "real_number", "token_id", "whole_number"]


def whole_number(name: str, value: SupportsIndex, *, minimum: int, maximum: int | None = None) -> int:
    """Return the argument `name` as an int, or raise a ValueError that says what it must be."""
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if number < minimum or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum:,}, got {number:,}")
    return number


def real_number(name: str, value: float) -> float:
    """Return the argument `name` as a float, or raise a ValueError if it is no finite number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def one_line(text: str) -> str:
    """Return a line of text without its line end, or raise a ValueError if there are more lines."""
    if not isinstance(text, str):
        raise ValueError(f"expected a line of text as a str, got {type(text).__name__}")
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line:
        raise ValueError(
            f"expected one line of text, got {line.count(chr(10)) + 1}: {line[:60]!r}; give the lines one by one"
        )
    return line


def check_vocabulary(corpus: Corpus, vocabulary: Vocabulary, *, name: str = "corpus") -> None:
    """Raise a ValueError unless the ids of the argument `name` are those of the model's vocabulary."""
    if not isinstance(corpus, Corpus):
        raise ValueError(
            f"the {name} must be a Corpus, got {type(corpus).__name__}; make it with "
            "Corpus.encode(text, model.vocabulary)"
        )
    if corpus.vocabulary is not vocabulary and corpus.vocabulary != vocabulary:
        raise ValueError(
            f"the {name} was made with another vocabulary ({len(corpus.vocabulary):,} words) than the model's "
            f"({len(vocabulary):,} words); make it with Corpus.encode(text, model.vocabulary)"
        )


def known_id(vocabulary: Vocabulary, word: str) -> int | None:
    """Return the id of a word as it is written, or as the tokenizer writes it; None if it is not one known token."""
    if word in vocabulary:
        return vocabulary[word]
    tokens = vocabulary.tokenizer.tokenize(word)
    return vocabulary[tokens[0]] if len(tokens) == 1 and tokens[0] in vocabulary else None


def token_id(vocabulary: Vocabulary, word: str) -> int:
    """Return the id of a word for a decoder, or raise a ValueError if the tokenizer splits it.

    As it would be `<unk>` unsaid: a model of subwords has to be told the pieces.
    """
    id = vocabulary[word]
    if id != vocabulary.unknown_id or word == vocabulary.UNKNOWN:
        return id
    tokens = vocabulary.tokenizer.tokenize(word)
    if len(tokens) > 1:
        raise ValueError(
            f"the word {word!r} is not one token for this model's tokenizer but {len(tokens)}, {tokens!r:.80}; give "
            "them one after the other"
        )
    return vocabulary[tokens[0]] if tokens else id
