"""What a model file means: a container (see `fastlm.storage.header`) that holds a whole language model.

Its metadata says what the file is and how the model is built: `format` ("fastlm-model") and `version` (1), so that
other files and files from the future are told apart before anything else is believed; `architecture`, the name of the
model's class; and as JSON objects `config`, the arguments that the class is built with, and `info`, which is free and
needed by nobody to use the model. The vocabulary and the tokenizer are there as `fastlm.text.stored` describes. All
other tensors are the model's own arrays, under the names that the model gives them. There is no pickle anywhere:
reading a file runs nothing that stands in it.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastlm.errors import FastLMError, ModelFileError
from fastlm.storage import Source, read_tensors, write_tensors
from fastlm.text.stored import VOCABULARY, read_entry, read_json, read_vocabulary
from fastlm.text.vocabulary import Vocabulary

__all__ = ["ModelContents", "read_model", "write_model"]

FORMAT = "fastlm-model"
VERSION = 1


@dataclass(frozen=True, eq=False)
class ModelContents:
    """All that a model file holds.

    Attributes
    ----------
    architecture : str
        Name of the model's class.
    config : dict
        The arguments that the class is built with, as JSON has them.
    vocabulary : Vocabulary
        The words, with the tokenizer.
    arrays : dict of str to array
        The model's arrays; read-only views of the file's memory map when they were read.
    info : dict
        Anything else worth knowing, as JSON has it: how the model was trained, for example.
    """

    architecture: str
    config: dict[str, Any]
    vocabulary: Vocabulary
    arrays: dict[str, NDArray[Any]]
    info: dict[str, Any]


def write_model(path: Source, contents: ModelContents) -> None:
    """Write a model file, atomically; equal contents give equal bytes.

    Parameters
    ----------
    path : str or path-like
        The file to write.
    contents : ModelContents
        What it shall hold.

    Raises
    ------
    FileError
        If the file cannot be written; an old file is then untouched.
    ValueError
        If `config` or `info` is not JSON, or an array has the name of a vocabulary's or a type that cannot be stored.

    Examples
    --------
    >>> import numpy as np
    >>> vocabulary = Vocabulary(["the", "cat"])
    >>> rows = np.zeros((5, 2), np.float32)
    >>> write_model("cat.fastlm", ModelContents("NNLM", {"embedding_dim": 2}, vocabulary, {"embeddings": rows}, {}))
    >>> read_model("cat.fastlm").vocabulary.words
    ('<unk>', '</s>', 'the', 'cat')
    """
    for name in contents.arrays:
        if name.startswith(VOCABULARY):
            raise ValueError(f"a model's array cannot be named {name!r}: 'vocabulary.…' is taken; name it otherwise")
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "architecture": contents.architecture,
        "config": _to_json("config", contents.config),
        "tokenizer": _to_json("tokenizer", contents.vocabulary.tokenizer.spec),
        "info": _to_json("info", contents.info),
    }
    write_tensors(path, metadata, contents.vocabulary.to_arrays() | contents.arrays)


def _to_json(key: str, content: Mapping[str, Any]) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the model's {key} cannot be stored ({error}); expected what JSON has: finite numbers, strings, truth "
            "values, None, and lists and dicts of these"
        ) from error


def read_model(
    path: Source, *, verify: bool = True, tokenizer: Callable[[str], Iterable[str]] | None = None
) -> ModelContents:
    """Read a model file.

    Parameters
    ----------
    path : str or path-like
        The file.
    verify : bool, default True
        Read all of it once and check it against its checksums. Without, header and lengths are checked, and the
        arrays are mapped and not read until they are used.
    tokenizer : callable, optional
        The function that splits text, for a model that was trained with one of the user's own. Without it such a
        model can be read all the same, but it cannot split text.

    Returns
    -------
    ModelContents
        The arrays are read-only and share the file's pages with all processes that read it.

    Raises
    ------
    FileError
        If the file cannot be opened.
    ModelFileError
        If it is damaged, incomplete, of a newer version, or something else.
    ValueError
        If `tokenizer` is given, and the model was not trained with such a function.
    """
    name = os.fspath(path)
    file = read_tensors(path, verify=False)
    _check_format(name, file.metadata)
    if verify:
        file.verify()
    try:
        vocabulary = read_vocabulary(file, tokenizer, verify=verify)
        architecture = read_entry(file, "architecture")
        config, info = read_json(file, "config"), read_json(file, "info")
    except FastLMError as error:
        raise ModelFileError(f"cannot use {name!r}: {error}") from error
    arrays = {key: array for key, array in file.tensors.items() if not key.startswith(VOCABULARY)}
    return ModelContents(architecture, config, vocabulary, arrays, info)


def _check_format(name: str, metadata: Mapping[str, str]) -> None:
    found, version = metadata.get("format"), metadata.get("version", "")
    if found != FORMAT:
        kind = "without a format" if found is None else f"of the format {found!r}"
        raise ModelFileError(
            f"cannot use {name!r}: it is a safetensors file but not a fastlm model, namely one {kind}; "
            f"expected {FORMAT!r}: give a file that fastlm saved a model in"
        )
    if not (version.isascii() and version.isdecimal() and len(version) < 10 and int(version) > 0):
        raise ModelFileError(f"cannot use {name!r}: its version is {version!r}, expected a number; it is damaged")
    if int(version) > VERSION:
        raise ModelFileError(
            f"cannot use {name!r}: it has version {version} of the format, but this fastlm reads versions up to "
            f"{VERSION}; install a newer fastlm (pip install -U fastlm)"
        )
