"""The trainer: epochs of batches through a model, its gradients through an optimizer, and validation between."""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from numbers import Real
from typing import Any

import numpy as np

from fastlm.errors import FastLMError, TrainingError
from fastlm.inference.arguments import check_vocabulary, real_number, whole_number
from fastlm.inference.evaluation import evaluate, perplexity
from fastlm.models import NeuralModel
from fastlm.models.base import MAX_SIZE
from fastlm.nn.optimizers import SGD, Adagrad, Adam, Constant, Cosine, Halving, Optimizer, Schedule, gradient_norm
from fastlm.nn.parallel import MAX_THREADS, Workers
from fastlm.nn.workspace import Workspace
from fastlm.progress import Progress, announce
from fastlm.storage import Source, check_writable
from fastlm.text.corpus import Corpus
from fastlm.training.best import Best
from fastlm.training.history import Epoch, History, Log, Step, finite

__all__ = ["OPTIMIZERS", "SCHEDULES", "Trainer"]

logger = logging.getLogger("fastlm")

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adagrad": Adagrad, "sgd": SGD}
SCHEDULES = ("cosine", "halving", "constant")
OPTIONS_KEPT = (
    "batch_size", "bptt_len", "optimizer", "learning_rate", "momentum", "schedule", "warmup_steps", "max_grad_norm",
    "seed",
)  # fmt: skip
Callback = Callable[[Step | Epoch], object]


class Trainer:
    """Trains a neural language model by stochastic gradients.

    Parameters
    ----------
    model : NNLM or RNNLM
        Trained in place.
    batch_size : int, optional
        Windows in a batch (NNLM, 256 if not given), or streams of text that are read in parallel (RNNLM, 20).
    bptt_len : int, optional
        Steps that the gradient goes back through time, for an RNNLM; 35 if not given.
    optimizer : {"adam", "adagrad", "sgd"}
    learning_rate : float, optional
        The highest rate; by optimizer if not given: 0.002, 0.05 and 0.5.
    momentum : float
        For "sgd".
    schedule : {"cosine", "halving", "constant"}
        To zero along a cosine over the epochs of `fit`; half after each epoch once validation has stalled; or the
        same all the time.
    warmup_steps : int
        Over which the rate rises to its height; at most a tenth of the run.
    max_grad_norm : float
        Gradients of a larger global norm are scaled down to it. Infinity: never.
    patience : int
        Stop after so many epochs in a row without a better validation loss.
    seed : int
        For the order of the text and for dropout. The same seed gives the same model, bit for bit, for any number
        of threads.
    threads : int, optional
        None takes the cores that the process may use.
    progress : bool
        Show a bar and a line an epoch on standard error. Otherwise the lines go to `logging`, logger "fastlm".
    log : path, optional
        A file for JSON lines about steps and epochs.
    callback : callable, optional
        Called with each `Step` and each `Epoch`.
    output : path, optional
        Where the best model so far is saved after each epoch that improves it.

    Examples
    --------
    >>> import fastlm
    >>> text = ["the cat sat on the mat", "the dog sat on the rug"] * 50
    >>> vocabulary = fastlm.Vocabulary.build(text)
    >>> corpus = fastlm.Corpus.encode(text, vocabulary)
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=8, hidden_size=16)
    >>> history = fastlm.Trainer(model, batch_size=16, learning_rate=0.01).fit(corpus, corpus, epochs=5)
    >>> history.ended, len(history.epochs), history.best.valid_perplexity < 2
    ('finished', 5, True)
    """

    def __init__(
        self,
        model: NeuralModel,
        *,
        batch_size: int | None = None,
        bptt_len: int | None = None,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        momentum: float = 0.0,
        schedule: str = "cosine",
        warmup_steps: int = 200,
        max_grad_norm: float = 1.0,
        patience: int = 3,
        seed: int = 1,
        threads: int | None = None,
        progress: bool = False,
        log: Source | None = None,
        callback: Callback | None = None,
        output: Source | None = None,
    ) -> None:
        if not isinstance(model, NeuralModel):
            raise ValueError(f"model must be an NNLM or an RNNLM, got {type(model).__name__}")
        if callback is not None and not callable(callback):
            raise ValueError(f"callback must be a function of a Step or an Epoch, got {callback!r}")
        if bptt_len is not None and model.default_bptt_len is None:
            raise ValueError(f"bptt_len is {bptt_len}, but an {type(model).__name__} has no recurrence; leave it out")
        self.model = model
        batch_size = model.default_batch_size if batch_size is None else batch_size
        self.batch_size = whole_number("batch_size", batch_size, minimum=1, maximum=MAX_SIZE)
        bptt_len = model.default_bptt_len if bptt_len is None else bptt_len
        self.bptt_len = None if bptt_len is None else whole_number("bptt_len", bptt_len, minimum=1)
        self.optimizer = _one_of("optimizer", optimizer, OPTIMIZERS)
        self.momentum = real_number("momentum", momentum)
        if self.momentum and optimizer != "sgd":
            raise ValueError(f"momentum is {momentum}, but {optimizer} has none to set; leave it out, or take 'sgd'")
        self.schedule = _one_of("schedule", schedule, SCHEDULES)
        default = OPTIMIZERS[optimizer].default_learning_rate
        rate = real_number("learning_rate", default if learning_rate is None else learning_rate)
        self.learning_rate = _positive("learning_rate", rate)
        self.warmup_steps = whole_number("warmup_steps", warmup_steps, minimum=0)
        self.max_grad_norm = _positive("max_grad_norm", max_grad_norm)
        self.patience = whole_number("patience", patience, minimum=1)
        self.seed = whole_number("seed", seed, minimum=0)
        self.threads = None if threads is None else whole_number("threads", threads, minimum=1, maximum=MAX_THREADS)
        self.progress = progress
        self.log = log
        self.callback = callback
        self.output = output

    def fit(self, train: Corpus, valid: Corpus | None = None, *, epochs: int = 10) -> History:
        """Train for a number of epochs, and leave the best one's parameters in the model.

        Ctrl-C ends the run in good order: the history so far is returned.

        Parameters
        ----------
        train, valid : Corpus
            Of the model's vocabulary. Without validation text the last epoch counts as the best.
        epochs : int

        Returns
        -------
        History

        Raises
        ------
        TrainingError
            If loss or gradients are no longer finite. The model then has the best parameters so far.
        """
        epochs = whole_number("epochs", epochs, minimum=1)
        check_vocabulary(train, self.model.vocabulary, name="train corpus")
        if valid is not None:
            check_vocabulary(valid, self.model.vocabulary, name="valid corpus")
        if self.output is not None:
            check_writable(self.output)
        return _Run(self, train, valid, epochs).run()


