import doctest
import json
import mmap
import pickle
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fastlm import modelfile
from fastlm.errors import FileError, ModelFileError
from fastlm.modelfile import ModelContents, read_model, write_model
from fastlm.storage import read_tensors, write_tensors
from fastlm.text.tokenizer import make_tokenizer
from fastlm.text.vocabulary import Vocabulary

GOLDEN = Path(__file__).parent / "golden"

WORDS = ["the", "고양이가", "cat", "naïve", "ㅋㅋ", "🐈"]
CONFIG = {"embedding_dim": 3, "hidden_size": 2, "tied": False, "dropout": 0.25, "cutoffs": [2, 4], "name": "한국어"}
INFO = {"fastlm": "0.1.0", "epochs": [{"epoch": 1, "perplexity": 140.5}], "note": None}


def make_contents(tokenizer: object = "word") -> ModelContents:
    """Make a small model of version 1, whose numbers are the same on every machine."""
    vocabulary = Vocabulary(WORDS, [9, 5, 4, 3, 2, 2, 1, 1], tokenizer=make_tokenizer(tokenizer))  # type: ignore[arg-type]
    arrays = {
        "embeddings": (np.arange(27, dtype=np.float32).reshape(9, 3) - 13) / 8,
        "w_hh": np.array([[0.5, -0.25], [1.0, 0.0]], np.float32),
        "bias": np.array([1e-300, -0.0, np.inf]),
        "ids": np.array([3, 1, 2], np.uint16),
        "flags": np.array([[True, False]]),
        "nothing": np.zeros((0, 3), np.float32),
        "scale": np.array(0.125, np.float16),
    }
    return ModelContents("RNNLM", CONFIG, vocabulary, arrays, INFO)


def assert_same(contents: ModelContents, expected: ModelContents) -> None:
    assert contents.architecture == expected.architecture
    assert contents.config == expected.config
    assert contents.info == expected.info
    assert contents.vocabulary == expected.vocabulary
    assert contents.vocabulary.words == expected.vocabulary.words
    assert contents.vocabulary.tokenizer.spec == expected.vocabulary.tokenizer.spec
    np.testing.assert_array_equal(contents.vocabulary.counts, expected.vocabulary.counts)
    assert contents.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert contents.arrays[name].dtype == array.dtype
        assert contents.arrays[name].shape == array.shape
        assert contents.arrays[name].tobytes() == array.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.fastlm"


@pytest.fixture
def saved(path: Path) -> bytes:
    write_model(path, make_contents())
    return path.read_bytes()


# The versions of the format


def make_golden_file_of_version_1(path: Path) -> None:
    """Write the golden file; this was done once, when version 1 was new, and is not done again."""
    write_model(path, make_contents())


def test_golden_file_of_version_1() -> None:
    for verify in (True, False):
        assert_same(read_model(GOLDEN / "model-version-1.safetensors", verify=verify), make_contents())


def test_the_newest_version_is_still_written_as_its_golden_file(path: Path) -> None:
    make_golden_file_of_version_1(path)
    assert path.read_bytes() == (GOLDEN / "model-version-1.safetensors").read_bytes()


# What is written is read


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("tokenizer", ["whitespace", "word", "char"])
def test_round_trip(path: Path, tokenizer: str, verify: bool) -> None:
    contents = make_contents(tokenizer)
    write_model(path, contents)
    loaded = read_model(str(path), verify=verify)
    assert_same(loaded, contents)
    for array in loaded.arrays.values():
        assert isinstance(array.base, mmap.mmap)
        assert not array.flags.writeable


def test_a_vocabulary_without_counts(path: Path) -> None:
    write_model(path, ModelContents("NNLM", {}, Vocabulary(["a"]), {}, {}))
    assert read_model(path).vocabulary.counts is None


