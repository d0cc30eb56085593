import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlm.errors import FileError
from fastlm.training.history import Epoch, History, Log, Step


def make_epoch(number: int, valid_loss: float | None = 4.0, *, best: bool = True) -> Epoch:
    return Epoch(
        epoch=number,
        step=number * 10,
        train_loss=5.0,
        valid_loss=valid_loss,
        learning_rate=0.1,
        tokens_per_second=1234.5,
        seconds=2.0,
        best=best,
    )


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text(encoding="utf-8").splitlines()]


def test_perplexities_are_exponentials() -> None:
    epoch = make_epoch(1)
    assert epoch.train_perplexity == pytest.approx(math.exp(5))
    assert epoch.valid_perplexity == pytest.approx(math.exp(4))
    assert make_epoch(1, None).valid_perplexity is None
    assert make_epoch(1, 1e6).valid_perplexity == math.inf


def test_an_epoch_as_a_line() -> None:
    line = str(make_epoch(3))
    assert "epoch 3: training perplexity 148.41, validation perplexity 54.60 (best)" in line
    assert "\n" not in line
    assert "(best)" not in str(make_epoch(3, best=False))
    assert "validation" not in str(make_epoch(3, None))
    assert "(best)" not in str(make_epoch(3, None))


def test_an_epoch_that_was_cut_and_validated_on_a_part_says_so() -> None:
    line = str(dataclasses.replace(make_epoch(3), part=0.256, valid_tokens=5000))
    assert "epoch 3 (25.6 % of it): " in line
    assert "validation perplexity 54.60 on the first 5,000 tokens (best), " in line
    assert "first" not in str(dataclasses.replace(make_epoch(3, None), valid_tokens=5000))


def test_a_training_loss_that_is_estimated_says_so() -> None:
    assert "training perplexity about 148.41, validation" in str(dataclasses.replace(make_epoch(3), estimated=True))


def test_the_best_epoch_is_the_last_that_was_best() -> None:
    history = History()
    assert history.best is None
    assert history.epochs_since_best == 0
    for number, best in enumerate([True, True, False, False], start=1):
        history.epochs.append(make_epoch(number, best=best))
    assert history.best is history.epochs[1]
    assert history.epochs_since_best == 2


def test_the_log_is_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        log.write("start", name="한국어", config={"a": 1}, rate=math.inf, other=math.nan)
        log.epoch(make_epoch(1))
        log.epoch(make_epoch(2, None))
    start, first, second = read(path)
    assert start == {"event": "start", "name": "한국어", "config": {"a": 1}, "rate": None, "other": None}
    assert first["event"] == "epoch"
    assert first["epoch"] == 1
    assert first["valid_loss"] == 4.0
    assert first["valid_perplexity"] == pytest.approx(math.exp(4))
    assert second["valid_perplexity"] is second["valid_loss"] is None
    assert "한국어" in path.read_text(encoding="utf-8")


def test_steps_are_logged_now_and_then(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        for number in range(1, 351):
            log.step(Step(number, 1, 5.0, 700, 0.1, 2.0))
    lines = read(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == [100, 200, 300]
    assert lines[0] == {
        "event": "step",
        "step": 100,
        "epoch": 1,
        "loss": 5.0,
        "num_tokens": 700,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
    }


def test_lines_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        log.write("start")
        assert read(tmp_path / "log.jsonl") == [{"event": "start"}]


def lines_of(log: Log, numbers: range) -> None:
    for number in numbers:
        log.write("line", number=number, word="한국어")


def test_a_log_goes_on_where_it_was_marked(tmp_path: Path) -> None:
    path, whole = tmp_path / "log.jsonl", tmp_path / "whole.jsonl"
    with Log(whole) as log:
        lines_of(log, range(9))
    with Log(path) as log:
        assert log.is_new
        lines_of(log, range(3))
        mark = log.mark()
        lines_of(log, range(3, 7))
    for _ in range(2):  # killed again before there is another mark
        with Log(path, mark) as log:
            assert not log.is_new
            lines_of(log, range(3, 5))
    with path.open("ab") as file:
        file.write(b'{"event": "line", "number": 99, "word": "very long"}\n' * 9 + b'{"event": "li')
    with Log(path, mark) as log:
        assert len(read(path)) == 3
        lines_of(log, range(3, 8))
        mark = log.mark()
    with Log(path, mark) as log:
        lines_of(log, range(8, 9))
    assert path.read_bytes() == whole.read_bytes()


def test_a_mark_before_the_first_line(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        mark = log.mark()
    for _ in range(2):
        with Log(tmp_path / "log", mark) as log:
            lines_of(log, range(2))
    assert len(read(tmp_path / "log")) == 2


@pytest.mark.parametrize("contents", ["", None])
def test_a_new_file_is_begun_from_a_mark_in_another(tmp_path: Path, contents: str | None) -> None:
    with Log(tmp_path / "log") as log:
        lines_of(log, range(3))
        mark = log.mark()
    if contents is not None:
        (tmp_path / "new").write_text(contents)
    with Log(tmp_path / "new", mark) as log:
        assert log.is_new
        lines_of(log, range(1))
    assert len(read(tmp_path / "new")) == 1


@pytest.mark.parametrize("change", [lambda data: b"x" + data[1:], lambda data: data[:-1], lambda data: b"other\n"])
def test_another_file_is_left_alone(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "log"
    with Log(path) as log:
        lines_of(log, range(3))
        mark = log.mark()
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(FileError, match="are not those that the run had written at its checkpoint"):
        Log(path, mark)
    assert path.read_bytes() == before


def test_no_log_and_no_file_have_no_mark() -> None:
    with Log(None) as log:
        assert log.mark() is None
    if Path("/dev/null").exists():
        with Log("/dev/null") as log:
            assert log.mark() is None


def test_no_log_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Log(None) as log:
        log.write("start")
        log.epoch(make_epoch(1))
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="missing"):
        Log(tmp_path / "missing" / "log.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_is_an_error_that_names_the_log() -> None:
    with pytest.raises(FileError, match=r"cannot write '/dev/full': .*; make room"), Log("/dev/full") as log:
        log.write("start")
