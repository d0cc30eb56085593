import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import Corpus, FileError, Trainer, TrainingError, Vocabulary
from fastlm.models import NNLM, RNNLM, NeuralModel
from fastlm.training.history import Epoch, Step

# A text made by a Markov chain: what follows a word depends on that word alone, and how hard it is to guess is known.
V = 12
RANDOM = np.random.default_rng(0)
CHAIN = RANDOM.dirichlet(np.full(V, 0.15), size=V)
VOCABULARY = Vocabulary([f"w{i}" for i in range(V - 2)])


def markov(length: int, seed: int) -> Corpus:
    random, ids = np.random.default_rng(seed), [1]
    for _ in range(length):
        ids.append(int(random.choice(V, p=CHAIN[ids[-1]])))
    return Corpus.from_ids(ids[1:], VOCABULARY)


def markov_loss(corpus: Corpus) -> float:
    """Cross-entropy of the text under the chain that made it: what no model beats but by chance."""
    before = np.concatenate([[1], corpus.ids[:-1]])
    return -float(np.log(CHAIN[before, corpus.ids]).mean())


TRAIN, VALID = markov(6000, 1), markov(1500, 2)
SMALL, OTHER = Corpus.from_ids(TRAIN.ids[:300], VOCABULARY), Corpus.from_ids(VALID.ids[:200], VOCABULARY)


def nnlm(**options: Any) -> NeuralModel:
    return NNLM(VOCABULARY, **({"context_size": 2, "embedding_dim": 8, "hidden_size": 16, "dropout": 0.0} | options))


def rnnlm(**options: Any) -> NeuralModel:
    return RNNLM(VOCABULARY, **({"embedding_dim": 8, "hidden_size": 16, "dropout": 0.0} | options))


Make = Callable[..., NeuralModel]


@pytest.fixture(params=[nnlm, rnnlm])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture(params=["sentence", "continuous"])
def context(request: pytest.FixtureRequest) -> str:
    return request.param


def bytes_of(model: NeuralModel) -> bytes:
    return b"".join(array.tobytes() for array in model.parameters.values())


def loss_of(model: NeuralModel, corpus: Corpus) -> float:
    return model.evaluate(corpus, threads=1).loss


