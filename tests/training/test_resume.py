"""Runs that are killed and resumed come to the bytes, the history and the log of those that never were."""

import errno
import json
import logging
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm import Corpus, FileError, Trainer, Vocabulary
from fastlm.models import NNLM, RNNLM, NeuralModel
from fastlm.nn.outputs import OUTPUTS
from fastlm.storage import read_tensors
from fastlm.training.checkpoints import Checkpoints
from fastlm.training.history import Epoch, History, Step
from fastlm.training.identity import check_same_run, run_identity, with_added_settings

VOCABULARY = Vocabulary([f"w{i}" for i in range(10)], [20, *range(50, 39, -1)])
IDS = np.random.default_rng(1).integers(1, 12, 500)
TRAIN, VALID = Corpus.from_ids(IDS[:400], VOCABULARY), Corpus.from_ids(IDS[400:], VOCABULARY)
KINDS: dict[str, tuple[type[NeuralModel], dict[str, Any]]] = {
    "nnlm": (NNLM, {"batch_size": 25}),
    "rnnlm": (RNNLM, {"batch_size": 3, "bptt_len": 9}),
    "random lengths": (RNNLM, {"batch_size": 3, "bptt_len": 9, "random_bptt_len": True}),
}
EPOCHS = 4
RECIPES: dict[str, dict[str, Any]] = {
    "adam": {"schedule": "cosine"},
    "adagrad": {"schedule": "halving", "learning_rate": 0.3},  # so fast that validation stalls
    "sgd": {"schedule": "constant", "learning_rate": 0.5, "momentum": 0.5},
    "asgd": {"schedule": "constant", "learning_rate": 2.0, "averaging_patience": 1, "weight_decay": 1e-3},
}
TIMES = {"tokens_per_second", "seconds"}


class Killed(BaseException):
    """Ends a run as nothing in it expects."""


class Job:
    """A run that can be started again and again, as by a job script."""

    def __init__(self, folder: Path, kind: str = "rnnlm", context: str = "continuous", **options: Any) -> None:
        self.folder = folder
        self.kind, self.context, self.options = kind, context, options
        self.layer = {"output": options.pop("output", "softmax")}
        self.output, self.log, self.checkpoints = (folder / name for name in ("model", "log", "checkpoints"))

    def start(self, kill_at: int | None = None, *, resume: bool = False, **options: Any) -> History:
        """Train; be killed after a step, counted over all that this start does, or at its end."""
        model_class, sizes = KINDS[self.kind]
        model = model_class(VOCABULARY, embedding_dim=3, hidden_size=5, dropout=0.4, context=self.context, **self.layer)
        left = [kill_at]

        def kill(event: Step | Epoch) -> None:
            if isinstance(event, Step) and left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        usual = {"checkpoint_every": 0, "learning_rate": 0.02, "seed": 5, "threads": 1}
        trainer = Trainer(
            model,
            callback=kill,
            output=self.output,
            log=self.log,
            checkpoint=self.checkpoints,
            resume=resume,
            **(usual | sizes | self.options | options),
        )
        with suppress(Killed):
            trainer.fit(TRAIN, VALID, epochs=EPOCHS)
        return trainer.history

    def result(self) -> tuple[bytes, list[dict[str, Any]]]:
        return self.output.read_bytes(), log_lines(self.log)


def log_lines(path: Path) -> list[dict[str, Any]]:
    """Read a log without what depends on the clock and on whether the run was resumed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES and line["event"] != "start"} for line in lines]


def rare(monkeypatch: pytest.MonkeyPatch, pattern: list[bool]) -> None:
    """Let checkpoints be due in this pattern of steps and epochs."""
    due = cycle(pattern)
    monkeypatch.setattr(Checkpoints, "are_due", property(lambda self: next(due)))


@pytest.fixture(autouse=True)
def every_step_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlm.training.history.STEPS_PER_LINE", 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Any]]:
    """Results of runs that were never killed, by their options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastlm.training.history.STEPS_PER_LINE", 1)
        results: dict[Any, Any] = {}
        for kind in KINDS:
            for context in ("sentence", "continuous"):
                for optimizer, recipe in RECIPES.items():
                    job = Job(tmp_path_factory.mktemp("whole"), kind, context, optimizer=optimizer, **recipe)
                    history = job.start(checkpoint_every=1000)
                    results[kind, context, optimizer] = job.result(), history
            assert [epoch.best for epoch in results[kind, "continuous", "adagrad"][1].epochs][1:3] != [True, True]
        yield results


