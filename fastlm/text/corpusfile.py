"""What a corpus file means: a container (see `fastlm.storage.header`) that holds a text in ids, and all they need.

Its metadata says `format` ("fastlm-corpus") and `version` (2); `vocabulary`, the fingerprint of the vocabulary, by
which two files of one vocabulary know each other; `tokenizer`; and the counts of the text that the ids cannot tell. The
tensor `ids` is the text, uint16 where the vocabulary has at most 65,536 words and int32 where it has more, ``</s>``
behind every sentence. The vocabulary is there as `fastlm.text.stored` describes. Version 1 had none: such a file is
read where the vocabulary is given.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError, FastLMError, ModelFileError
from fastlm.storage import Source, TensorFile, TensorWriter, is_container, read_tensors, write_tensors
from fastlm.text.stored import read_vocabulary
from fastlm.text.vocabulary import Vocabulary

__all__ = ["counts_entry", "id_type", "is_corpus", "open_corpus_writer", "read_corpus", "write_corpus"]

FORMAT = "fastlm-corpus"
VERSION = 2

# What a corpus knows of its text besides the ids, as the file's metadata keeps it.
COUNTS = ("num_sentences", "num_unknown", "num_empty_lines", "num_replaced", "num_skipped")
OPTIONAL_COUNTS = ("num_characters", "num_bytes")


def id_type(vocabulary: Vocabulary) -> type[np.uint16 | np.int32]:
    """Return the type of the ids: the smallest that fits."""
    return np.uint16 if len(vocabulary) <= 1 << 16 else np.int32


def open_corpus_writer(path: Source, vocabulary: Vocabulary, *, temporary_in: Source | None = None) -> TensorWriter:
    """Begin a corpus file, to which the ids are appended; the counts are added to its metadata by `counts_entry`."""
    metadata, others = _metadata(vocabulary), vocabulary.to_arrays()
    return TensorWriter(path, "ids", id_type(vocabulary), metadata, others, temporary_in=temporary_in)


def is_corpus(path: Source) -> bool:
    """Tell whether a file calls itself a corpus; a container that is damaged is an error."""
    return is_container(path) and read_tensors(path, verify=False).metadata.get("format") == FORMAT


def counts_entry(counts: Mapping[str, int | None]) -> dict[str, str]:
    """Return counts as the metadata keeps them."""
    return {name: str(counts[name]) for name in COUNTS + OPTIONAL_COUNTS if counts[name] is not None}


def write_corpus(path: Source, ids: NDArray[Any], vocabulary: Vocabulary, counts: Mapping[str, int | None]) -> None:
    """Write a corpus file of ids that are there."""
    write_tensors(path, _metadata(vocabulary) | counts_entry(counts), vocabulary.to_arrays() | {"ids": ids})


def read_corpus(
    path: Source,
    vocabulary: Vocabulary | None = None,
    *,
    verify: bool = True,
    tokenizer: Callable[[str], Iterable[str]] | None = None,
) -> tuple[NDArray[Any], Vocabulary, dict[str, int | None]]:
    """Read a corpus file; see `Corpus.open`.

    Returns
    -------
    ids, vocabulary, counts
        The ids are a read-only view of the file's memory map.
    """
    name = os.fspath(path)
    file = read_tensors(path, verify=False)
    version = _checked_version(name, file.metadata)
    if verify:
        file.verify()
    if vocabulary is None and version == 1:
        raise ModelFileError(
            f"cannot use {name!r} by itself: it has version 1 of the format, which does not hold the vocabulary, as "
            f"version {VERSION} does; give the vocabulary that it was encoded with, or prepare the text again"
        )
    if vocabulary is None:
        try:
            vocabulary = read_vocabulary(file, tokenizer, verify=verify)
        except FastLMError as error:
            raise ModelFileError(f"cannot use {name!r}: {error}") from error
    _check_fingerprint(name, file.metadata, vocabulary)
    ids, counts = _checked_contents(name, file, vocabulary, verify=verify)
    return ids, vocabulary, counts


def _metadata(vocabulary: Vocabulary) -> dict[str, str]:
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "vocabulary": vocabulary.fingerprint(),
        "tokenizer": json.dumps(vocabulary.tokenizer.spec, ensure_ascii=False, sort_keys=True),
    }


def _checked_version(name: str, metadata: Mapping[str, str]) -> int:
    found, version = metadata.get("format"), metadata.get("version", "")
    if found != FORMAT:
        raise ModelFileError(f"cannot use {name!r} as a corpus: its format is {found!r}, expected {FORMAT!r}")
    if not (version.isascii() and version.isdecimal() and len(version) < 10 and 0 < int(version) <= VERSION):
        raise ModelFileError(
            f"cannot use {name!r}: it has version {version!r} of the format, this fastlm reads versions up to "
            f"{VERSION}; install a newer fastlm, or prepare the text again"
        )
    return int(version)


def _check_fingerprint(name: str, metadata: Mapping[str, str], vocabulary: Vocabulary) -> None:
    if metadata.get("vocabulary") != vocabulary.fingerprint():
        raise DataError(
            f"cannot use {name!r}: it was encoded with another vocabulary or tokenizer; expected the fingerprint "
            f"{vocabulary.fingerprint()[:12]}…, got {str(metadata.get('vocabulary'))[:12]}…: give the vocabulary that "
            f"it was encoded with, or prepare the text again with the one that is expected (fastlm prepare --vocab)"
        )


def _checked_contents(
    name: str, file: TensorFile, vocabulary: Vocabulary, *, verify: bool
) -> tuple[NDArray[Any], dict[str, int | None]]:
    ids = file.tensors.get("ids")
    counts = {key: file.metadata.get(key, "") for key in COUNTS + OPTIONAL_COUNTS}
    if (
        ids is None
        or ids.ndim != 1
        or len(ids) == 0
        or ids.dtype != id_type(vocabulary)
        or (verify and not 0 <= ids.min() <= ids.max() < len(vocabulary))
        or not all(count.isdecimal() or (count == "" and key in OPTIONAL_COUNTS) for key, count in counts.items())
    ):
        raise ModelFileError(f"cannot use {name!r}: its ids or counts are not those of a corpus; it is damaged")
    return ids, {key: int(count) if count else None for key, count in counts.items()}
