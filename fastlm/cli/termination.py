"""SIGTERM as an exception, so that what is open is closed and removed in good order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Terminated", "termination"]


class Terminated(BaseException):
    """The process is to end; like KeyboardInterrupt no failure that anybody should handle on the way."""


@contextmanager
def termination() -> Iterator[None]:
    """Let SIGTERM raise Terminated in the block, where it would have ended the process.

    Examples
    --------
    >>> with termination():
    ...     try:
    ...         signal.raise_signal(signal.SIGTERM)
    ...     except Terminated:
    ...         print("closed in good order")
    closed in good order
    """
    in_main_thread = threading.current_thread() is threading.main_thread()  # no other can set handlers
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated("terminated")
