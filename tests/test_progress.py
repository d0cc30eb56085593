import doctest
import io
import logging
import math
import re
import sys
import threading

import pytest

from fastlm import progress
from fastlm.progress import Progress, announce, format_duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock that stands still: its first item is the time."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def hide_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it as if nobody had set up logging; to be called in the test, because pytest sets it up after fixtures."""
    monkeypatch.setattr(progress.logger, "handlers", [])
    monkeypatch.setattr(progress.logger, "propagate", False)


def run(bar: Progress, clock: list[float], seconds: int) -> None:
    """Do ten units a second."""
    for _ in range(seconds):
        clock[0] += 1
        bar.update(10, loss=5.12345, epoch=2)


@pytest.mark.parametrize("terminal", [True, False])
def test_silent_unless_asked(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], caplog: pytest.LogCaptureFixture, terminal: bool
) -> None:
    stderr, stdout = Terminal() if terminal else io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "stdout", stdout)
    caplog.set_level(logging.DEBUG)
    with Progress(1000, description="epoch 1") as bar:
        run(bar, clock, 100)
    assert bar.done == 1000
    assert stderr.getvalue() == stdout.getvalue() == ""
    assert caplog.records == []


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "200")
    threads = threading.active_count()
    with Progress(4000, unit="tok", enabled=True, description="epoch 1") as bar:
        for _ in range(4):
            bar.update(1000, loss=5.12345, epoch=2)
        bar._bar.refresh()
        shown = stderr.getvalue()
        assert threading.active_count() == threads
    assert "epoch 1: 100%" in shown
    assert "4.00k/4.00k" in shown
    assert "loss 5.123, epoch 2" in shown
    assert re.search(r"[0-9][kM]?tok/s", shown)
    assert stderr.getvalue().rsplit("\r", 2)[1].strip() == ""  # wiped at the end
    assert capsys.readouterr().out == ""


def test_a_bar_is_wiped_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(KeyboardInterrupt), Progress(10, enabled=True) as bar:
        bar.update(5)
        raise KeyboardInterrupt
    assert stderr.getvalue().rsplit("\r", 2)[1].strip() == ""


def test_lines_elsewhere(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fastlm")
    with Progress(40_000, unit="tok", enabled=True, description="epoch 1") as bar:
        run(bar, clock, 9)
        assert caplog.messages == []
        run(bar, clock, 991)
    assert caplog.messages[0] == "epoch 1: 0% of 40k tok, 10 tok/s, 1 h 06 min left, loss 5.123, epoch 2"
    assert caplog.records[0].name == "fastlm"
    assert 5 < len(caplog.messages) < 20


def test_intervals_grow_up_to_a_limit(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    monkeypatch.setattr(progress, "announce", lambda line: times.append(clock[0] - 1000))
    with Progress(unit="tok", enabled=True) as bar:
        run(bar, clock, 7200)
    intervals = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert times[0] == 10
    assert intervals == sorted(intervals)
    assert intervals[-1] == 300


def test_a_line_without_total_and_without_values(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fastlm")
    with Progress(unit="B", enabled=True) as bar:
        clock[0] += 20
        bar.update(1_234_567_890)
    assert caplog.messages == ["1.23G B, 61.7M B/s"]


def test_more_than_announced_is_no_failure(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fastlm")
    with Progress(100, enabled=True) as bar:
        clock[0] += 20
        bar.update(0)
        clock[0] += 20
        bar.update(150)
    assert "0 it/s, unknown time left" in caplog.messages[0]
    assert "0.0 s left" in caplog.messages[1]


def test_what_was_asked_for_is_seen_without_any_logging_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide_handlers(monkeypatch)
    announce("epoch 1: 100 % done")
    captured = capsys.readouterr()
    assert captured.err == "epoch 1: 100 % done\n"
    assert captured.out == ""


def test_an_announcement_keeps_an_open_bar_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_handlers(monkeypatch)
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Progress(10, enabled=True, description="epoch 1") as bar:
        bar.update(1)
        announce("saved")
        line, after = re.split("\rsaved\n", stderr.getvalue())
        assert line.rsplit("\r", 1)[1].strip() == ""
        assert after.startswith("\repoch 1: ")


def test_no_standard_error_at_all(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    hide_handlers(monkeypatch)
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(10_000, enabled=True) as bar:
        run(bar, clock, 20)
    assert bar.done == 200


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 00 h"),
        (math.inf, "unknown time"),
        (math.nan, "unknown time"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_examples() -> None:
    results = doctest.testmod(progress)
    assert results.attempted > 0
    assert results.failed == 0