class Recorder:
    """A callback that keeps all events, and the parameters after each epoch; `then` is called with each event."""

    def __init__(self, model: NeuralModel, then: Callable[[Step | Epoch], object] = lambda event: None) -> None:
        self.model, self.then = model, then
        self.steps: list[Step] = []
        self.epochs: list[Epoch] = []
        self.parameters: list[bytes] = []

    def __call__(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            self.steps.append(event)
        else:
            self.epochs.append(event)
            self.parameters.append(bytes_of(self.model))
        self.then(event)


# It repeats


def train(make: Make, *, seed: int = 1, threads: int = 1, **options: Any) -> bytes:
    model = make(dropout=0.3, **options)
    Trainer(model, seed=seed, threads=threads, batch_size=16).fit(SMALL, OTHER, epochs=2)
    return bytes_of(model)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(make: Make, context: str) -> None:
    assert len({train(make, context=context, threads=threads) for threads in (1, 1, 2, 7)}) == 1


def test_it_repeats_where_work_is_split_into_many_blocks(make: Make) -> None:
    results = set()
    for threads in (1, 2, 7):
        model = make(dropout=0.3, hidden_size=140, embedding_dim=33)
        Trainer(model, threads=threads, batch_size=31 if make is rnnlm else 300).fit(TRAIN, epochs=1)
        results.add(bytes_of(model))
    assert len(results) == 1


def test_another_seed_gives_other_bytes(make: Make, context: str) -> None:
    assert train(make, context=context, seed=1) != train(make, context=context, seed=2)


def step_losses(model: NeuralModel, seed: int) -> list[list[float]]:
    """Train so slowly that nothing changes, and return the losses of all steps of each of two epochs."""
    recorder = Recorder(model)
    trainer = Trainer(model, learning_rate=1e-20, batch_size=1, seed=seed, threads=1, callback=recorder)
    trainer.fit(SMALL, epochs=2)
    return [[step.loss for step in recorder.steps if step.epoch == epoch] for epoch in (1, 2)]


def test_the_order_of_the_text_depends_on_the_seed_and_the_epoch(make: Make) -> None:
    (first, second), (other, _) = (step_losses(make(context="sentence"), seed) for seed in (1, 2))
    assert sum(first) / len(first) == pytest.approx(sum(second) / len(second), rel=0.1)
    assert first != pytest.approx(second)
    assert first != pytest.approx(other)


def test_a_trainer_can_be_used_again(make: Make) -> None:
    first, second = make(dropout=0.3), make(dropout=0.3)
    trainer = Trainer(first, threads=1)
    trainer.fit(SMALL, epochs=1)
    trainer.fit(SMALL, epochs=1)
    for _ in range(2):
        Trainer(second, threads=1).fit(SMALL, epochs=1)
    assert bytes_of(first) == bytes_of(second)


def test_validation_does_not_change_the_training(make: Make) -> None:
    with_valid, without = make(dropout=0.3), make(dropout=0.3)
    recorder = Recorder(with_valid)
    Trainer(with_valid, threads=1, callback=recorder).fit(SMALL, OTHER, epochs=2)
    Trainer(without, threads=1).fit(SMALL, epochs=2)
    assert recorder.parameters[-1] == bytes_of(without)


# It learns


@pytest.mark.parametrize(("optimizer", "learning_rate"), [("adam", 0.01), ("adagrad", 0.1), ("sgd", 1.0)])
def test_it_learns_a_markov_chain(make: Make, optimizer: str, learning_rate: float) -> None:
    model = make(context="continuous")
    options: dict[str, Any] = {"batch_size": 64} if make is nnlm else {"batch_size": 10, "bptt_len": 10}
    trainer = Trainer(model, optimizer=optimizer, learning_rate=learning_rate, threads=1, max_grad_norm=5, **options)
    before = loss_of(model, VALID)
    history = trainer.fit(TRAIN, VALID, epochs=5)
    assert before > 2.2
    assert history.best is not None
    assert markov_loss(VALID) - 0.02 < loss_of(model, VALID) < markov_loss(VALID) + 0.15
    assert history.best.train_loss == pytest.approx(markov_loss(TRAIN), abs=0.3)


def test_momentum_is_passed_on() -> None:
    results = []
    for momentum in (0.0, 0.5):
        model = nnlm()
        Trainer(model, optimizer="sgd", momentum=momentum, threads=1).fit(SMALL, epochs=1)
        results.append(bytes_of(model))
    assert results[0] != results[1]


def test_random_lengths_are_passed_on() -> None:
    """Each token counts as much in a short chunk as in a long one."""
    model = rnnlm()
    lengths = []
    forward = model.loss_and_gradients
    model.loss_and_gradients = lambda batch, workspace: (  # type: ignore[method-assign]
        lengths.append(len(batch.targets)) or forward(batch, workspace)
    )
    Trainer(model, batch_size=4, bptt_len=10, random_bptt_len=True, threads=1).fit(SMALL, epochs=3)
    assert len(set(lengths)) > 3
    assert sum(lengths) == 3 * -(-SMALL.num_tokens // 4)


def test_averages_are_kept_and_training_goes_on_from_the_last_step(tmp_path: Path) -> None:
    """With a rate so high that validation stalls: the best model is an average, and better than any that is not."""
    model, path = rnnlm(), tmp_path / "model.fastlm"
    options: dict[str, Any] = {"learning_rate": 6.0, "schedule": "constant", "batch_size": 4, "bptt_len": 10}
    last: list[float] = []
    seen: list[float] = []
    values: list[np.ndarray] = []

    def record(event: Step | Epoch) -> None:
        if isinstance(event, Step):
            values[:] = [value.copy() for value in model.parameters.values()]
            return
        seen.append(loss_of(model, VALID))
        for value, of_last_step in zip(model.parameters.values(), values, strict=True):
            np.copyto(value, of_last_step)
        last.append(loss_of(model, VALID))

    trainer = Trainer(model, optimizer="asgd", averaging_patience=1, threads=1, output=path, callback=record, **options)
    history = trainer.fit(TRAIN, VALID, epochs=8)
    kept = [epoch.valid_loss for epoch in history.epochs]
    assert seen == pytest.approx(kept, rel=1e-6)
    begun = next(epoch for epoch, loss in enumerate(kept) if loss != pytest.approx(last[epoch], rel=1e-6))
    assert kept[:begun] == pytest.approx(last[:begun], rel=1e-6)
    assert all(average < value for average, value in zip(kept[begun:], last[begun:], strict=True))
    assert fastlm.load(path).evaluate(VALID, threads=1).loss == pytest.approx(min(kept), rel=1e-6)


def test_averages_need_a_validation_text(make: Make) -> None:
    with pytest.raises(ValueError, match="averages when validation stalls; give a validation text"):
        Trainer(make(), optimizer="asgd").fit(SMALL, epochs=1)


def test_gradients_are_clipped(make: Make) -> None:
    """With SGD a step is at most the learning rate times the norm that is allowed."""
    model = make()
    before = [value.copy() for value in model.parameters.values()]
    options: dict[str, Any] = {"batch_size": 1000, "optimizer": "sgd", "schedule": "constant", "learning_rate": 2.0}
    if make is rnnlm:
        options |= {"batch_size": 1, "bptt_len": 1000}
    recorder = Recorder(model)
    Trainer(model, max_grad_norm=0.01, threads=1, callback=recorder, **options).fit(SMALL, epochs=1)
    step = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(before, model.parameters.values(), strict=True)))
    assert len(recorder.steps) == 1
    assert recorder.steps[0].gradient_norm > 0.01  # as it was before
    assert step == pytest.approx(0.02, rel=1e-3)


