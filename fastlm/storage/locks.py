"""Files and folders that one process at a time may use."""

import os
from pathlib import Path

from fastlm.errors import FileError
from fastlm.storage.files import system_failures

__all__ = ["Lock"]


class Lock:
    """What makes sure that nobody else uses a file or folder, until it is released; the system does so after a kill.

    Where the system or the file system has no such locks, everybody may.

    Parameters
    ----------
    path : Path
        A folder, or a file that is made if it is not there.
    problem : str
        What to say if it is in use.

    Raises
    ------
    FileError
        With the problem, or if the file cannot be opened.

    Examples
    --------
    >>> lock = Lock(Path("in use"), "another process is at work; wait for its end")
    >>> lock.release()
    """

    def __init__(self, path: Path, problem: str) -> None:
        self._descriptor: int | None = None
        if os.name != "posix":
            return
        import fcntl

        with system_failures("write", path):
            self._descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FileError(problem) from None
        except OSError:  # a file system without locks
            pass

    def release(self) -> None:
        """Let others use it; more than once does no harm."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
