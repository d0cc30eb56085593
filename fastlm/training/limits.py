"""The time of a run: what is used of it, what must be kept for its end, and how long it will take."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from fastlm.progress import format_duration

__all__ = ["Forecast", "TimeLimit", "peak_memory"]

MARGIN = 1.2  # for what the end of a run is expected to take
WARM_UP = 2  # first steps, in which memory is found and filled: they are not measured
MEASURED_STEPS, MEASURED_SECONDS = 10, 5.0  # whichever comes first is enough to say how long a run takes
NEWS = 0.2  # a forecast that has changed by more is said again,
LOOKS = 20  # if one of so many looks in the course of the limit finds that


class TimeLimit:
    """How much of a limited time is used, and whether there is enough for another step.

    Parameters
    ----------
    seconds : float, optional
        The limit; None: there is none.
    used : float
        Seconds of it that have passed before.

    Attributes
    ----------
    used_before : float
        Seconds of the limit that had passed when this object was made.
    used_before_training : float
        Seconds of the limit that had passed at the first step of the run.

    Examples
    --------
    >>> limit = TimeLimit(1800, used=900)
    >>> limit.used_before_training = 200
    >>> limit.expect("validation", 500)
    >>> round(limit.share, 2), limit.is_up
    (0.7, False)
    """

    def __init__(self, seconds: float | None, used: float = 0.0) -> None:
        self.seconds = seconds
        self.used_before = used
        self.used_before_training = used
        self._began = monotonic()
        self._end: dict[str, float] = {}  # seconds of what comes after the last step
        self._num_steps = 0
        self._num_tokens = 0
        self._step_seconds = 0.0
        self._last_news: Forecast | None = None
        self._next_look = 0.0

    @property
    def used(self) -> float:
        """Seconds, those of earlier parts of the run included."""
        return self.used_before + monotonic() - self._began

    @property
    def reserve(self) -> float:
        """Seconds that must be left after the last step."""
        return MARGIN * sum(self._end.values())

    @property
    def share(self) -> float:
        """Share of the time for training that is gone; 0 without a limit."""
        if self.seconds is None:
            return 0.0
        available = self.seconds - self.reserve - self.used_before_training
        return min(1.0, (self.used - self.used_before_training) / max(available, 1e-9))

    @property
    def is_up(self) -> bool:
        """Whether another step would be too much."""
        if self.seconds is None:
            return False
        step = self._step_seconds / max(1, self._num_steps - WARM_UP)
        return self.used + step + self.reserve >= self.seconds

    def expect(self, what: str, seconds: float) -> None:
        """Keep so many seconds for something that comes after the last step."""
        self._end[what] = seconds

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Expect that what happens in the block takes as long again at the end."""
        began = monotonic()
        yield
        self.expect(what, monotonic() - began)

    def count_step(self, num_tokens: int, seconds: float) -> None:
        """Learn from a step how long steps take."""
        self._num_steps += 1
        if self._num_steps > WARM_UP:
            self._num_tokens += num_tokens
            self._step_seconds += seconds

    @property
    def rate(self) -> float | None:
        """Tokens a second in training, once enough steps have been measured."""
        measured = self._num_steps - WARM_UP
        if measured < 1 or not self._step_seconds:
            return None
        if measured < MEASURED_STEPS and self._step_seconds < MEASURED_SECONDS:
            return None
        return self._num_tokens / self._step_seconds

    def forecast(self, tokens: int, epochs_done: float, epochs: int) -> "Forecast | None":
        """Foretell the times of a run, once some steps have been measured.

        Parameters
        ----------
        tokens : int
            Of an epoch.
        epochs_done : float
        epochs : int
            All that the run may have.
        """
        if self.rate is None:
            return None
        after_each = self._end.get("validation", 0.0) + self._end.get("saving", 0.0)
        epoch = tokens / self.rate + after_each
        used = self.used
        run = used + (epochs - epochs_done) * epoch + sum(self._end.values()) - after_each
        if self.seconds is None or run <= self.seconds:
            return Forecast(epoch, run, epochs, False, peak_memory())
        left = max(0.0, self.seconds - self.reserve - used)
        return Forecast(epoch, self.seconds, epochs_done + left / epoch, True, peak_memory())

    def news(self, tokens: int, epochs_done: float, epochs: int) -> "Forecast | None":
        """Return a forecast where time is limited, as soon as there is one, and again when it has changed."""
        if self.seconds is None or self.used < self._next_look:
            return None
        forecast = self.forecast(tokens, epochs_done, epochs)
        if forecast is None:
            return None
        self._next_look = self.used + self.seconds / LOOKS
        if not forecast.is_news_after(self._last_news):
            return None
        self._last_news = forecast
        return forecast


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to take.

    Attributes
    ----------
    epoch, run : float
        Seconds of an epoch, its validation included, and of the whole run.
    num_epochs : float
        That will have been done at its end.
    is_cut : bool
        Whether the time limit ends the run, and not the number of epochs.
    memory : int or None
        The most memory in bytes, without mapped files.
    """

    epoch: float
    run: float
    num_epochs: float
    is_cut: bool
    memory: int | None

    def __str__(self) -> str:
        end = f"the time limit ends it after {self.num_epochs:.1f} epochs" if self.is_cut else "within the time limit"
        memory = "" if self.memory is None else f"; peak memory {self.memory / 1e6:,.0f} MB"
        return f"an epoch takes about {format_duration(self.epoch)}, the run {format_duration(self.run)}: {end}{memory}"

    def is_news_after(self, other: "Forecast | None") -> bool:
        """Whether it differs enough from another one to be said."""
        if other is None:
            return True
        pairs = [(self.epoch, other.epoch), (self.run, other.run), (self.memory or 1, other.memory or 1)]
        return any(abs(now / before - 1) > NEWS for now, before in pairs)


def peak_memory() -> int | None:
    """Return the most memory that this process has had, in bytes, files that it maps left out; None if unknown."""
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith(" kB")}
        return 1024 * (int(kilobytes["VmHWM"]) - int(kilobytes["RssFile"]))
    except (OSError, KeyError, ValueError):  # not Linux
        return None