# What is reported


@pytest.mark.parametrize("valid", [None, OTHER])
def test_the_callback_sees_every_step_and_epoch(make: Make, context: str, valid: Corpus | None) -> None:
    model = make(context=context)
    recorder = Recorder(model)
    trainer = Trainer(model, batch_size=7, threads=1, callback=recorder, patience=9)
    history = trainer.fit(SMALL, valid, epochs=3)
    assert recorder.epochs == history.epochs
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3]
    assert [step.step for step in recorder.steps] == list(range(1, len(recorder.steps) + 1))
    for epoch in history.epochs:
        steps = [step for step in recorder.steps if step.epoch == epoch.epoch]
        assert sum(step.num_tokens for step in steps) == SMALL.num_tokens
        mean = sum(step.loss * step.num_tokens for step in steps) / SMALL.num_tokens
        assert epoch.train_loss == pytest.approx(mean)
        assert epoch.step == steps[-1].step
        assert epoch.learning_rate == steps[-1].learning_rate
        assert epoch.tokens_per_second > 0
        assert (epoch.valid_loss is None) == (valid is None)
    assert history.ended == "finished"


def test_the_validation_loss_is_that_of_evaluate(make: Make, context: str) -> None:
    model = make(context=context, dropout=0.5)
    losses: list[float] = []
    recorder = Recorder(model, lambda event: losses.append(loss_of(model, OTHER)) if isinstance(event, Epoch) else None)
    history = Trainer(model, threads=1, callback=recorder).fit(SMALL, OTHER, epochs=3)
    assert [epoch.valid_loss for epoch in history.epochs] == pytest.approx(losses, rel=1e-6)


