"""The time of a run, on a clock that goes as the test says."""

import doctest
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import Corpus, Trainer, Vocabulary
from fastlm.inference.evaluation import evaluate
from fastlm.models import NNLM
from fastlm.training import limits
from fastlm.training.history import Epoch, Step
from fastlm.training.limits import Forecast, TimeLimit, peak_memory

VOCABULARY = Vocabulary([f"w{i}" for i in range(10)])
IDS = np.random.default_rng(1).integers(1, 12, 1200)
TRAIN, VALID = Corpus.from_ids(IDS[:1000], VOCABULARY), Corpus.from_ids(IDS[1000:], VOCABULARY)
STEP, VALIDATION, SAVING = 1.0, 7.0, 3.0  # seconds; there are 50 steps an epoch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock that stands still; its first item is the time."""
    now = [1000.0]
    monkeypatch.setattr(limits, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def slow(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let steps, validation and saving take their time, by that clock."""
    learn, save = NNLM.loss_and_gradients, NNLM.save

    def slow_learn(*arguments: Any) -> Any:
        clock[0] += STEP
        return learn(*arguments)

    def slow_save(*arguments: Any) -> None:
        clock[0] += SAVING
        save(*arguments)

    def slow_evaluate(model: NNLM, corpus: Corpus, **options: Any) -> Any:
        clock[0] += VALIDATION * corpus.num_tokens / VALID.num_tokens
        return evaluate(model, corpus, **options)

    monkeypatch.setattr(NNLM, "loss_and_gradients", slow_learn)
    monkeypatch.setattr(NNLM, "save", slow_save)
    for module in ("run", "validation"):
        monkeypatch.setattr(f"fastlm.training.{module}.evaluate", slow_evaluate)
        monkeypatch.setattr(f"fastlm.training.{module}.perf_counter", lambda: clock[0])
    return clock


class Events:
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.epochs: list[Epoch] = []

    def __call__(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            self.rates.append(event.learning_rate)
        else:
            self.epochs.append(event)


def train(tmp_path: Path, limit: float | None, epochs: int = 9, **options: Any) -> tuple[Any, Events]:
    model = NNLM(VOCABULARY, context_size=2, embedding_dim=3, hidden_size=4, dropout=0.0)
    events = Events()
    usual: dict[str, Any] = {
        "callback": events,
        "batch_size": 20,
        "threads": 1,
        "warmup_steps": 0,
        "learning_rate": 0.001,
        "patience": 99,
    }
    trainer = Trainer(model, output=tmp_path / "model", time_limit=limit, **(usual | options))
    return trainer.fit(TRAIN, VALID, epochs=epochs), events


class Killed(BaseException):
    """Ends a run as nothing in it expects."""


def killer(last_step: int) -> Callable[[Step | Epoch], None]:
    """Return a callback that ends a run after a step."""

    def kill(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.step == last_step:
            raise Killed

    return kill


@pytest.mark.parametrize("limit", [30.0, 62.0, 100.0, 187.0, 200.0])
@pytest.mark.parametrize("schedule", ["cosine", "halving", "constant"])
def test_a_run_ends_in_time_with_the_best_model(tmp_path: Path, slow: list[float], limit: float, schedule: str) -> None:
    began = slow[0]
    history, events = train(tmp_path, limit, schedule=schedule)
    used = slow[0] - began
    assert history.ended == "time limit"
    assert limit - 2 * (STEP + VALIDATION + SAVING) < used <= limit
    assert sum(epoch.part for epoch in history.epochs) == pytest.approx(len(events.rates) / 50)
    assert history.best is not None
    model = fastlm.load(tmp_path / "model")
    assert model.evaluate(VALID, threads=1).loss == pytest.approx(history.best.valid_loss)
    assert min(epoch.valid_loss for epoch in history.epochs) == history.best.valid_loss
    assert history.report is not None
    assert history.report.loss == history.best.valid_loss
    assert model.info["training"]["time_limit"] == limit


def test_the_rate_falls_over_the_time(tmp_path: Path, slow: list[float]) -> None:
    rates = {name: train(tmp_path, 150, schedule=name)[1].rates for name in ("cosine", "halving", "constant")}
    assert rates["cosine"][0] == pytest.approx(0.001, rel=0.02)
    assert rates["cosine"][-1] < 0.00001
    assert all(later <= before for before, later in zip(rates["cosine"], rates["cosine"][1:], strict=False))
    assert rates["halving"][0] == 0.001
    assert rates["halving"][-1] == pytest.approx(0.001 / 2**5, rel=1e-9) or rates["halving"][-1] < 0.001 / 2**5
    assert set(rates["constant"]) == {0.001}


def test_a_limit_that_is_never_reached_changes_nothing(tmp_path: Path, slow: list[float]) -> None:
    files = []
    for limit in (None, 10_000.0):
        history, events = train(tmp_path, limit, epochs=2)
        assert history.ended == "finished"
        files.append((events.rates, [epoch.valid_loss for epoch in events.epochs]))
    assert files[0] == files[1]


def test_seconds_that_were_used_before_count(tmp_path: Path, slow: list[float]) -> None:
    began = slow[0]
    train(tmp_path, 150, time_used=100.0)
    assert slow[0] - began <= 50


def test_a_limit_that_is_over_before_the_first_step_gives_a_model_all_the_same(
    tmp_path: Path, slow: list[float]
) -> None:
    history, events = train(tmp_path, 1.0, time_used=5.0)
    assert (history.ended, len(events.rates), len(history.epochs)) == ("time limit", 1, 1)
    assert fastlm.load(tmp_path / "model").info["training"]["step"] == 1


def test_all_of_the_validation_at_the_end_is_in_the_time(tmp_path: Path, slow: list[float]) -> None:
    began = slow[0]
    history, _ = train(tmp_path, 100, valid_tokens=20)
    assert 100 - 2 * (STEP + VALIDATION + SAVING) < slow[0] - began <= 100
    assert history.report is not None
    assert history.report.num_tokens == VALID.num_tokens


def test_a_resumed_run_counts_what_it_used_before(tmp_path: Path, slow: list[float]) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "checkpoints", "checkpoint_every": 0}
    began = slow[0]
    with pytest.raises(Killed):
        train(tmp_path, 100, callback=killer(30), **options)
    used = slow[0] - began
    began = slow[0]
    slow[0] += 5000  # the night, in which nothing ran
    history, _ = train(tmp_path, 100, resume=True, **options)
    assert history.ended == "time limit"
    assert used > 30
    assert 60 - used < slow[0] - began - 5000 <= 100 - used + STEP


def test_what_was_learned_before_the_time_was_up_is_validated_on_resuming(tmp_path: Path, slow: list[float]) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "checkpoints", "checkpoint_every": 0}
    with pytest.raises(Killed):
        train(tmp_path, 500, callback=killer(70), **options)
    history, _ = train(tmp_path, 500, resume=True, time_used=500.0, **options)  # to start again has taken the rest
    assert history.ended == "time limit"
    assert [(epoch.epoch, epoch.step) for epoch in history.epochs] == [(1, 50), (2, 70)]


def test_what_it_will_take_is_said_after_a_few_steps_and_corrected(
    tmp_path: Path, slow: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "peak_memory", lambda: 123_000_000)
    learn, steps = NNLM.loss_and_gradients, iter(range(1000))

    def slower_and_slower(*arguments: Any) -> Any:
        slow[0] += 3 * STEP if next(steps) > 60 else 0.0
        return learn(*arguments)

    monkeypatch.setattr(NNLM, "loss_and_gradients", slower_and_slower)
    with caplog.at_level(logging.INFO, logger="fastlm"):
        train(tmp_path, 300)
    lines = [record.getMessage() for record in caplog.records]
    said = [number for number, line in enumerate(lines) if "an epoch takes about" in line]
    assert said[0] == 0  # before the first epoch is over
    expected = r"an epoch takes about 5\d s, the run 5 min 00 s: the time limit ends it after (\d\.\d) epochs; "
    found = re.fullmatch(f"{expected}peak memory 123 MB", lines[0])
    assert found is not None
    assert float(found[1]) == pytest.approx((300 - 1.2 * 10) / 60, abs=0.3)
    assert 2 <= len(said) <= 8
    assert "an epoch takes about 5" not in lines[said[-1]]


def test_a_run_that_its_epochs_end_is_foretold_as_such(
    tmp_path: Path, slow: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fastlm"):
        train(tmp_path, 3600, epochs=2)
    assert re.search(r"the run 2 min 0\d s: within the time limit", caplog.text)


def test_nothing_is_foretold_without_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastlm"):
        train(tmp_path, None, epochs=2)
    assert "takes about" not in caplog.text


def test_a_forecast_needs_some_steps(clock: list[float]) -> None:
    limit = TimeLimit(1000)
    for _ in range(2):  # these are slow and not typical
        limit.count_step(100, 50.0)
    found = []
    for _ in range(9):
        limit.count_step(100, 0.1)
        found.append(limit.forecast(10_000, 0, 5))
    assert found == [None] * 9
    limit.count_step(100, 0.1)
    assert limit.rate == pytest.approx(1000)
    forecast = limit.forecast(10_000, 0, 5)
    assert forecast is not None
    assert (forecast.epoch, forecast.run, forecast.num_epochs, forecast.is_cut) == pytest.approx((10, 50, 5, False))
    slow = TimeLimit(1000)
    for _ in range(3):
        slow.count_step(100, 6.0)  # enough seconds
    assert slow.rate == pytest.approx(100 / 6)


def test_news_differ() -> None:
    forecast = Forecast(100.0, 1000.0, 10, True, 50_000_000)
    assert forecast.is_news_after(None)
    for changed, is_news in [
        (Forecast(110.0, 1000.0, 10, True, 50_000_000), False),
        (Forecast(130.0, 1000.0, 10, True, 50_000_000), True),
        (Forecast(100.0, 700.0, 10, True, 50_000_000), True),
        (Forecast(100.0, 1000.0, 10, True, 70_000_000), True),
        (Forecast(100.0, 1000.0, 10, True, None), True),
    ]:
        assert changed.is_news_after(forecast) == is_news


def test_the_share_of_the_time_for_training(clock: list[float]) -> None:
    limit = TimeLimit(110, used=10)
    limit.expect("validation", 10)
    limit.expect("saving", 5)
    assert limit.reserve == pytest.approx(18)
    assert limit.share == 0.0
    clock[0] += 41
    assert limit.share == pytest.approx(0.5)
    assert not limit.is_up
    clock[0] += 41
    assert limit.is_up
    clock[0] += 1000
    assert limit.share == 1.0
    without = TimeLimit(None, used=10)
    assert (without.share, without.is_up) == (0.0, False)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_peak_memory_is_what_has_been_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak_memory()
    assert before is not None
    array = np.ones((before + 50_000_000) // 8)
    after = peak_memory()
    assert after is not None
    assert after >= array.nbytes
    del array
    assert peak_memory() is not None
    monkeypatch.setattr(Path, "read_text", lambda self: "Name: python\nVmHWM: many kB\n")
    assert peak_memory() is None


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "30m", True])
def test_wrong_limits_are_named(value: Any) -> None:
    model = NNLM(VOCABULARY, context_size=2, embedding_dim=3, hidden_size=4)
    with pytest.raises(ValueError, match=f"time_limit .*{value!r}"):
        Trainer(model, time_limit=value)


def test_examples() -> None:
    results = doctest.testmod(limits)
    assert results.attempted > 0
    assert results.failed == 0