@settings(max_examples=15)
@given(data=st.data())
def test_a_run_that_is_killed_at_any_steps_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, finished: dict[Any, Any], data: st.DataObject
) -> None:
    kind, context = data.draw(st.sampled_from(sorted(KINDS))), data.draw(st.sampled_from(["sentence", "continuous"]))
    optimizer = data.draw(st.sampled_from(sorted(RECIPES)))
    job = Job(tmp_path_factory.mktemp("killed"), kind, context, optimizer=optimizer, **RECIPES[optimizer])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastlm.training.history.STEPS_PER_LINE", 1)
        rare(patch, data.draw(st.lists(st.booleans(), min_size=1, max_size=9).filter(any)))
        for kill_at in data.draw(st.lists(st.integers(1, 40), max_size=4)):
            job.start(kill_at, resume=True)
        history = job.start(resume=True)
    expected, whole = finished[kind, context, optimizer]
    assert job.result() == expected
    assert [epoch.best for epoch in history.epochs] == [epoch.best for epoch in whole.epochs]
    assert (history.ended, history.report) == (whole.ended, whole.report)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_names_may_be_others(tmp_path: Path, finished: dict[Any, Any], kind: str) -> None:
    job = Job(tmp_path, kind)
    job.start(7, checkpoint_every=0)
    shutil.move(job.checkpoints, tmp_path / "elsewhere")
    job.checkpoints, job.output = tmp_path / "elsewhere", tmp_path / "other"
    job.start(9, resume=True, threads=2, checkpoint_every=1000)
    job.start(resume=True, threads=3)
    assert job.result() == finished[kind, "continuous", "adam"][0]


@pytest.mark.parametrize("place", ["fastlm.training.checkpoints.write_tensors", "fastlm.modelfile.write_tensors"])
def test_a_kill_while_something_is_written(
    tmp_path: Path, finished: dict[Any, Any], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    job = Job(tmp_path)

    def half(path: Path, *contents: Any) -> None:
        if path.name in {"checkpoint-000013.safetensors", "best-2.fastlm"}:
            raise Killed
        write(path, *contents)

    from fastlm.storage import write_tensors as write

    with monkeypatch.context() as patch:
        patch.setattr(place, half)
        job.start()
    for folder in (job.folder, job.checkpoints):  # what a real kill leaves
        (folder / ".fastlm-12345678-0123.tmp").write_bytes(b"half")
    with job.log.open("ab") as log:
        log.write(b'{"event": "step", "step": 99')
    job.start(resume=True)
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]
    assert not list(job.checkpoints.glob("*.tmp"))


def test_a_damaged_checkpoint_costs_only_time(
    tmp_path: Path, finished: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(tmp_path)
    job.start(20)
    last = max(job.checkpoints.glob("checkpoint-*"))
    last.write_bytes(last.read_bytes()[:-9])
    with caplog.at_level(logging.INFO, logger="fastlm"):
        job.start(resume=True)
    assert "going back to the checkpoint before it" in caplog.text
    assert "resumed from" in caplog.text
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]


def test_a_run_that_has_ended_stays_so(tmp_path: Path, finished: dict[Any, Any]) -> None:
    job = Job(tmp_path)
    job.start()
    job.output.unlink()
    history = job.start(1, resume=True)  # no step is done that could be the last
    expected, whole = finished["rnnlm", "continuous", "adam"]
    assert job.result() == expected
    assert history.ended == "finished"
    assert history.report == whole.report
    assert [epoch.valid_loss for epoch in history.epochs] == [epoch.valid_loss for epoch in whole.epochs]


