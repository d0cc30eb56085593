"""One call of `Trainer.fit`: epochs of steps, validation and saving between them, and how a run ends and goes on."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGTERM
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastlm.errors import FastLMError, FileError, ModelFileError
from fastlm.inference.evaluation import Report, evaluate, perplexity
from fastlm.nn.parallel import Workers
from fastlm.progress import Progress, announce
from fastlm.storage import check_unchanged, remove_temporaries
from fastlm.text.corpus import Corpus
from fastlm.training.best import Best
from fastlm.training.checkpoints import Checkpoint, Checkpoints
from fastlm.training.history import Epoch, Log, Step
from fastlm.training.identity import check_same_run, run_identity, training_info, with_added_settings
from fastlm.training.learner import Learner
from fastlm.training.limits import TimeLimit
from fastlm.training.signals import Signals, Stopped
from fastlm.training.validation import beginning, guesses_better, seconds_a_token

if TYPE_CHECKING:
    from fastlm.training.trainer import Trainer

__all__ = ["Run"]

logger = logging.getLogger("fastlm")

STOPPED = ("interrupted", "terminated")
LEAVING = 0.5  # seconds that it takes to start and leave Python, which is in nobody's measurement
DISK_RATE = 100e6  # bytes a second: what is expected of a disk before anything has been saved


@dataclass
class Place:
    """Where a run stands: in which epoch, how many batches of it are done, and the sums over them."""

    epoch: int = 1
    batch: int = 0
    loss: float = 0.0
    num_tokens: int = 0
    seconds: float = 0.0


class Run:
    """One call of `fit`: what is trained, and all that changes meanwhile."""

    def __init__(self, trainer: "Trainer", train: Corpus, valid: Corpus | None, epochs: int) -> None:
        self.trainer = trainer
        self.model = trainer.model
        self.train = train
        self.valid = valid
        self.valid_part = None if valid is None else beginning(valid, trainer.valid_tokens)
        self.epochs = epochs
        self.history = trainer.history
        self.place = Place()
        for parameter in self.model.parameter_list:
            parameter.make_writable()
        self.limit = TimeLimit(trainer.time_limit, trainer.time_used)
        self.best = Best(self.model, trainer.output, None if trainer.checkpoint is None else Path(trainer.checkpoint))

    def run(self) -> None:
        """Train; `history` says what happened."""
        trainer = self.trainer
        try:
            with (
                Signals() as self.signals,
                Checkpoints(trainer.checkpoint, trainer.checkpoint_every, resume=trainer.resume) as self.checkpoints,
                Workers(trainer.threads) as self.workers,
            ):
                self.learner = Learner(trainer, self.epochs * self._num_batches(), self.workers)
                state = self._resume()
                if state["ended"] is None:
                    self._go_on(state["log"])
                else:
                    self.best.restore()
        except BaseException:
            self.best.restore()
            raise
        finally:
            for parameter in self.model.parameter_list:
                parameter.release_gradient()

    def _go_on(self, log_mark: dict[str, Any] | None) -> None:
        """Train from where the run stands to its end."""
        trainer, total = self.trainer, self.epochs * self.train.num_tokens
        done = round(self._epochs_done() * self.train.num_tokens)
        options = {name: value for name, value in vars(trainer).items() if isinstance(value, str | int | float)}
        options |= {} if trainer.recipe is None else {"recipe": trainer.recipe.name}
        with (
            Log(trainer.log, log_mark) as self.log,
            Progress(total, "tok", enabled=trainer.progress, description="train", done=done) as self.bar,
        ):
            if self.log.is_new:
                self.log.write("start", architecture=self.model.architecture, config=self.model.config, **options)
            self._expect_end()
            if self.learner.num_steps == 0:
                self.limit.used_before_training = self.limit.used
            self.history.ended = self._train()
            self._finish()

    def _train(self) -> str:
        """Go through the epochs, and return how that ended."""
        try:
            return self._run_epochs()
        except Stopped:
            self._save_checkpoint()
        except KeyboardInterrupt:  # in the middle of something: not a state to go on from
            if self.signals.received is not None:  # it is the second one
                raise
        except FileError as error:  # a full disk, most likely
            if self.checkpoints.number == 0:
                raise
            failure = FileError(f"{error}; resume goes on from the checkpoint in {str(self.checkpoints.folder)!r}")
            failure.errno = error.errno
            raise failure from error
        if not self.history.epochs:
            self.best.keep_unmeasured(self._info(None))
        return self._stopped()

    def _run_epochs(self) -> str:
        while True:
            if self.history.epochs_since_best >= self.trainer.patience:
                return "stopped early"
            if self.place.epoch > self.epochs:
                return "finished"
            if self.history.epochs and self.limit.is_up and self.place.batch == 0:  # what is begun is validated
                return "time limit"
            is_cut = self._run_steps()
            self._finish_epoch()
            self._save_checkpoint_if_due()
            if is_cut:
                return "time limit"

    def _run_steps(self) -> bool:
        """Do the steps that are left of an epoch, and return whether the time limit has cut them short."""
        began = perf_counter()
        for batch in self._batches():
            step = self.learner.step(batch, self.place.epoch, self._time_share())
            seconds = perf_counter() - began
            self._count(step, seconds)
            self._tell(step)
            if self.limit.is_up:
                return True
            self.signals.check()
            self._save_checkpoint_if_due()
            began = perf_counter()
        return False

    def _batches(self) -> Iterator[Any]:
        """Yield the batches of the epoch that have not been done."""
        trainer, place = self.trainer, self.place
        batches = self.model.training_batches(
            self.train,
            batch_size=trainer.batch_size,
            bptt_len=trainer.bptt_len,
            seed=(trainer.seed, place.epoch),
            start=place.batch,
            random_bptt_len=trainer.random_bptt_len,
        )
        while True:
            check_unchanged(self.train.ids)
            try:
                yield next(batches)
            except StopIteration:
                return

    def _num_batches(self) -> int:
        trainer = self.trainer
        return self.model.num_training_batches(
            self.train,
            batch_size=trainer.batch_size,
            bptt_len=trainer.bptt_len,
            random_bptt_len=trainer.random_bptt_len,
        )

    def _time_share(self) -> float:
        """Return the share of a limited time that is gone, where that ends the run and not the number of epochs."""
        share = self.limit.share
        return share if share > self._epochs_done() / self.epochs else 0.0

    def _count(self, step: Step, seconds: float) -> None:
        place = self.place
        place.batch += 1
        place.loss += step.loss * step.num_tokens
        place.num_tokens += step.num_tokens
        place.seconds += seconds
        self.limit.count_step(step.num_tokens, seconds)
        mean = place.loss / place.num_tokens
        epoch = f"{place.epoch}/{self.epochs}"
        self.bar.update(step.num_tokens, epoch=epoch, loss=mean, perplexity=perplexity(mean))

    def _finish_epoch(self) -> None:
        """Validate, keep what is best, and stand at the beginning of the next epoch."""
        with self.learner.evaluated():
            epoch = self._measured_epoch()
        self.learner.validated(epoch.best, epoch.valid_loss)
        self.history.epochs.append(epoch)  # after it is kept, so that Ctrl-C leaves no epoch that is best and nowhere
        self.place = Place(epoch.epoch + 1)
        self._say(str(epoch))
        with self.learner.evaluated():  # a callback sees the model that was validated
            self._tell(epoch)

    def _measured_epoch(self) -> Epoch:
        """Validate, and keep the model if it is the best."""
        place, began, previous = self.place, perf_counter(), self.history.best
        report = self._validate()
        loss = None if report is None else report.loss
        best = previous is None or previous.valid_loss is None or loss is None or loss < previous.valid_loss
        epoch = Epoch(
            epoch=place.epoch,
            step=self.learner.num_steps,
            train_loss=place.loss / place.num_tokens,
            valid_loss=loss,
            learning_rate=self.learner.learning_rate,
            tokens_per_second=place.num_tokens / max(place.seconds, 1e-9),
            seconds=place.seconds + perf_counter() - began,
            best=best,
            part=place.num_tokens / self.train.num_tokens,
            valid_tokens=self.trainer.valid_tokens if self._validates_on_part else None,
            estimated=self.model.output.estimates,
        )
        if best:
            with self.limit.measuring("saving"):
                self.best.keep(self._info(epoch), epoch.epoch)
            self.history.report = None if self._validates_on_part else report
        return epoch

    def _validate(self) -> Report | None:
        """Measure how the model does, if there is validation text; parameters and loss are found to be finite."""
        self.learner.check_parameters(self.place.epoch)
        if self.valid_part is None:
            return None
        check_unchanged(self.valid_part.ids)
        loss = math.nan
        try:
            with self.signals.at_once(), self.limit.measuring("validation"):
                report = evaluate(self.model, self.valid_part, workers=self.workers, measure_norms=True)
                loss = report.loss
        except FastLMError:  # no number
            pass
        figures = {"validation loss": loss, "validation perplexity": perplexity(loss)}
        self.learner.check_finite(figures, self.learner.num_steps, self.place.epoch)
        return report

    def _finish(self) -> None:
        """Leave the best parameters in the model, and say in log and checkpoint that this was the end."""
        history = self.history
        measures_whole = self._validates_on_part and history.ended not in STOPPED
        if measures_whole:
            self._save_checkpoint()  # what comes now may take long, and needs the memory of the parameters
        self.best.restore()
        if measures_whole and self.valid is not None:
            try:
                with self.signals.at_once():
                    history.report = evaluate(self.model, self.valid, workers=self.workers, measure_norms=True)
            except Stopped:
                history.ended = self._stopped()
        self.log.write("end", ended=history.ended, best=history.best and history.best.epoch)
        if history.ended not in STOPPED:
            self._save_checkpoint(has_ended=True)
            if guesses_better(history, len(self.model.vocabulary)):
                logger.warning(
                    "the best validation perplexity, %.6g, is worse than guessing: the learning rate (%g) may be too "
                    "large, or the two texts have too little in common",
                    history.best and history.best.valid_perplexity,
                    self.trainer.learning_rate,
                )
        elif self.checkpoints.folder is not None:
            self._say(
                f"{history.ended} after step {self.learner.num_steps}; to be resumed from {self.checkpoints.folder}"
            )

    def _stopped(self) -> str:
        return "terminated" if self.signals.received == SIGTERM else "interrupted"

    # Checkpoints

    def _resume(self) -> dict[str, Any]:
        """Take up a run from its checkpoint, if that is wanted; return the state, which is empty at a beginning."""
        trainer, beginning = self.trainer, {"ended": None, "log": None}
        folder = self.checkpoints.folder
        if folder is None:
            return beginning
        if trainer.output is not None:
            remove_temporaries(trainer.output)  # of a process that was killed
        self.identity = run_identity(trainer, self.train, self.valid, self.epochs)
        checkpoint = self.checkpoints.latest() if trainer.resume else None
        if checkpoint is None:
            if trainer.resume:
                self._say(f"no checkpoint in {folder} yet: the run starts from the beginning")
            return beginning
        check_same_run(folder, with_added_settings(checkpoint.run, self.model), self.identity)
        try:
            self._restore(checkpoint)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the last checkpoint in {str(folder)!r} is not one of this fastlm: {error}"
            ) from error
        ended = checkpoint.state["ended"]
        where = f"step {self.learner.num_steps}, in epoch {self.place.epoch}" if ended is None else f"its end: {ended}"
        self._say(f"resumed from {folder} at {where}")
        return checkpoint.state

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.place = Place(**state["place"])
        self.history.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.history.report = None if state["report"] is None else Report(**state["report"])
        self.limit.used_before += state["seconds"]
        self.limit.used_before_training = state["seconds_before_training"]
        if state["best"] is not None:
            self.best.resume(state["best"])
        if state["ended"] is None:
            self.learner.restore(state["learner"], checkpoint.arrays)
        else:
            self.history.ended = state["ended"]

    def _save_checkpoint_if_due(self) -> None:
        if self.checkpoints.are_due:
            self._save_checkpoint()

    def _save_checkpoint(self, *, has_ended: bool = False) -> None:
        """Save a checkpoint; one that cannot be written is no reason to end a run, which has the one before."""
        if self.checkpoints.folder is None:
            return
        history = self.history
        try:
            state = {
                "learner": self.learner.numbers(),
                "place": asdict(self.place),
                "epochs": [asdict(epoch) for epoch in history.epochs],
                "ended": history.ended if has_ended else None,
                "report": history.report and asdict(history.report),
                "best": self.best.name,
                "log": self.log.mark(),
                "seconds": self.limit.used,
                "seconds_before_training": self.limit.used_before_training,
            }
            arrays = {} if has_ended else self.learner.arrays()
            with self.limit.measuring("checkpoint"):
                self.checkpoints.save(Checkpoint(self.identity, state, arrays))
        except FileError as error:
            logger.warning("no checkpoint was written at step %d: %s", self.learner.num_steps, error)

    # Words and figures

    def _expect_end(self) -> None:
        """Where time is limited, find out how long validation will take, on as little as shows it."""
        if self.limit.seconds is None:
            return
        num_bytes = sum(array.nbytes for array in self.model.parameters.values())
        self.limit.expect("saving", 2 * num_bytes / DISK_RATE)
        self.limit.expect("leaving", min(LEAVING, 0.05 * self.limit.seconds))
        if self.checkpoints.folder is not None:
            self.limit.expect("checkpoint", sum(a.nbytes for a in self.learner.arrays().values()) / DISK_RATE)
        if self.valid is None or self.valid_part is None:
            return
        seconds = seconds_a_token(self.model, self.valid, self.workers)
        self.limit.expect("validation", seconds * self.valid_part.num_tokens)
        if self._validates_on_part:
            self.limit.expect("last validation", seconds * self.valid.num_tokens)

    def _tell(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            self.log.step(event)
        else:
            self.log.epoch(event)
        if self.trainer.callback is not None:
            try:
                self.trainer.callback(event)
            except KeyboardInterrupt as wish:  # nothing is half done here
                raise Stopped from wish
        forecast = self.limit.news(self.train.num_tokens, self._epochs_done(), self.epochs)
        if forecast is not None:
            self._say(str(forecast))
            self.bar.expect(round(self.train.num_tokens * forecast.num_epochs))

    def _say(self, message: str) -> None:
        if self.trainer.progress:
            announce(message)
        else:
            logger.info("%s", message)

    def _epochs_done(self) -> float:
        return self.place.epoch - 1 + self.place.num_tokens / self.train.num_tokens

    @property
    def _validates_on_part(self) -> bool:
        return self.valid_part is not self.valid

    def _info(self, epoch: Epoch | None) -> dict[str, Any]:
        return training_info(self.trainer, self.train, self.epochs, epoch)