def test_nothing_is_printed_unless_asked(
    make: Make, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fastlm"):
        Trainer(make(), threads=1).fit(SMALL, OTHER, epochs=2)
    assert capfd.readouterr() == ("", "")
    lines = [record.getMessage() for record in caplog.records if record.name == "fastlm"]
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1: training perplexity")


def test_progress_is_shown_on_standard_error_if_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger("fastlm"), "propagate", False)  # pytest's own handlers are none of a user's
    Trainer(nnlm(), threads=1, progress=True).fit(SMALL, OTHER, epochs=2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("training perplexity") == 2


def test_the_bar_shows_the_mean_loss_of_the_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, dict[str, Any]]] = []
    monkeypatch.setattr("fastlm.progress.Progress.update", lambda self, n=1, **values: shown.append((n, values)))
    history = Trainer(make(), threads=1).fit(SMALL, epochs=2)
    assert sum(n for n, _ in shown) == 2 * SMALL.num_tokens
    last = {values["epoch"]: values for _, values in shown}
    for epoch in history.epochs:
        assert last[f"{epoch.epoch}/2"]["loss"] == epoch.train_loss
        assert last[f"{epoch.epoch}/2"]["perplexity"] == epoch.train_perplexity


def test_the_log_is_json_lines(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    trainer = Trainer(make(), threads=1, batch_size=1, log=path, max_grad_norm=math.inf, patience=9)
    history = trainer.fit(TRAIN if make is rnnlm else SMALL, OTHER, epochs=2)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "start"
    assert events[-1] == "end"
    assert events.count("epoch") == 2
    assert events.count("step") == history.epochs[-1].step // 100 > 0
    assert lines[0]["architecture"] == trainer.model.architecture
    assert lines[0]["config"] == trainer.model.config
    assert lines[0]["batch_size"] == 1
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["valid_loss"] for line in epochs] == [epoch.valid_loss for epoch in history.epochs]
    assert lines[-1]["ended"] == "finished"


# The best epoch


def overfitting(make: Make) -> tuple[NeuralModel, dict[str, Any]]:
    """Make a model and options with which validation gets worse after some epochs; an epoch has several steps."""
    options: dict[str, Any] = {"learning_rate": 0.05, "schedule": "constant", "batch_size": 20, "threads": 1}
    return make(hidden_size=32), options | ({"bptt_len": 5} if make is rnnlm else {})


@pytest.mark.parametrize("output", [False, True])
def test_the_best_epoch_is_kept(make: Make, tmp_path: Path, output: bool) -> None:
    model, options = overfitting(make)
    path = tmp_path / "best.fastlm" if output else None
    recorder = Recorder(model)
    trainer = Trainer(model, output=path, callback=recorder, patience=100, **options)
    history = trainer.fit(SMALL, OTHER, epochs=12)
    losses = [epoch.valid_loss for epoch in history.epochs]
    best = int(np.argmin(np.array(losses)))
    assert 0 < best < 11
    assert history.best is history.epochs[best]
    assert [epoch.best for epoch in history.epochs] == [losses[n] == min(losses[: n + 1]) for n in range(12)]  # type: ignore[type-var]
    assert bytes_of(model) == recorder.parameters[best] != recorder.parameters[-1]
    assert loss_of(model, OTHER) == pytest.approx(losses[best], rel=1e-6)
    assert model.info["training"]["epoch"] == best + 1
    if path is not None:
        loaded = fastlm.load(path)
        assert bytes_of(loaded) == bytes_of(model)
        assert loaded.info == model.info


def test_it_stops_early(make: Make) -> None:
    model, options = overfitting(make)
    history = Trainer(model, patience=2, **options).fit(SMALL, OTHER, epochs=40)
    assert history.ended == "stopped early"
    assert [epoch.best for epoch in history.epochs][-3:] == [True, False, False]
    assert history.epochs_since_best == 2


def test_without_validation_the_last_epoch_is_kept(make: Make, tmp_path: Path) -> None:
    model, options = overfitting(make)
    recorder = Recorder(model)
    trainer = Trainer(model, callback=recorder, output=tmp_path / "last.fastlm", patience=1, **options)
    history = trainer.fit(SMALL, epochs=4)
    assert history.best is history.epochs[-1]
    assert len(history.epochs) == 4
    assert bytes_of(model) == recorder.parameters[-1] == bytes_of(fastlm.load(tmp_path / "last.fastlm"))