def test_equal_models_are_equal_bytes(path: Path, saved: bytes) -> None:
    contents = make_contents()
    shuffled = ModelContents(
        contents.architecture,
        dict(reversed(contents.config.items())),
        pickle.loads(pickle.dumps(contents.vocabulary)),
        dict(reversed(contents.arrays.items())),
        dict(reversed(contents.info.items())),
    )
    write_model(path, shuffled)
    assert path.read_bytes() == saved
    write_model(path, read_model(path))
    assert path.read_bytes() == saved


def test_safetensors_opens_it(path: Path, saved: bytes) -> None:
    tensors = safetensors.numpy.load(saved)
    ends = [0, *tensors.pop("vocabulary.ends").tolist()]
    words = tensors.pop("vocabulary.bytes").tobytes()
    decoded = [words[begin:end].decode() for begin, end in pairwise(ends)]
    assert decoded == ["<unk>", "</s>", *WORDS]
    assert tensors.pop("vocabulary.counts").tolist() == [9, 5, 4, 3, 2, 2, 1, 1]
    assert tensors.keys() == make_contents().arrays.keys()
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"], metadata["architecture"]) == ("fastlm-model", "1", "RNNLM")
    assert json.loads(metadata["config"]) == CONFIG
    assert json.loads(metadata["info"]) == INFO
    assert json.loads(metadata["tokenizer"]) == {"kind": "word", "lower_case": False}


def split_at_dashes(line: str) -> list[str]:
    return line.split("-")


def test_a_tokenizer_of_the_users_own_is_given_again(path: Path) -> None:
    write_model(path, make_contents(split_at_dashes))
    without = read_model(path).vocabulary
    with pytest.raises(ValueError, match=r"split_at_dashes.*give it again"):
        without.encode("the-cat")
    assert read_model(path, tokenizer=split_at_dashes).vocabulary.encode("the-cat").tolist() == [2, 4]


def test_a_tokenizer_where_none_belongs_is_the_callers_mistake(path: Path, saved: bytes) -> None:
    with pytest.raises(ValueError, match="leave it out") as caught:
        read_model(path, tokenizer=split_at_dashes)
    assert not isinstance(caught.value, ModelFileError)


# What cannot be written


@pytest.mark.parametrize(
    ("key", "content"),
    [("config", {"a": np.float32(1)}), ("config", {"a": {1, 2}}), ("info", {"a": float("nan")}), ("info", {"a": open})],
)
def test_what_is_not_json(path: Path, saved: bytes, key: str, content: dict[str, Any]) -> None:
    fields = {"config": {}, "info": {}, key: content}
    with pytest.raises(ValueError, match=f"the model's {key} cannot be stored .*expected what JSON has"):
        write_model(path, ModelContents("NNLM", vocabulary=Vocabulary(["a"]), arrays={}, **fields))
    assert path.read_bytes() == saved


def test_an_array_with_a_name_of_the_vocabularys(path: Path) -> None:
    with pytest.raises(ValueError, match=r"'vocabulary.bytes'.*name it otherwise"):
        write_model(path, ModelContents("NNLM", {}, Vocabulary(["a"]), {"vocabulary.bytes": np.zeros(1)}, {}))


def test_a_failed_save_leaves_the_old_model(path: Path, saved: bytes) -> None:
    with pytest.raises(ValueError, match="dtype object"):
        write_model(path, ModelContents("NNLM", {}, Vocabulary(["a"]), {"a": np.array([None])}, {}))
    assert path.read_bytes() == saved
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# What is not a model


def change_metadata(path: Path, **changes: str | None) -> None:
    """Write the file again with other metadata and right checksums; None takes an entry away."""
    file = read_tensors(path)
    metadata = {**file.metadata, **changes}
    write_tensors(path, {key: value for key, value in metadata.items() if value is not None}, file.tensors)


def change_tensors(path: Path, **changes: Any) -> None:
    """Write the file again with other vocabulary arrays and right checksums; None takes one away."""
    file = read_tensors(path)
    tensors = {**file.tensors, **{f"vocabulary.{name}": array for name, array in changes.items()}}
    write_tensors(path, file.metadata, {name: array for name, array in tensors.items() if array is not None})


