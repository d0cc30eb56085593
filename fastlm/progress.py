"""How far a long run has come: a bar on a terminal, now and then a line elsewhere, and nothing unless asked."""

import logging
import math
import sys
from time import monotonic
from typing import Any, Self

__all__ = ["Progress", "announce", "format_duration"]

logger = logging.getLogger("fastlm")

FIRST_LINE = 10.0  # seconds; later lines come ever more rarely, so that a night's log stays readable
LAST_INTERVAL = 300.0


def announce(message: str) -> None:
    """Log a message that the user asked for; where nobody has set up logging, show it on standard error.

    Bars that are open stay whole below it.

    Parameters
    ----------
    message : str
        One line, without its end.

    Examples
    --------
    >>> announce("epoch 1: validation perplexity 201.5")
    """
    if logger.hasHandlers():
        logger.info("%s", message)
    elif sys.stderr is not None:
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)


def format_duration(seconds: float) -> str:
    """Return a duration as people say it.

    Parameters
    ----------
    seconds : float
        The duration; what is not finite is "unknown time".

    Returns
    -------
    str
        The two largest units.

    Examples
    --------
    >>> [format_duration(seconds) for seconds in (0.42, 59.7, 185, 7620, 273_600)]
    ['0.4 s', '1 min 00 s', '3 min 05 s', '2 h 07 min', '3 d 04 h']
    """
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


class Progress:
    """Show how far something has come; a context manager.

    Enabled, it is a bar if standard error is a terminal, and otherwise a line after ten seconds, then at growing
    intervals of up to five minutes, given to `announce`. Nothing stays of the bar at the end.

    Parameters
    ----------
    total : int, optional
        How much there is to do, in units, if that is known.
    unit : str
        What is counted: "tok", "B".
    enabled : bool
        Whether to show anything at all.
    description : str
        What is being done, in a word or two.
    done : int
        Units that were done before.

    Examples
    --------
    >>> with Progress(1000, unit="tok", enabled=False, description="epoch 1") as progress:
    ...     for _ in range(10):
    ...         progress.update(100, loss=5.3)
    >>> progress.done
    1000
    """

    def __init__(
        self, total: int | None = None, unit: str = "it", *, enabled: bool = False, description: str = "", done: int = 0
    ) -> None:
        self.total = total
        self.unit = unit
        self.description = description
        self.done = self._done_before = done
        self._enabled = enabled
        self._bar = _make_bar(total, unit, description, done) if enabled and _on_terminal() else None
        self._started = monotonic()
        self._next_line = self._started + FIRST_LINE

    def update(self, n: int = 1, **postfix: Any) -> None:
        """Count `n` more units as done; show the named values beside them."""
        self.done += n
        if self._bar is not None:
            if postfix:
                self._bar.set_postfix_str(_values(postfix), refresh=False)
            self._bar.update(n)
        elif self._enabled and (now := monotonic()) >= self._next_line:
            elapsed = now - self._started
            self._next_line = now + min(max(elapsed / 2, FIRST_LINE), LAST_INTERVAL)
            announce(self._line(elapsed, postfix))

    def expect(self, total: int) -> None:
        """Correct how much there is to do."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _line(self, elapsed: float, postfix: dict[str, Any]) -> str:
        speed = (self.done - self._done_before) / elapsed
        parts = [f"{_short(self.done)} {self.unit}", f"{_short(speed)} {self.unit}/s"]
        if self.total:
            parts[0] = f"{self.done / self.total:.0%} of {_short(self.total)} {self.unit}"
            left = (self.total - self.done) / speed if speed else math.inf
            parts.append(f"{format_duration(max(left, 0.0))} left")
        if postfix:
            parts.append(_values(postfix))
        return ": ".join(filter(None, [self.description, ", ".join(parts)]))


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _make_bar(total: int | None, unit: str, description: str, done: int) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        monitor_interval = 0  # no thread that watches over slow bars: a library should not leave one running

    return Bar(
        total=total,
        initial=done,
        unit=unit,
        desc=description or None,
        unit_scale=True,
        dynamic_ncols=True,
        leave=False,
        file=sys.stderr,
    )


def _values(named: dict[str, Any]) -> str:
    """Return named values as text, floats with four digits."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in named.items()
    )


def _short(number: float) -> str:
    """Return a number with three digits and a prefix of the SI."""
    for prefix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g}{prefix}"
        number /= 1000
    return f"{number:.3g}T"