def test_early_stopping_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"patience": 1, "learning_rate": 0.2, "schedule": "constant"}
    whole, job = Job(tmp_path / "whole", **options), Job(tmp_path / "killed", **options)
    for each in (whole, job):
        each.folder.mkdir()
    ended = whole.start().ended
    assert ended == "stopped early"
    # Killed when the last epoch is over, before that is found to be the end.
    monkeypatch.setattr("fastlm.training.run.Run._finish", lambda self: (_ for _ in ()).throw(Killed))
    job.start()
    monkeypatch.undo()
    monkeypatch.setattr("fastlm.training.history.STEPS_PER_LINE", 1)
    assert job.start(resume=True).ended == ended
    assert job.result() == whole.result()


def test_where_there_is_no_checkpoint_yet_it_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = Job(tmp_path)
    with caplog.at_level(logging.INFO, logger="fastlm"):
        job.start(3, resume=True, checkpoint_every=1000)
        assert not list(job.checkpoints.glob("checkpoint-*"))
        assert job.start(resume=True, checkpoint_every=1000).ended == "finished"
    assert caplog.text.count("no checkpoint in") == 2
    assert [line["step"] for line in log_lines(job.log) if line.get("event") == "step"][:4] == [1, 2, 3, 4]


def test_the_output_is_the_best_of_the_checkpoint(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.start(40)
    best = max(job.checkpoints.glob("best-*")).read_bytes()
    job.output.write_bytes(b"something else")
    job.start(1, resume=True)
    assert job.output.read_bytes() == best


@pytest.mark.parametrize("optimizer", RECIPES)
@pytest.mark.parametrize("output", sorted(OUTPUTS.keys() - {"softmax"}))
@pytest.mark.parametrize("kind", KINDS)
def test_every_output_layer_goes_on_with_every_optimizer(
    tmp_path: Path, kind: str, output: str, optimizer: str
) -> None:
    results = []
    for name, kills in (("whole", []), ("killed", [5, 17])):
        (tmp_path / name).mkdir()
        job = Job(tmp_path / name, kind, output=output, optimizer=optimizer, **RECIPES[optimizer])
        for kill_at in kills:
            job.start(kill_at, resume=True)
        job.start(resume=True, checkpoint_every=1000)
        results.append(job.result())
    assert results[0] == results[1]


# What must be the same


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("seed", 6, "seed is 6, there 5"),
        ("batch_size", 4, "batch_size is 4, there 3"),
        ("bptt_len", 8, "bptt_len is 8, there 9"),
        ("optimizer", "sgd", "optimizer is sgd, there adam"),
        ("max_grad_norm", float("inf"), "max_grad_norm is inf, there 1.0"),
        ("patience", 1, "patience is 1, there 3"),
        ("valid_tokens", 50, "valid_tokens is 50, there not given"),
        ("time_limit", 9.0, "time_limit is 9.0, there not given"),
    ],
)
def test_other_options_are_named(tmp_path: Path, option: str, value: Any, words: str) -> None:
    job = Job(tmp_path)
    job.start(3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"are those of another run: {words}. Give that run's options"):
        job.start(resume=True, **{option: value})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_settings_that_came_later_were_what_they_are_without_a_word(tmp_path: Path) -> None:
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=5)
    now = run_identity(Trainer(model), TRAIN, VALID, EPOCHS)
    before = {name: value for name, value in now.items() if name not in ("recurrent_rate_factor", "tied", "precision")}
    check_same_run(tmp_path, with_added_settings(before, model), now)
    assert run_identity(Trainer(model, precision="float32"), TRAIN, VALID, EPOCHS) == now
    with pytest.raises(ValueError, match="run: tied is True, there False"):
        check_same_run(tmp_path, with_added_settings(before, model), now | {"tied": "True"})


def test_another_model_and_other_texts_are_named(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.start(3)
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=6, dropout=0.4)
    changed = np.array(TRAIN.ids)
    changed[200] = 3 if changed[200] != 3 else 4
    options: dict[str, Any] = {"learning_rate": 0.02, "seed": 5, "batch_size": 3, "bptt_len": 9}
    with pytest.raises(ValueError, match=r"another run: hidden_size is 6, there 5; initial parameters is"):
        Trainer(model, checkpoint=job.checkpoints, resume=True, **options).fit(TRAIN, VALID, epochs=EPOCHS)
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=5, dropout=0.4)
    trainer = Trainer(model, checkpoint=job.checkpoints, resume=True, **options)
    with pytest.raises(ValueError, match=r"run: training text is 400 tokens with the CRC-32 \w+, there 400 tokens"):
        trainer.fit(Corpus.from_ids(changed, VOCABULARY), VALID, epochs=EPOCHS)
    with pytest.raises(ValueError, match=r"run: validation text is not given, there 100 tokens"):
        trainer.fit(TRAIN, epochs=EPOCHS)
    with pytest.raises(ValueError, match=r"run: epochs is 5, there 4\."):
        trainer.fit(TRAIN, VALID, epochs=5)


