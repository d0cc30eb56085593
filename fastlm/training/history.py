"""What happened in a training run, as objects and as a log file of JSON lines."""

import json
import math
import os
import stat
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fastlm.errors import FileError
from fastlm.inference.evaluation import Report, perplexity
from fastlm.storage.files import Source, system_failures

__all__ = ["Epoch", "History", "Log", "Step", "finite"]

STEPS_PER_LINE = 100


@dataclass(frozen=True)
class Step:
    """One update of the parameters.

    Attributes
    ----------
    step : int
        From 1, through all epochs.
    epoch : int
        From 1.
    loss : float
        Mean cross-entropy of the batch, in nats a token.
    num_tokens : int
        Events in the batch.
    learning_rate, gradient_norm : float
        The norm is that before clipping.
    """

    step: int
    epoch: int
    loss: float
    num_tokens: int
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training corpus, and the validation after it.

    Attributes
    ----------
    epoch, step : int
        Both from 1; the last step of the epoch.
    train_loss : float
        Mean over the epoch in nats a token, while the parameters changed and dropout was on.
    valid_loss : float or None
        In nats a token, exactly normalised, `</s>` and unknown words included; None without validation text.
    learning_rate : float
        At the last step.
    tokens_per_second : float
        Training alone.
    seconds : float
        Validation included.
    best : bool
        Whether this is the best epoch so far: its parameters are the ones that are kept.
    part : float
        Share of the training text that was read; below 1 where a time limit has cut the epoch.
    valid_tokens : int or None
        Tokens, from the beginning of the validation text, that `valid_loss` is of; None: all there are.
    estimated : bool
        Whether `train_loss` is an estimate, of an output layer that learns from samples; otherwise it is exactly
        normalised, as `valid_loss` always is.
    """

    epoch: int
    step: int
    train_loss: float
    valid_loss: float | None
    learning_rate: float
    tokens_per_second: float
    seconds: float
    best: bool
    part: float = 1.0
    valid_tokens: int | None = None
    estimated: bool = False

    @property
    def train_perplexity(self) -> float:
        """exp(train_loss)."""
        return perplexity(self.train_loss)

    @property
    def valid_perplexity(self) -> float | None:
        """exp(valid_loss), or None."""
        return None if self.valid_loss is None else perplexity(self.valid_loss)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures by name, perplexities among them."""
        return asdict(self) | {"train_perplexity": self.train_perplexity, "valid_perplexity": self.valid_perplexity}

    def __str__(self) -> str:
        valid = "" if self.valid_loss is None else f", validation perplexity {self.valid_perplexity:.2f}"
        mark = " (best)" if self.best and valid else ""
        if valid and self.valid_tokens is not None:
            valid += f" on the first {self.valid_tokens:,} tokens"
        estimated = "about " if self.estimated else ""
        part = "" if self.part == 1.0 else f" ({100 * self.part:.1f} % of it)"
        return (
            f"epoch {self.epoch}{part}: training perplexity {estimated}{self.train_perplexity:.2f}{valid}{mark}, "
            f"learning rate {self.learning_rate:.2g}, {self.tokens_per_second:,.0f} tokens/s, {self.seconds:.1f} s"
        )


@dataclass
class History:
    """The epochs of a run and how it ended.

    Attributes
    ----------
    epochs : list of Epoch
    ended : str
        "finished"; "stopped early", when validation had not improved for a while; "time limit"; "interrupted", by
        Ctrl-C; or "terminated", by SIGTERM.
    report : Report or None
        How the kept model does on all of the validation text; None without such a text, or where a run that
        validates on a part of it was interrupted.
    """

    epochs: list[Epoch] = field(default_factory=list)
    ended: str = "finished"
    report: Report | None = None

    @property
    def best(self) -> Epoch | None:
        """The epoch whose parameters were kept; None if none was finished."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.best), None)

    @property
    def epochs_since_best(self) -> int:
        """How many epochs in a row have not been better than the best."""
        return len(self.epochs) - (self.best.epoch if self.best else 0)


class Log:
    """A file of JSON lines that grows with a run: one object an event, its kind under "event".

    Parameters
    ----------
    path : path, optional
        None writes nothing.
    mark : dict, optional
        What `mark` returned in a run that is now gone on with: all that was written later is cut off.

    Attributes
    ----------
    is_new : bool
        Whether nothing stands in it yet.

    Raises
    ------
    FileError
        If the file cannot be written, or is not the one that the mark was made in.
    """

    def __init__(self, path: Source | None, mark: dict[str, Any] | None = None) -> None:
        self._file: BinaryIO | None = None
        self._path = path or ""
        self._checksum = 0
        self.is_new = True
        if path is not None:
            with system_failures("write", path):
                if mark is None or not _has_contents(Path(path)):
                    self._file = Path(path).open("wb")  # noqa: SIM115 (closed by __exit__)
                else:
                    self._file = _cut_back(Path(path), mark)
                    self._checksum, self.is_new = mark["crc32"], False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            with system_failures("write", self._path):
                self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """Append one line; numbers that are not finite become null."""
        if self._file is not None:
            content = {"event": event} | {name: finite(value) for name, value in values.items()}
            line = (json.dumps(content, ensure_ascii=False) + "\n").encode()
            with system_failures("write", self._path):
                self._file.write(line)
                self._file.flush()
            self._checksum = zlib.crc32(line, self._checksum)

    def step(self, step: Step) -> None:
        """Append a step now and then."""
        if step.step % STEPS_PER_LINE == 0:
            self.write("step", **asdict(step))

    def epoch(self, epoch: Epoch) -> None:
        """Append an epoch."""
        self.write("epoch", **epoch.to_dict())

    def mark(self) -> dict[str, Any] | None:
        """Bring all lines to the disk, and return what tells a later `Log` how far it goes; None without a file."""
        if self._file is None or not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            return None
        with system_failures("write", self._path):
            os.fsync(self._file.fileno())
            return {"size": self._file.tell(), "crc32": self._checksum}


def _has_contents(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _cut_back(path: Path, mark: dict[str, Any]) -> BinaryIO:
    """Open a log to go on where the mark was made."""
    file = path.open("r+b")
    if zlib.crc32(file.read(mark["size"])) != mark["crc32"] or file.tell() != mark["size"]:
        file.close()
        raise FileError(
            f"cannot go on with the log {os.fspath(path)!r}: its first {mark['size']:,} bytes are not those that the "
            "run had written at its checkpoint; give the log of that run, or the name of a new file"
        )
    file.truncate()
    return file


def finite(value: Any) -> Any:
    """Return None in place of a number that is not finite, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
