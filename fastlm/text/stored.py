"""A vocabulary with its tokenizer, as it lies in a file: a model's or a corpus's.

The metadata's `tokenizer` says as JSON how text is split. The words are three tensors, so that hundreds of thousands of
them are mapped and not parsed: `vocabulary.bytes`, their UTF-8 one after the other, `vocabulary.ends`, where each word
ends in them, and, where they are known, `vocabulary.counts`.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError, ModelFileError
from fastlm.storage import Source, TensorFile, read_tensors
from fastlm.text.tokenizer import tokenizer_from_spec
from fastlm.text.vocabulary import Vocabulary

__all__ = ["VOCABULARY", "open_vocabulary", "read_entry", "read_json", "read_vocabulary"]

VOCABULARY = "vocabulary."  # how the names of the vocabulary's tensors begin


def open_vocabulary(path: Source) -> Vocabulary:
    """Take the vocabulary, with its tokenizer, out of a model file or a corpus.

    Raises
    ------
    FileError
        If the file cannot be read.
    ModelFileError
        If it is damaged, or holds no vocabulary.
    """
    file = read_tensors(path)
    try:
        return read_vocabulary(file, verify=True)
    except FastLMError as error:
        raise ModelFileError(f"cannot use the vocabulary of {os.fspath(path)!r}: {error}") from error


def read_vocabulary(
    file: TensorFile, function: Callable[[str], Iterable[str]] | None = None, *, verify: bool
) -> Vocabulary:
    """Take the vocabulary of a file that is open; `function` is a tokenizer of the user's own, given again."""
    tokenizer = tokenizer_from_spec(read_json(file, "tokenizer"), function)
    vocabulary = Vocabulary.from_arrays(file.tensors, tokenizer)
    if verify:
        _check_words(file.tensors)
    return vocabulary


def read_entry(file: TensorFile, key: str) -> str:
    """Return an entry of the metadata, which must be there."""
    if not file.metadata.get(key):
        raise ModelFileError(f"its metadata has no {key!r}, which belongs there; write the file again")
    return file.metadata[key]


def read_json(file: TensorFile, key: str) -> dict[str, Any]:
    """Return a JSON object that an entry of the metadata holds."""
    text = read_entry(file, key)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its {key} is not JSON ({error}); write the file again") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"its {key} is {text[:80]!r}, expected a JSON object; write the file again")
    return content


def _check_words(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check that every word is UTF-8, without making strings of them."""
    data, ends = tensors["vocabulary.bytes"], tensors["vocabulary.ends"]
    try:
        str(data.data, "utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"its vocabulary is not UTF-8 ({error}); write the file again") from error
    if np.any(data[ends[:-1]] & 0xC0 == 0x80):
        raise ModelFileError("a word of its vocabulary begins inside a character of UTF-8; write the file again")