class _Run:
    """One call of `fit`."""

    def __init__(self, trainer: Trainer, train: Corpus, valid: Corpus | None, epochs: int) -> None:
        self.trainer = trainer
        self.model = trainer.model
        self.train = train
        self.valid = valid
        self.epochs = epochs
        self.history = History()
        self.parameters = self.model.parameter_list
        for parameter in self.parameters:
            parameter.make_writable()
        self.optimizer = self._make_optimizer()
        self.schedule = self._make_schedule()
        self.best = Best(self.model, trainer.output)

    def run(self) -> History:
        trainer = self.trainer
        options = {name: value for name, value in vars(trainer).items() if isinstance(value, str | int | float)}
        total = self.epochs * self.train.num_tokens
        try:
            with (
                Log(trainer.log) as self.log,
                Workers(trainer.threads) as self.workers,
                Progress(total, unit="tok", enabled=trainer.progress, description="train") as self.bar,
            ):
                self.workspace = Workspace(self.model.dtype, self.workers, training=True, seed=trainer.seed)
                self.log.write("start", architecture=self.model.architecture, config=self.model.config, **options)
                self._run_epochs()
                self.log.write("end", ended=self.history.ended, best=self.history.best and self.history.best.epoch)
        finally:
            self.best.restore()
            for parameter in self.parameters:
                parameter.release_gradient()
        return self.history

    def _run_epochs(self) -> None:
        try:
            for number in range(1, self.epochs + 1):
                epoch = self._epoch(number)
                self._report(epoch)
                if self.history.epochs_since_best >= self.trainer.patience:
                    self.history.ended = "stopped early"
                    return
        except KeyboardInterrupt:
            self.history.ended = "interrupted"
            if not self.history.epochs:  # nothing has been measured: what there is, is the best so far
                self.best.keep(self._info(None))

    def _epoch(self, number: int) -> Epoch:
        trainer, began = self.trainer, time.perf_counter()
        batches = self.model.training_batches(
            self.train, batch_size=trainer.batch_size, bptt_len=trainer.bptt_len, seed=(trainer.seed, number)
        )
        loss, num_tokens = 0.0, 0
        for batch in batches:
            step = self._step(batch, number)
            loss += step.loss * step.num_tokens
            num_tokens += step.num_tokens
            mean = loss / num_tokens
            self.bar.update(step.num_tokens, epoch=f"{number}/{self.epochs}", loss=mean, perplexity=perplexity(mean))
            self._tell(step)
        trained = time.perf_counter()
        valid_loss = self._validate(step)
        previous = self.history.best
        best = previous is None or previous.valid_loss is None or valid_loss is None or valid_loss < previous.valid_loss
        self.schedule.validated(best)
        return Epoch(
            epoch=number,
            step=self.workspace.step,
            train_loss=loss / num_tokens,
            valid_loss=valid_loss,
            learning_rate=step.learning_rate,
            tokens_per_second=num_tokens / (trained - began),
            seconds=time.perf_counter() - began,
            best=best,
        )

    def _step(self, batch: Any, epoch: int) -> Step:
        for parameter in self.parameters:
            parameter.clear_gradient()
        rate = self.schedule.rate(self.workspace.step)
        loss, num_tokens = self.model.loss_and_gradients(batch, self.workspace)
        norm = gradient_norm(self.parameters, self.workers)
        step = Step(self.workspace.step + 1, epoch, loss / max(1, num_tokens), num_tokens, rate, norm)
        _check_finite(step, {"loss": step.loss, "norm of its gradient": norm})
        limit = self.trainer.max_grad_norm
        self.optimizer.step(rate, self.workers, scale=limit / norm if norm > limit else 1.0)
        self.workspace.step += 1
        return step

    def _validate(self, step: Step) -> float | None:
        """Return the validation loss, if there is such a text, of parameters that are found to be finite."""
        _check_finite(step, {f"largest element of {p.name}": float(np.abs(p.value).max()) for p in self.parameters})
        if self.valid is None:
            return None
        try:
            loss = evaluate(self.model, self.valid, workers=self.workers).loss
        except FastLMError:  # no number
            loss = math.nan
        _check_finite(step, {"validation loss": loss})
        return loss

    def _tell(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            self.log.step(event)
        else:
            self.log.epoch(event)
        if self.trainer.callback is not None:
            self.trainer.callback(event)

    def _report(self, epoch: Epoch) -> None:
        if epoch.best:
            self.best.keep(self._info(epoch))
        self.history.epochs.append(epoch)  # after it is kept, so that Ctrl-C leaves no epoch that is best and nowhere
        if self.trainer.progress:
            announce(str(epoch))
        else:
            logger.info("%s", epoch)
        self._tell(epoch)

    def _info(self, epoch: Epoch | None) -> dict[str, Any]:
        """Describe the run for the model file; no times, so that equal models are equal bytes."""
        info = {name: getattr(self.trainer, name) for name in OPTIONS_KEPT}
        info |= {"epochs": self.epochs, "train_tokens": self.train.num_tokens}
        if epoch is not None:
            kept = asdict(epoch)
            info |= {name: kept[name] for name in ("epoch", "step", "train_loss", "valid_loss")}
        return {"training": {name: finite(value) for name, value in info.items()}}

    def _make_optimizer(self) -> Optimizer:
        trainer = self.trainer
        if trainer.optimizer == "sgd":
            return SGD(self.parameters, momentum=trainer.momentum)
        return OPTIMIZERS[trainer.optimizer](self.parameters)

    def _make_schedule(self) -> Schedule:
        trainer = self.trainer
        total = self.epochs * self.model.num_training_batches(
            self.train, batch_size=trainer.batch_size, bptt_len=trainer.bptt_len
        )
        warmup = min(trainer.warmup_steps, total // 10)
        if trainer.schedule == "cosine":
            return Cosine(trainer.learning_rate, warmup, total=total)
        schedule = Halving if trainer.schedule == "halving" else Constant
        return schedule(trainer.learning_rate, warmup)


def _check_finite(step: Step, values: Mapping[str, float]) -> None:
    """Raise a TrainingError that says where the run is, if one of the named values is not finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} is {value} at step {step.step} (epoch {step.epoch}), with learning rate "
                f"{step.learning_rate:g}; expected a finite number. The best parameters so far are kept; a smaller "
                "learning rate or max_grad_norm may help"
            )


def _positive(name: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ValueError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def _one_of(name: str, value: str, choices: Collection[str]) -> str:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    return value
