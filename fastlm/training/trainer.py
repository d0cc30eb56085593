"""The trainer: how a model is to be trained; `fastlm.training.run` does it."""

from collections.abc import Callable, Collection, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from fastlm.inference.arguments import check_vocabulary, real_number, whole_number
from fastlm.models import NeuralModel
from fastlm.models.config import MAX_SIZE
from fastlm.nn.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AveragedSGD,
    Constant,
    Cosine,
    Halving,
    Optimizer,
    Schedule,
)
from fastlm.nn.parallel import MAX_THREADS, PRECISIONS, possible_precisions
from fastlm.nn.parameters import Parameter
from fastlm.storage import Source, check_writable
from fastlm.text.corpus import Corpus
from fastlm.training.history import Epoch, History, Step
from fastlm.training.run import Run

if TYPE_CHECKING:
    from fastlm.training.recipes import Recipe

__all__ = ["OPTIMIZERS", "SCHEDULES", "Trainer"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
    "sgd": SGD,
    "asgd": AveragedSGD,
}
SCHEDULES = ("cosine", "halving", "constant")
PATIENCE = 3
EPOCHS = 10
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
    random_bptt_len : bool
        Draw the steps anew for each chunk: mostly about `bptt_len`, sometimes about half of it (Merity et al. 2018).
    optimizer : {"adam", "adamw", "adagrad", "sgd", "asgd"}
        "asgd" is averaged once validation stalls; it goes with the schedule "constant" (Merity et al. 2018).
    learning_rate : float, optional
        The highest rate; by optimizer if not given: 0.002, 0.002, 0.05, 0.5 and 0.5.
    momentum : float
        For "sgd".
    weight_decay : float, optional
        Each step shrinks matrices by this times the learning rate; 0.01 for "adamw" and 0 for others if not given.
    averaging_patience : int, optional
        For "asgd": average as soon as a validation loss is worse than the best of all but the last so many; 5 if not
        given.
    schedule : {"cosine", "halving", "constant"}
        To zero along a cosine over the epochs of `fit`; half after each epoch once validation has stalled; or the
        same all the time.
    warmup_steps : int
        Over which the rate rises to its height; at most a tenth of the run.
    max_grad_norm : float
        Gradients of a larger global norm are scaled down to it. Infinity: never.
    precision : {"float32", "bfloat16"}, optional
        To which matrix products of a float32 model round their operands in training; sums, parameters and all that is
        evaluated stay float32. "bfloat16" is about twice as quick on a CPU with AMX (Intel's Xeon since 2023),
        and is refused on others.
    patience : int, optional
        Stop after so many epochs in a row without a better validation loss; 3 if not given, for "asgd" 3 more than
        `averaging_patience`.
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
        Called with each `Step` and each `Epoch`; at an epoch the model is the one that was validated.
    output : path, optional
        Where the best model so far is saved after each epoch that improves it.
    checkpoint : path, optional
        A directory for checkpoints, which belongs to this run alone. The last two are kept, and the best model so far.
        Each has the size of the model with its optimizer's state: three times the model for "adam".
    checkpoint_every : float
        Seconds between checkpoints; 0 makes one after each step.
    resume : bool
        Go on from the last checkpoint, as if the run had never ended: to the same bytes, also after `kill -9`. Model,
        texts and options must be those that the run began with; threads and names of files may be others. Where there
        is no checkpoint yet, the run starts from the beginning.
    time_limit : float, optional
        Seconds after which the run is to have ended, the last validation included, with the best model so far. The
        learning rate falls over this time, where it ends the run and not the number of epochs does. How far a run
        comes depends on the machine, so it is not repeated bit for bit. A resumed run counts the time that it used
        before.
    time_used : float
        Seconds of the limit that have passed before `fit`: with reading the text, for example.
    valid_tokens : int, optional
        Validate on so many tokens from the beginning of the validation text; on all of it at the end.
    recipe : Recipe, optional
        Where these settings are from, for the model file; `Recipe.trainer` gives it.

    Attributes
    ----------
    history : History
        Of the last call of `fit`, also if that raised an exception.

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
        random_bptt_len: bool = False,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        momentum: float = 0.0,
        weight_decay: float | None = None,
        averaging_patience: int | None = None,
        schedule: str = "cosine",
        warmup_steps: int = 200,
        max_grad_norm: float = 1.0,
        precision: str | None = None,
        patience: int | None = None,
        seed: int = 1,
        threads: int | None = None,
        progress: bool = False,
        log: Source | None = None,
        callback: Callback | None = None,
        output: Source | None = None,
        checkpoint: Source | None = None,
        checkpoint_every: float = 600.0,
        resume: bool = False,
        time_limit: float | None = None,
        time_used: float = 0.0,
        valid_tokens: int | None = None,
        recipe: "Recipe | None" = None,
    ) -> None:
        if not isinstance(model, NeuralModel):
            raise ValueError(f"model must be an NNLM or an RNNLM, got {type(model).__name__}")
        if callback is not None and not callable(callback):
            raise ValueError(f"callback must be a function of a Step or an Epoch, got {callback!r}")
        if model.default_bptt_len is None:
            for name, value in {"bptt_len": bptt_len, "random_bptt_len": random_bptt_len or None}.items():
                if value is not None:
                    raise ValueError(
                        f"{name} is {value!r}, but an {type(model).__name__} has no recurrence; leave it out"
                    )
        self.model = model
        batch_size = model.default_batch_size if batch_size is None else batch_size
        self.batch_size = whole_number("batch_size", batch_size, minimum=1, maximum=MAX_SIZE)
        bptt_len = model.default_bptt_len if bptt_len is None else bptt_len
        self.bptt_len = None if bptt_len is None else whole_number("bptt_len", bptt_len, minimum=1)
        self.random_bptt_len = _flag("random_bptt_len", random_bptt_len)
        self.optimizer = _one_of("optimizer", optimizer, OPTIMIZERS)
        self.momentum = real_number("momentum", momentum)
        if self.momentum and optimizer != "sgd":
            raise ValueError(f"momentum is {momentum}, but {optimizer} has none to set; leave it out, or take 'sgd'")
        self.averaging_patience = _averaging_patience(optimizer, averaging_patience)
        self.schedule = _one_of("schedule", schedule, SCHEDULES)
        default = OPTIMIZERS[optimizer].default_learning_rate
        rate = real_number("learning_rate", default if learning_rate is None else learning_rate)
        self.learning_rate = _positive("learning_rate", rate)
        self.weight_decay = _weight_decay(optimizer, weight_decay, self.learning_rate)
        self.warmup_steps = whole_number("warmup_steps", warmup_steps, minimum=0)
        self.max_grad_norm = _positive("max_grad_norm", max_grad_norm)
        self.precision = None if precision is None else _precision(model, precision)
        patience = PATIENCE + (self.averaging_patience or 0) if patience is None else patience
        self.patience = whole_number("patience", patience, minimum=1)
        self.seed = whole_number("seed", seed, minimum=0)
        self.threads = None if threads is None else whole_number("threads", threads, minimum=1, maximum=MAX_THREADS)
        self.progress = progress
        self.log = log
        self.callback = callback
        self.output = output
        self.checkpoint = checkpoint
        self.checkpoint_every = _seconds("checkpoint_every", checkpoint_every)
        self.resume = resume
        if resume and checkpoint is None:
            raise ValueError("resume is True, but there is no checkpoint; give the directory of the checkpoints")
        self.time_limit = None if time_limit is None else _positive("time_limit", real_number("time_limit", time_limit))
        self.time_used = _seconds("time_used", time_used)
        self.valid_tokens = None if valid_tokens is None else whole_number("valid_tokens", valid_tokens, minimum=1)
        self.recipe = recipe
        self.history = History()

    def fit(self, train: Corpus, valid: Corpus | None = None, *, epochs: int | None = None) -> History:
        """Train for a number of epochs, and leave the best one's parameters in the model.

        Ctrl-C ends the run in good order: the history so far is returned. SIGTERM does the same before it does what
        it would have done otherwise, that is, end the program. A second signal ends it at once.

        Parameters
        ----------
        train, valid : Corpus
            Of the model's vocabulary. Without validation text the last epoch counts as the best.
        epochs : int, optional
            At most; if not given, as many as the recipe says, or 10.

        Returns
        -------
        History

        Raises
        ------
        TrainingError
            If loss, perplexity or gradients are no longer finite. The model then has the best parameters so far.
        ValueError
            If the run that is to be resumed is another one; all differences are named.
        FileError
            If something cannot be written, or checkpoints are there that are not to be resumed.
        """
        if epochs is None:
            epochs = EPOCHS if self.recipe is None else self.recipe.epochs
        epochs = whole_number("epochs", epochs, minimum=1)
        check_vocabulary(train, self.model.vocabulary, name="train corpus")
        if valid is not None:
            check_vocabulary(valid, self.model.vocabulary, name="valid corpus")
        elif self.valid_tokens is not None:
            raise ValueError(f"valid_tokens is {self.valid_tokens}, but there is no validation text; give one")
        elif self.averaging_patience is not None:
            raise ValueError("optimizer is 'asgd', which averages when validation stalls; give a validation text")
        if self.output is not None:
            check_writable(self.output)
        self.history = History()
        Run(self, train, valid, epochs).run()
        return self.history

    def make_optimizer(self, parameters: Sequence[Parameter]) -> Optimizer:
        """Return a new optimizer of the chosen kind."""
        decay = self.weight_decay
        if self.optimizer == "sgd":
            return SGD(parameters, momentum=self.momentum, weight_decay=decay)
        if self.averaging_patience is not None:
            return AveragedSGD(parameters, averaging_patience=self.averaging_patience, weight_decay=decay)
        return OPTIMIZERS[self.optimizer](parameters, weight_decay=decay)

    def make_schedule(self, num_steps: int) -> Schedule:
        """Return a new schedule of the chosen kind for a run of so many steps."""
        warmup = min(self.warmup_steps, num_steps // 10)
        if self.schedule == "cosine":
            return Cosine(self.learning_rate, warmup, total=num_steps)
        schedule = Halving if self.schedule == "halving" else Constant
        return schedule(self.learning_rate, warmup)


def _precision(model: NeuralModel, value: str) -> str | None:
    """Return "bfloat16", or None for products as the model's type has them."""
    if _one_of("precision", value, PRECISIONS) == str(model.dtype):
        return None
    if model.dtype != np.float32:
        raise ValueError(f"precision is {value!r}, but the model is of {model.dtype}; leave it out")
    if value not in possible_precisions():
        raise ValueError(
            f"precision is {value!r}, but there is no AMX on this machine, or build, system or FASTLM_CPU_LEVEL "
            "do not let it be used; leave it out"
        )
    return value


def _averaging_patience(optimizer: str, value: int | None) -> int | None:
    if optimizer == "asgd":
        return 5 if value is None else whole_number("averaging_patience", value, minimum=1)
    if value is not None:
        raise ValueError(
            f"averaging_patience is {value}, but {optimizer} does not average; leave it out, or take 'asgd'"
        )
    return None


def _weight_decay(optimizer: str, value: float | None, learning_rate: float) -> float:
    decay = OPTIMIZERS[optimizer].default_weight_decay if value is None else real_number("weight_decay", value)
    if not 0.0 <= decay * learning_rate < 1.0:
        raise ValueError(
            f"weight_decay is {decay}, expected at least 0, and below 1 when multiplied by the learning rate "
            f"({learning_rate:g})"
        )
    return decay


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected True or False")
    return value


def _positive(name: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ValueError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def _seconds(name: str, value: float) -> float:
    seconds = real_number(name, value)
    if seconds < 0:
        raise ValueError(f"{name} is {value!r}, expected a number of seconds, at least 0")
    return seconds


def _one_of(name: str, value: str, choices: Collection[str]) -> str:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
    return value
