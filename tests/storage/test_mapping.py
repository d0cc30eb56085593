"""Mapped files that somebody writes to while they are in use."""

import doctest
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fastlm import FileError
from fastlm.storage import check_unchanged, mapping, read_tensors, write_tensors

IDS = np.arange(1000, dtype=np.uint16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "ids", {}, {"ids": IDS, "others": np.eye(3)})
    os.utime(tmp_path / "ids", ns=(1, 1))
    return tmp_path / "ids"


@pytest.fixture
def ids(path: Path) -> NDArray[np.uint16]:
    return read_tensors(path).tensors["ids"]


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(content)


def test_what_stays_as_it_is(path: Path, ids: NDArray[np.uint16]) -> None:
    check_unchanged(IDS)
    check_unchanged(ids)
    check_unchanged(ids[5:][::2].view())
    path.touch()
    check_unchanged(ids)
    write_tensors(path, {}, {"ids": IDS[:7]})  # replaces it
    check_unchanged(ids)
    path.unlink()
    check_unchanged(ids)
    assert np.array_equal(ids, IDS)


def test_a_file_that_is_cut_or_grows(path: Path, ids: NDArray[np.uint16]) -> None:
    size = path.stat().st_size
    for changed in (size - 1, 0, size + 1):
        os.truncate(path, changed)
        for _ in range(2):
            with pytest.raises(FileError, match=r"ids' was changed while it was in use; put back what it was"):
                check_unchanged(ids)


def test_other_contents_of_the_same_size(path: Path, ids: NDArray[np.uint16]) -> None:
    overwrite(path, -1, b"x")
    for _ in range(2):  # not only the first time
        with pytest.raises(FileError, match="was changed while it was in use"):
            check_unchanged(ids[:3])
    overwrite(path, -1, IDS.tobytes()[-1:])
    check_unchanged(ids)


def test_a_file_without_checksums(tmp_path: Path) -> None:
    header = b'{"ids":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "plain").write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    ids = read_tensors(tmp_path / "plain", verify=False).tensors["ids"]
    check_unchanged(ids)
    os.utime(tmp_path / "plain", ns=(1, 1))
    with pytest.raises(FileError, match="was changed"):
        check_unchanged(ids)


def test_names_are_those_of_the_folder_that_was_current(
    path: Path, ids: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(path.parent)
    relative = read_tensors("ids").tensors["ids"]
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    overwrite(path, -1, b"x")
    with pytest.raises(FileError, match="was changed"):
        check_unchanged(relative)


def test_examples() -> None:
    results = doctest.testmod(mapping)
    assert results.attempted > 0
    assert results.failed == 0
