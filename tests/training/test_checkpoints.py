import doctest
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm import FileError
from fastlm.storage import read_tensors, write_tensors
from fastlm.training import checkpoints as module
from fastlm.training.checkpoints import Checkpoint, Checkpoints, check_directory


def make(step: int, best: str | None = None, **arrays: Any) -> Checkpoint:
    return Checkpoint({"seed": 1}, {"step": step, "best": best}, {"a": np.full(3, step, np.float32)} | arrays)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.name != ".lock"}


def fill(folder: Path, steps: int, best: str | None = None) -> None:
    with Checkpoints(folder, 0) as checkpoints:
        for step in range(1, steps + 1):
            checkpoints.save(make(step, best))


def latest(folder: Path) -> Checkpoint | None:
    with Checkpoints(folder, 0, resume=True) as checkpoints:
        return checkpoints.latest()


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    arrays = {"wide": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 4), np.float32)}
    state = {"step": 7, "loss": 0.1 + 0.2, "best": None, "nested": {"ended": None, "list": [1, 2.5, True]}}
    with Checkpoints(tmp_path, 0) as checkpoints:
        checkpoints.save(Checkpoint({"name": "한국어"}, state, arrays))
    found = latest(tmp_path)
    assert found is not None
    assert (found.run, found.state) == ({"name": "한국어"}, state)
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)


def test_no_arrays_and_no_directory(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "deep" / "down", 0) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(Checkpoint({}, {"best": None}, {}))
    found = latest(tmp_path / "deep" / "down")
    assert found is not None
    assert found.arrays == {}
    with Checkpoints(None, 0) as nowhere:
        nowhere.save(make(1))
        assert (nowhere.are_due, nowhere.latest(), nowhere.folder) == (False, None, None)


def test_the_last_two_are_kept_with_their_best_models(tmp_path: Path) -> None:
    bests = [None, "best-1.fastlm", "best-1.fastlm", "best-2.fastlm", "best-2.fastlm", "best-2.fastlm"]
    kept = []
    with Checkpoints(tmp_path, 0) as checkpoints:
        for step, best in enumerate(bests, start=1):
            if best is not None and not (tmp_path / best).exists():
                write_tensors(tmp_path / best, {}, {"a": np.zeros(3)})
            checkpoints.save(make(step, best))
            kept.append(names(tmp_path))
    files = [f"checkpoint-{number:06}.safetensors" for number in range(1, 7)]
    assert kept == [
        {files[0]},
        {files[0], files[1], "best-1.fastlm"},
        {files[1], files[2], "best-1.fastlm"},
        {files[2], files[3], "best-1.fastlm", "best-2.fastlm"},
        {files[3], files[4], "best-2.fastlm"},
        {files[4], files[5], "best-2.fastlm"},
    ]


def test_they_are_due_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    due = []
    with Checkpoints(tmp_path, 10) as checkpoints:
        for _ in range(30):
            now[0] += 1
            due.append(checkpoints.are_due)
            if checkpoints.are_due:
                checkpoints.save(make(1))
    assert [second for second, is_due in enumerate(due, start=1) if is_due] == [10, 20, 30]


def test_a_damaged_one_is_told_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, 3)
    damaged = tmp_path / "checkpoint-000003.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with Checkpoints(tmp_path, 0, resume=True) as checkpoints:
        found = checkpoints.latest()
        assert found is not None
        assert found.state["step"] == 2
        assert "checkpoint-000003" in caplog.text
        assert "going back to the checkpoint before it" in caplog.text
        checkpoints.save(make(9))  # takes the damaged one's place
        assert names(tmp_path) == {"checkpoint-000002.safetensors", "checkpoint-000003.safetensors"}
        checkpoints.save(make(10))
    found = latest(tmp_path)
    assert found is not None
    assert found.state["step"] == 10
    assert names(tmp_path) == {"checkpoint-000003.safetensors", "checkpoint-000004.safetensors"}


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    fill(folder, 2)
    path = folder / "checkpoint-000002.safetensors"
    contents = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(contents) - 1))
    if data.draw(st.booleans()):
        contents[position] ^= data.draw(st.integers(1, 255))
    else:
        del contents[position:]
    path.write_bytes(contents)
    found = latest(folder)
    assert found is not None
    assert found.state["step"] == 1


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_one_whose_best_model_is_damaged_is_passed_over(tmp_path: Path, damage: str) -> None:
    with Checkpoints(tmp_path, 0) as checkpoints:
        for number in (1, 2):
            write_tensors(tmp_path / f"best-{number}.fastlm", {}, {"a": np.full(3, number)})
            checkpoints.save(make(number, f"best-{number}.fastlm"))
    best = tmp_path / "best-2.fastlm"
    if damage == "cut":
        best.write_bytes(best.read_bytes()[:-3])
    else:
        best.unlink()
    found = latest(tmp_path)
    assert found is not None
    assert found.state["step"] == 1


def test_where_none_is_whole_nothing_begins(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(b"not at all")
    with pytest.raises(FileError, match=r"no checkpoint in .* can be used: .*000002.*000001.*new directory"):
        latest(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"format": "fastlm-model"}, "has the format 'fastlm-model'"),
        ({"version": "2"}, "version '2'; expected 'fastlm-checkpoint', version '1'"),
        ({"run": "{"}, "is not that of a checkpoint"),
        ({"run": "[1]"}, "is not that of a checkpoint"),
        ({"state": "[]"}, "is not that of a checkpoint"),
        ({"state": "{}"}, "is not that of a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, metadata: dict[str, str], words: str) -> None:
    fill(tmp_path, 1)
    path = tmp_path / "checkpoint-000001.safetensors"
    write_tensors(path, read_tensors(path).metadata | metadata, {})
    with pytest.raises(FileError, match=words):
        latest(tmp_path)


def test_checkpoints_that_nobody_asked_for_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    for refuse in (lambda: check_directory(tmp_path, resume=False), lambda: Checkpoints(tmp_path, 0).__enter__()):
        with pytest.raises(FileError, match=r"has checkpoints of an earlier run; say --resume \(resume=True\)"):
            refuse()
    check_directory(tmp_path, resume=True)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / ".fastlm-0123-4567.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").touch()
    with Checkpoints(tmp_path, 0, resume=True):
        assert names(tmp_path) == {"checkpoint-000001.safetensors", "notes.txt"}


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_a_directory_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    hold = (
        "import sys; from fastlm.training.checkpoints import Checkpoints\n"
        "with Checkpoints(sys.argv[1], 0): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(FileError, match="another run is using"), Checkpoints(tmp_path, 0):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with Checkpoints(tmp_path, 0):  # a killed process holds nothing
            pass


@pytest.mark.parametrize(("place", "words"), [("file", "create the directory"), ("file/below", "create the directory")])
def test_what_cannot_be_a_directory_is_found_at_once(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=f"cannot {words} .*{place}"):
        check_directory(tmp_path / place, resume=False)


def test_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path, 0) as checkpoints:
        checkpoints.save(make(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        try:
            with pytest.raises(FileError, match="File too large") as caught:
                checkpoints.save(make(2, b=np.zeros(10_000)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert names(tmp_path) == {"checkpoint-000001.safetensors"}
        checkpoints.save(make(3))
    found = latest(tmp_path)
    assert found is not None
    assert found.state["step"] == 3


def test_equal_checkpoints_are_equal_bytes_of_a_plain_format(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        fill(tmp_path / folder, 1)
    path = tmp_path / "a" / "checkpoint-000001.safetensors"
    assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    metadata = read_tensors(path).metadata
    assert json.loads(metadata["state"]) == {"best": None, "step": 1}


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