def refused(path: Path, expected: str) -> None:
    for verify in (True, False):
        with pytest.raises(ModelFileError, match=expected) as caught:
            read_model(path, verify=verify)
        assert repr(str(path)) in str(caught.value)


def test_a_safetensors_file_of_other_software(path: Path) -> None:
    for metadata, said in ((None, "without a format"), ({"format": "pt"}, "of the format 'pt'")):
        safetensors.numpy.save_file({"x": np.zeros(3)}, path, metadata)
        refused(path, f"it is a safetensors file but not a fastlm model, namely one {said}")


def test_another_file_of_fastlm(path: Path) -> None:
    write_tensors(path, {"format": "fastlm-corpus", "version": "1"}, {"ids": np.zeros(3, np.uint16)})
    refused(path, "not a fastlm model, namely one of the format 'fastlm-corpus'; expected 'fastlm-model'")


@pytest.mark.parametrize("version", ["2", "10", "999999999"])
def test_a_newer_version_names_both(path: Path, saved: bytes, version: str) -> None:
    change_metadata(path, version=version)
    refused(path, f"it has version {version} of the format, but this fastlm reads versions up to 1; install a newer")


@pytest.mark.parametrize("version", [None, "", "0", "-1", "one", "1.0", "١", "²", "9" * 50])
def test_a_version_that_is_none(path: Path, saved: bytes, version: str | None) -> None:
    change_metadata(path, version=version)
    refused(path, "its version is .*, expected a number")


@pytest.mark.parametrize("key", ["architecture", "config", "tokenizer", "info"])
def test_missing_metadata(path: Path, saved: bytes, key: str) -> None:
    change_metadata(path, **{key: None})
    refused(path, f"its metadata has no '{key}', which belongs there")


@pytest.mark.parametrize("key", ["config", "tokenizer", "info"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", r"is '\[1\]', expected a JSON object"),
        ("3", "is '3', expected a JSON object"),
        ("null", "is 'null', expected a JSON object"),
        ("{", "is not JSON"),
        ("[" * 1_000_000, "is not JSON"),
        ('{"a":' + "9" * 5000 + "}", "is not JSON"),
    ],
    ids=["list", "number", "null", "cut off", "nested", "long number"],
)
def test_metadata_of_other_types(path: Path, saved: bytes, key: str, text: str, expected: str) -> None:
    change_metadata(path, **{key: text})
    refused(path, f"its {key} {expected}")


@pytest.mark.parametrize("spec", [{}, {"kind": "unheard of"}, {"kind": "word"}, {"kind": 3}, {"kind": []}])
def test_an_unknown_tokenizer(path: Path, saved: bytes, spec: dict[str, object]) -> None:
    change_metadata(path, tokenizer=json.dumps(spec))
    refused(path, "unknown tokenizer")


