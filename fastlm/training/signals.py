"""SIGINT (Ctrl-C) and SIGTERM while a run goes on: heard where nothing is half done, and obeyed after saving."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

__all__ = ["Signals", "Stopped"]


class Stopped(KeyboardInterrupt):
    """The run is to stop, and stands between two steps."""


class Signals:
    """Hears the first SIGINT or SIGTERM and says so when asked; a second one ends the program at once.

    A context manager. At its end the handlers are as before, and a signal that was heard is handed to the one that is
    its own: SIGTERM ends the program, if it would have done so without this. Only SIGINT with Python's usual handler
    is used up. Threads other than the main one cannot hear, and signals that are ignored stay so.

    Attributes
    ----------
    received : int or None
        The first signal that came.

    Examples
    --------
    >>> with Signals() as signals:
    ...     try:
    ...         signal.raise_signal(signal.SIGINT)
    ...         signals.check()
    ...     except Stopped:
    ...         print("stopped by", signal.Signals(signals.received).name)
    stopped by SIGINT
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                    self._previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._restore()
        if kind is not None or self.received is None:
            return
        if self._previous[self.received] is not signal.default_int_handler:
            signal.raise_signal(self.received)

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.received is not None:
            raise Stopped

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Stopped in the middle of the block, which changes nothing that is kept, when a signal comes."""
        try:
            self._raises = True
            self.check()
            yield
        finally:
            self._raises = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self.received = number
        if self._raises:
            raise Stopped

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
