import doctest
import os
from pathlib import Path

import pytest

from fastlm.errors import FileError
from fastlm.storage import locks
from fastlm.storage.locks import Lock


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
@pytest.mark.parametrize("name", ["folder", "file"])
def test_one_at_a_time(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    lock = Lock(tmp_path / name, "somebody is at work")
    for _ in range(2):
        with pytest.raises(FileError, match=r"^somebody is at work$"):
            Lock(tmp_path / name, "somebody is at work")
    lock.release()
    lock.release()
    Lock(tmp_path / name, "somebody is at work").release()


def test_a_file_keeps_its_contents(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something")
    Lock(tmp_path / "file", "").release()
    assert (tmp_path / "file").read_text() == "something"


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot write '.*nowhere/file': No such file or directory"):
        Lock(tmp_path / "nowhere" / "file", "")


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(locks)
    assert results.attempted > 0
    assert results.failed == 0