SPECIALS = b"<unk></s>"
LIES: dict[str, dict[str, Any]] = {
    "no bytes": {"bytes": None},
    "no ends": {"ends": None},
    "bytes of another type": {"bytes": np.zeros(20, np.int8)},
    "ends of another type": {"ends": np.array([5, 9, 12], np.int32)},
    "two dimensions": {"ends": np.array([[5, 9, 12]])},
    "no dimension": {"ends": np.array(5)},
    "no word at all": {"ends": np.zeros(0, np.int64), "bytes": np.zeros(0, np.uint8), "counts": None},
    "no special words": {"bytes": np.frombuffer(b"abcde", np.uint8), "ends": np.array([2, 5]), "counts": None},
    "ends that go back": {"bytes": np.frombuffer(SPECIALS + b"abcdef", np.uint8), "ends": np.array([5, 9, 13, 11, 15])},
    "an empty word": {"bytes": np.frombuffer(SPECIALS + b"abc", np.uint8), "ends": np.array([5, 9, 10, 10, 12])},
    "ends beyond the bytes": {"bytes": np.frombuffer(SPECIALS + b"abc", np.uint8), "ends": np.array([5, 9, 13])},
    "bytes beyond the ends": {"bytes": np.frombuffer(SPECIALS + b"abc", np.uint8), "ends": np.array([5, 9, 11])},
    "negative ends": {"bytes": np.frombuffer(SPECIALS + b"abc", np.uint8), "ends": np.array([-5, 9, 12])},
    "too few counts": {"counts": np.array([1, 2])},
    "negative counts": {"counts": np.array([9, 5, 4, 3, 2, 2, 1, -1])},
    "counts of another type": {"counts": np.ones(8)},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_vocabulary_that_lies(path: Path, saved: bytes, lie: str) -> None:
    change_tensors(path, **LIES[lie])
    refused(path, "damaged vocabulary")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([b"\xff"], "not UTF-8"),
        ([b"\xed\xa0\x80"], "not UTF-8"),
        (["é".encode()[:1], b"a"], "not UTF-8"),
        (["é".encode()[:1], "é".encode()[1:]], "begins inside a character"),
    ],
)
def test_words_that_are_not_utf8(path: Path, saved: bytes, words: list[bytes], expected: str) -> None:
    data = [b"<unk>", b"</s>", *words]
    ends = np.cumsum([len(word) for word in data])
    change_tensors(path, bytes=np.frombuffer(b"".join(data), np.uint8), ends=ends, counts=None)
    with pytest.raises(ModelFileError, match=expected):
        read_model(path)
    with pytest.raises(ModelFileError, match="not UTF-8"):  # when it is used, at the latest
        _ = read_model(path, verify=False).vocabulary.words


def test_a_cut_and_an_altered_byte(path: Path, saved: bytes) -> None:
    for length in range(0, len(saved), 5):
        path.write_bytes(saved[:length])
        refused(path, "cannot use")
    for position in range(len(saved)):
        path.write_bytes(saved[:position] + bytes([saved[position] ^ 0x21]) + saved[position + 1 :])
        with pytest.raises(ModelFileError, match="cannot use"):
            read_model(path)
        with suppress(ModelFileError):
            read_model(path, verify=False)


def test_a_model_whose_checksums_were_lost_is_read_on_request_alone(path: Path, saved: bytes) -> None:
    with safetensors.safe_open(path, "np") as file:
        metadata = {key: value for key, value in file.metadata().items() if not key.startswith("crc32")}
    safetensors.numpy.save_file(safetensors.numpy.load(saved), path, metadata)
    with pytest.raises(ModelFileError, match="without this package's checksums"):
        read_model(path)
    assert_same(read_model(path, verify=False), make_contents())


def test_a_change_that_fits_its_own_checksum_but_not_the_header(path: Path, saved: bytes) -> None:
    """The header's checksum covers those of the tensors: one cannot be changed with its tensor alone."""
    array = make_contents().arrays["w_hh"]
    other = array + 1
    changed = saved.replace(array.tobytes(), other.tobytes())
    changed = changed.replace(b"%08x" % zlib.crc32(array.tobytes()), b"%08x" % zlib.crc32(other.tobytes()))
    assert len(changed) == len(saved) != 0
    path.write_bytes(changed)
    refused(path, "the CRC-32 of its header")


NO_MODELS: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "text": lambda path: path.write_text("the cat sat on the mat\n" * 10),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": list(range(100))})),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "numbers": lambda path: path.write_bytes(np.arange(100, dtype=np.float32).tobytes()),
}


@pytest.mark.parametrize("kind", NO_MODELS)
def test_other_files(path: Path, kind: str) -> None:
    NO_MODELS[kind](path)
    refused(path, f"cannot use {re.escape(repr(str(path)))}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        read_model(tmp_path / "missing.fastlm")
    with pytest.raises(FileError, match="Is a directory"):
        read_model(tmp_path)


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(modelfile)
    assert results.attempted > 0
    assert results.failed == 0