def test_another_log_is_not_cut(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.start(10)
    contents = job.log.read_bytes()
    job.log.write_bytes(contents.replace(b"0", b"1", 1))
    with pytest.raises(FileError, match=r"cannot go on with the log .* are not those"):
        job.start(resume=True)
    assert len(job.log.read_bytes()) == len(contents)
    job.log = tmp_path / "new log"
    job.start(resume=True)
    assert next(iter(log_lines(job.log))) == {}  # the start, without its values
    assert log_lines(job.log)[1]["step"] == 10  # the checkpoint was that of step 9


def test_resume_needs_a_directory() -> None:
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=5)
    with pytest.raises(ValueError, match="resume is True, but there is no checkpoint"):
        Trainer(model, resume=True)
    for value in (-1, float("nan"), "10m"):
        with pytest.raises(ValueError, match="checkpoint_every"):
            Trainer(model, checkpoint_every=value)  # type: ignore[arg-type]


# What goes wrong meanwhile


@pytest.mark.parametrize("which", ["train", "valid"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_that_is_changed_while_it_is_read(tmp_path: Path, kind: str, which: str) -> None:
    for name, corpus in (("train", TRAIN), ("valid", VALID)):
        corpus.save(tmp_path / name)
    contents = (tmp_path / which).read_bytes()
    model_class, sizes = KINDS[kind]

    def run(resume: bool, cut_at: int | None) -> bytes:
        def cut(event: Step | Epoch) -> None:
            if isinstance(event, Step) and event.step == cut_at:
                (tmp_path / which).write_bytes(contents[:-300])

        model = model_class(VOCABULARY, embedding_dim=3, hidden_size=5, dropout=0.4)
        output, checkpoints = tmp_path / f"model{cut_at}", tmp_path / f"checkpoints{resume or cut_at}"
        trainer = Trainer(
            model, callback=cut, output=output, checkpoint=checkpoints, checkpoint_every=0, resume=resume, **sizes
        )
        trainer.fit(Corpus.open(tmp_path / "train"), Corpus.open(tmp_path / "valid"), epochs=2)
        return output.read_bytes()

    whole = run(False, None)
    with pytest.raises(FileError, match=rf"{which}' was changed while.*resume goes on from the checkpoint in"):
        run(False, 20)
    (tmp_path / which).write_bytes(contents)
    (tmp_path / "checkpoints20").rename(tmp_path / "checkpointsTrue")
    assert run(True, 0) == whole


def test_a_checkpoint_that_cannot_be_written_ends_nothing(
    tmp_path: Path, finished: dict[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(tmp_path)
    calls = []

    def full_now_and_then(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) % 3 == 0:
            raise FileError("cannot write 'checkpoint': No space left on device")
        write(*arguments)

    from fastlm.storage import write_tensors as write

    monkeypatch.setattr("fastlm.training.checkpoints.write_tensors", full_now_and_then)
    job.start()
    assert "no checkpoint was written at step 3: cannot write 'checkpoint': No space left" in caplog.text
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]


def test_a_best_model_that_cannot_be_written_says_where_to_go_on(
    tmp_path: Path, finished: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path)
    save = RNNLM.save

    def full(self: RNNLM, path: Path) -> None:
        if path.name == "best-2.fastlm":
            failure = FileError("cannot write 'best-2.fastlm': No space left on device")
            failure.errno = errno.ENOSPC
            raise failure
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(RNNLM, "save", full)
        with pytest.raises(
            FileError, match=r"No space left on device.*resume goes on from the checkpoint in"
        ) as caught:
            job.start()
    assert caught.value.errno == errno.ENOSPC
    job.start(resume=True)
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]


@pytest.mark.parametrize("step", [1, 13, 20, 40])
def test_an_interrupted_run_goes_on(tmp_path: Path, finished: dict[Any, Any], step: int) -> None:
    job = Job(tmp_path, checkpoint_every=1000)

    def interrupt(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=5, dropout=0.4)
    trainer = Trainer(
        model, callback=interrupt, output=job.output, log=job.log, checkpoint=job.checkpoints, learning_rate=0.02,
        seed=5, batch_size=3, bptt_len=9, threads=1,
    )  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        history = trainer.fit(TRAIN, VALID, epochs=EPOCHS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.ended == "interrupted"
    assert log_lines(job.log)[-1]["ended"] == "interrupted"
    assert fastlm.load(job.output).info["training"].get("epoch") == (history.best and history.best.epoch)
    (checkpoint,) = job.checkpoints.glob("checkpoint-*")
    assert json.loads(read_tensors(checkpoint).metadata["state"])["learner"]["step"] == step
    job.start(resume=True)
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]


def test_an_interruption_while_validating_keeps_the_epoch(
    tmp_path: Path, finished: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastlm.inference.evaluation import evaluate

    job, calls = Job(tmp_path, checkpoint_every=1000), []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments, **options)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("fastlm.training.run.evaluate", interrupted)
            history = job.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (history.ended, len(history.epochs)) == ("interrupted", 1)
    steps_an_epoch = history.epochs[0].step
    state = json.loads(read_tensors(next(job.checkpoints.glob("checkpoint-*"))).metadata["state"])
    assert state["learner"]["step"] == 2 * steps_an_epoch
    assert job.start(1, resume=True).epochs[1].step == 2 * steps_an_epoch  # validated before the next step
    job.start(resume=True)
    assert job.result() == finished["rnnlm", "continuous", "adam"][0]


# Validation on a part


def test_validation_on_a_part_and_on_all_of_it_at_the_end(tmp_path: Path) -> None:
    job = Job(tmp_path, valid_tokens=37)
    history = job.start()
    model, best = fastlm.load(job.output), history.best
    assert best is not None
    part = Corpus.from_ids(VALID.ids[:37], VOCABULARY)
    assert best.valid_loss == pytest.approx(model.evaluate(part, threads=1).loss)
    assert {epoch.valid_tokens for epoch in history.epochs} == {37}
    assert "on the first 37 tokens" in str(best)
    assert history.report == model.evaluate(VALID, threads=1)
    assert model.info["training"]["valid_tokens"] == 37


def test_a_part_that_is_all_of_it(tmp_path: Path) -> None:
    job = Job(tmp_path, valid_tokens=10_000)
    history = job.start()
    assert {epoch.valid_tokens for epoch in history.epochs} == {None}
    assert history.report == fastlm.load(job.output).evaluate(VALID, threads=1)


def test_a_part_of_what_is_not_there() -> None:
    model = RNNLM(VOCABULARY, embedding_dim=3, hidden_size=5)
    with pytest.raises(ValueError, match="valid_tokens is 5, but there is no validation text"):
        Trainer(model, valid_tokens=5).fit(TRAIN)
    for value in (0, -3, 2.5):
        with pytest.raises(ValueError, match="valid_tokens"):
            Trainer(model, valid_tokens=value)  # type: ignore[arg-type]


def test_a_kill_while_all_of_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlm.inference.evaluation import evaluate

    whole, job = Job(tmp_path / "whole", valid_tokens=37), Job(tmp_path / "killed", valid_tokens=37)
    for each in (whole, job):
        each.folder.mkdir()

    def killed(model: NeuralModel, corpus: Corpus, **options: Any) -> Any:
        if corpus is VALID:
            raise Killed
        return evaluate(model, corpus, **options)

    expected = whole.start()
    with monkeypatch.context() as patch:
        patch.setattr("fastlm.training.run.evaluate", killed)
        job.start(checkpoint_every=1000)
    history = job.start(1, resume=True)  # no step is left
    assert (history.ended, history.report) == (expected.ended, expected.report)
    assert job.result() == whole.result()