def test_equal_runs_write_equal_files(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Trainer(make(), threads=1, output=tmp_path / name).fit(SMALL, OTHER, epochs=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_any_options_can_be_stored(tmp_path: Path) -> None:
    trainer = Trainer(
        nnlm(),
        batch_size=np.int64(50),
        learning_rate=np.float32(0.01),
        max_grad_norm=math.inf,
        seed=np.int64(3),
        threads=np.int32(1),
        output=tmp_path / "model.fastlm",
    )
    trainer.fit(SMALL, epochs=np.int64(1))
    assert fastlm.load(tmp_path / "model.fastlm").info["training"]["seed"] == 3


def test_the_memory_of_gradients_is_given_back(make: Make) -> None:
    model = make()
    Trainer(model, threads=1).fit(SMALL, epochs=1)
    assert all(parameter.gradient is None for parameter in model.parameter_list)


# Schedules


def rates(schedule: str, *, epochs: int = 4, warmup_steps: int = 0, **options: Any) -> tuple[list[Step], list[Epoch]]:
    model = nnlm()
    recorder = Recorder(model)
    trainer = Trainer(
        model,
        schedule=schedule,
        learning_rate=0.08,
        warmup_steps=warmup_steps,
        batch_size=10,
        threads=1,
        callback=recorder,
        patience=100,
        **options,
    )
    trainer.fit(SMALL, OTHER, epochs=epochs)
    return recorder.steps, recorder.epochs


def test_the_rate_is_constant() -> None:
    assert {step.learning_rate for step in rates("constant")[0]} == {0.08}


def test_the_rate_falls_along_a_cosine_to_zero() -> None:
    steps, _ = rates("cosine")
    expected = [0.04 * (1 + math.cos(math.pi * n / 120)) for n in range(120)]
    assert [step.learning_rate for step in steps] == pytest.approx(expected)


def test_the_rate_rises_at_most_over_a_tenth_of_the_run() -> None:
    assert [step.learning_rate for step in rates("constant", warmup_steps=4)[0]][:5] == pytest.approx(
        [0.02, 0.04, 0.06, 0.08, 0.08]
    )
    steps, _ = rates("constant", warmup_steps=1000)
    assert next(step.step for step in steps if step.learning_rate >= 0.08) == 12


def test_the_rate_is_halved_once_validation_stalls() -> None:
    steps, epochs = rates("halving", epochs=14)
    bests = [epoch.best for epoch in epochs]
    stalled = bests.index(False)
    assert stalled < 12
    expected = [0.08] * (stalled + 1) + [0.08 / 2**n for n in range(1, 14 - stalled)]
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(expected)
    for epoch in epochs:
        assert {step.learning_rate for step in steps if step.epoch == epoch.epoch} == {epoch.learning_rate}


# Ctrl-C


def interrupt_at(epoch: int, step: int | None) -> Callable[[Step | Epoch], None]:
    """Raise KeyboardInterrupt at a step, or at an epoch's end."""

    def act(event: Step | Epoch) -> None:
        if event.epoch == epoch and (event.step == step if isinstance(event, Step) else step is None):
            raise KeyboardInterrupt

    return act


@pytest.mark.parametrize("output", [False, True])
def test_ctrl_c_keeps_the_best_epoch(make: Make, tmp_path: Path, output: bool) -> None:
    model, options = overfitting(make)
    path = tmp_path / "best.fastlm" if output else None
    first_step = 2 * model.num_training_batches(SMALL, batch_size=20, bptt_len=5) + 1
    recorder = Recorder(model, interrupt_at(3, first_step))
    history = Trainer(model, output=path, callback=recorder, **options).fit(SMALL, OTHER, epochs=5)
    assert history.ended == "interrupted"
    assert len(history.epochs) == 2
    assert history.best is not None
    assert bytes_of(model) == recorder.parameters[history.best.epoch - 1]
    if path is not None:
        assert bytes_of(fastlm.load(path)) == bytes_of(model)


@pytest.mark.parametrize("output", [False, True])
def test_ctrl_c_at_an_epochs_end_counts_the_epoch(make: Make, tmp_path: Path, output: bool) -> None:
    model, options = overfitting(make)
    path = tmp_path / "best.fastlm" if output else None
    recorder = Recorder(model, interrupt_at(1, None))
    history = Trainer(model, output=path, callback=recorder, **options).fit(SMALL, OTHER, epochs=5)
    assert history.ended == "interrupted"
    assert [epoch.epoch for epoch in history.epochs] == [1]
    assert bytes_of(model) == recorder.parameters[0]
    if path is not None:
        assert bytes_of(fastlm.load(path)) == bytes_of(model)


@pytest.mark.parametrize("output", [False, True])
def test_ctrl_c_before_the_first_epochs_end_keeps_what_there_is(make: Make, tmp_path: Path, output: bool) -> None:
    model, options = overfitting(make)
    path = tmp_path / "best.fastlm" if output else None
    after_step: list[bytes] = []

    def act(event: Step | Epoch) -> None:
        after_step.append(bytes_of(model))
        interrupt_at(1, 1)(event)

    history = Trainer(model, output=path, callback=act, **options).fit(SMALL, OTHER, epochs=5)
    assert history.ended == "interrupted"
    assert history.epochs == []
    assert history.best is None
    assert bytes_of(model) == after_step[0] != bytes_of(make(hidden_size=32))
    if path is not None:
        assert bytes_of(fastlm.load(path)) == bytes_of(model)
    Trainer(model, **options).fit(SMALL, OTHER, epochs=1)  # all is in order


def test_ctrl_c_while_the_first_best_is_written(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, options = overfitting(make)
    save, interrupts = type(model).save, [KeyboardInterrupt()]

    def save_or_not(self: NeuralModel, path: Path) -> None:
        if interrupts:
            raise interrupts.pop()
        save(self, path)

    monkeypatch.setattr(type(model), "save", save_or_not)
    history = Trainer(model, output=tmp_path / "best.fastlm", **options).fit(SMALL, OTHER, epochs=5)
    assert history.ended == "interrupted"
    assert bytes_of(fastlm.load(tmp_path / "best.fastlm")) == bytes_of(model) != bytes_of(make(hidden_size=32))


def test_ctrl_c_is_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    Trainer(nnlm(), threads=1, log=path, callback=interrupt_at(1, 1)).fit(SMALL, epochs=2)
    assert json.loads(path.read_text().splitlines()[-1])["ended"] == "interrupted"


def test_other_errors_of_a_callback_come_out(make: Make) -> None:
    def fail(event: Step | Epoch) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Trainer(make(), threads=2, callback=fail).fit(SMALL, epochs=1)


# Numbers that are not finite


def finite(model: NeuralModel) -> bool:
    return all(np.isfinite(array).all() for array in model.parameters.values())


@pytest.mark.parametrize("output", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_keeps_the_best(make: Make, tmp_path: Path, value: float, output: bool) -> None:
    model, options = overfitting(make)
    path = tmp_path / "best.fastlm" if output else None

    def spoil(event: Step | Epoch) -> None:
        if event.epoch == 3 and isinstance(event, Step):
            model.parameters["output.weight"][2] = value

    recorder = Recorder(model, spoil)
    with pytest.raises(TrainingError, match=r"at step \d+ \(epoch 3\), with learning rate 0.05") as caught:
        Trainer(model, output=path, callback=recorder, **options).fit(SMALL, OTHER, epochs=5)
    assert f"at step {recorder.steps[-1].step + 1} " in str(caught.value)
    best = int(np.argmin([epoch.valid_loss for epoch in recorder.epochs]))  # type: ignore[arg-type]
    assert finite(model)
    assert bytes_of(model) == recorder.parameters[best]
    if path is not None:
        assert bytes_of(fastlm.load(path)) == bytes_of(model)


@pytest.mark.parametrize("learning_rate", [1e5, 1e30, 1e39, 1e300])
@pytest.mark.parametrize("batch_size", [20, 1000])  # 1000: what comes after the only step is the validation
@pytest.mark.parametrize("valid", [None, OTHER])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_run_that_explodes_keeps_what_was_finite(
    make: Make, learning_rate: float, batch_size: int, valid: Corpus | None
) -> None:
    model = make()
    trainer = Trainer(
        model,
        optimizer="sgd",
        learning_rate=learning_rate,
        schedule="constant",
        batch_size=batch_size,
        max_grad_norm=math.inf,
        threads=1,
        warmup_steps=0,
    )
    try:
        trainer.fit(SMALL, valid, epochs=3)
    except TrainingError as error:
        assert f"with learning rate {learning_rate:g}" in str(error)
    else:
        assert learning_rate < 1e39  # products beyond float32 saturate tanh; not even the step itself fits with this
    assert finite(model)
    if valid is not None:
        assert math.isfinite(loss_of(model, valid))


@pytest.mark.parametrize("exponent", range(0, 40, 3))
@pytest.mark.parametrize("batch_size", [20, 1000])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_no_run_finishes_with_an_infinite_perplexity(make: Make, exponent: int, batch_size: int) -> None:
    model = make()
    recorder = Recorder(model)
    trainer = Trainer(
        model,
        optimizer="sgd",
        learning_rate=10.0**exponent,
        schedule="constant",
        batch_size=batch_size,
        max_grad_norm=math.inf,
        threads=1,
        warmup_steps=0,
        callback=recorder,
    )
    before = bytes_of(model)
    try:
        history = trainer.fit(SMALL, OTHER, epochs=3)
    except TrainingError as error:
        assert re.search(r"the .* is (inf|nan) at step \d+ .*a smaller learning rate", str(error))
        history = trainer.history
    else:
        assert exponent < 30
    for epoch in history.epochs:
        assert math.isfinite(epoch.train_perplexity)
        assert math.isfinite(epoch.valid_perplexity or math.inf)
    best = history.best
    assert bytes_of(model) == (before if best is None else recorder.parameters[best.epoch - 1])


def test_what_is_worse_than_guessing_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"optimizer": "sgd", "schedule": "constant", "max_grad_norm": math.inf, "threads": 1}
    trainer = Trainer(nnlm(), learning_rate=50.0, warmup_steps=0, batch_size=20, **options)
    history = trainer.fit(SMALL, OTHER, epochs=2)
    assert history.best is not None
    assert history.best.valid_loss is not None
    assert history.best.valid_loss > math.log(V)
    assert "is worse than guessing: the learning rate (50) may be too large" in caplog.text
    caplog.clear()
    Trainer(nnlm(), threads=1).fit(SMALL, OTHER, epochs=2)
    assert "guessing" not in caplog.text


def test_before_the_first_epochs_end_the_beginning_is_the_best(make: Make, tmp_path: Path) -> None:
    model, path = make(), tmp_path / "model.fastlm"
    path.write_bytes(b"what was there")
    before = bytes_of(model)

    def spoil(event: Step | Epoch) -> None:
        model.parameters["output.bias"][:] = math.nan

    with pytest.raises(TrainingError, match=r"at step 2 \(epoch 1\)"):
        Trainer(model, output=path, callback=spoil, batch_size=3, threads=1).fit(SMALL, epochs=2)
    assert bytes_of(model) == before
    assert path.read_bytes() == b"what was there"


# Texts of all sizes


@pytest.mark.parametrize("ids", [[3], [1], [3, 1], [3, 4, 5], [1, 1, 1]])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_tiny_texts(make: Make, context: str, ids: list[int], batch_size: int) -> None:
    model, corpus = make(context=context), Corpus.from_ids(ids, VOCABULARY)
    before = bytes_of(model)
    history = Trainer(model, batch_size=batch_size, threads=2, learning_rate=0.01).fit(corpus, corpus, epochs=2)
    assert len(history.epochs) == 2
    assert history.best is not None
    assert bytes_of(model) != before
    assert history.epochs[1].train_loss < history.epochs[0].train_loss


def test_a_perfect_loss_is_not_bettered_by_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        loss = 0.0

    monkeypatch.setattr("fastlm.training.run.evaluate", lambda *arguments, **options: Zero)
    history = Trainer(nnlm(), threads=1, patience=2).fit(SMALL, OTHER, epochs=9)
    assert [epoch.best for epoch in history.epochs] == [True, False, False]


# Wrong arguments


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[(name, value) for name in ("batch_size", "patience", "threads") for value in (0, -1, 1.5, "4")],
        *[("learning_rate", value) for value in (0, -0.1, math.nan, math.inf, "fast", True)],
        *[("max_grad_norm", value) for value in (0, -1.0, math.nan, None, True)],
        *[("warmup_steps", value) for value in (-1, 0.5)],
        *[("seed", value) for value in (-1, 1.5, None, "x")],
        ("optimizer", "rmsprop"),
        ("schedule", "linear"),
        ("callback", "print"),
        ("momentum", "x"),
        ("momentum", 0.9),
        *[("weight_decay", value) for value in (-0.1, math.nan, "x", 1e6)],
        *[("averaging_patience", value) for value in (0, 3, 1.5)],
        *[("random_bptt_len", value) for value in (1, "yes")],
    ],
)
def test_wrong_options_are_named(make: Make, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{option}.* {value!r}"):
        Trainer(make(), **{option: value})


@pytest.mark.parametrize(("option", "limit"), [("batch_size", "1,000,000"), ("threads", "1,024")])
def test_numbers_beyond_all_machines_are_named(make: Make, option: str, limit: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be at most {limit}, got "):
        Trainer(make(), **{option: 10**30})


def test_what_is_no_model_or_corpus_is_named() -> None:
    for model in (None, "model.fastlm", SMALL):
        with pytest.raises(ValueError, match=f"must be an NNLM or an RNNLM, got {type(model).__name__}"):
            Trainer(model)  # type: ignore[arg-type]
    for corpora in (("train.txt", None), (SMALL, ["the cat"]), (None, SMALL)):
        with pytest.raises(ValueError, match="corpus must be a Corpus, got "):
            Trainer(nnlm()).fit(*corpora)  # type: ignore[arg-type]


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_wrong_momentum_is_found_before_the_training(momentum: float) -> None:
    model = nnlm()
    before = bytes_of(model)
    with pytest.raises(ValueError, match=f"momentum is {momentum}"):
        Trainer(model, optimizer="sgd", momentum=momentum).fit(SMALL)
    assert bytes_of(model) == before


@pytest.mark.parametrize("bptt_len", [0, -1, 1.5])
def test_bptt_len_is_for_recurrent_models(bptt_len: Any) -> None:
    with pytest.raises(ValueError, match="bptt_len"):
        Trainer(rnnlm(), bptt_len=bptt_len)
    with pytest.raises(ValueError, match="an NNLM has no recurrence"):
        Trainer(nnlm(), bptt_len=35)


@pytest.mark.parametrize("epochs", [0, -1, 2.5])
def test_epochs_must_be_positive(make: Make, epochs: Any) -> None:
    with pytest.raises(ValueError, match=f"epochs .*{epochs}"):
        Trainer(make()).fit(SMALL, epochs=epochs)


@pytest.mark.parametrize("which", ["train", "valid"])
def test_a_corpus_of_another_vocabulary(make: Make, which: str) -> None:
    other = Corpus.from_ids([2, 3, 1], Vocabulary(["a", "b"]))
    corpora = {"train": SMALL, "valid": OTHER} | {which: other}
    with pytest.raises(ValueError, match=f"the {which} corpus was made with another vocabulary"):
        Trainer(make()).fit(**corpora)


@pytest.mark.parametrize("option", ["output", "log"])
def test_a_file_that_cannot_be_written_is_found_before_the_training(make: Make, tmp_path: Path, option: str) -> None:
    def fail(event: Step | Epoch) -> None:
        pytest.fail("the training has begun")

    with pytest.raises(FileError, match="missing"):
        Trainer(make(), callback=fail, **{option: tmp_path / "missing" / "file"}).fit(SMALL, OTHER)
