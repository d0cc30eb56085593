"""Threads that share the work of a layer, so that the result does not depend on their number.

Work is cut into blocks whose bounds depend on shapes alone; each block writes outputs of its own, and the threads
take blocks as they come. The kernels release the interpreter lock, so plain Python threads are enough. The BLAS
library under the kernels is held to one thread while any `Workers` is in use: its own threads would get in the way.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from threadpoolctl import ThreadpoolController

__all__ = ["Block", "Workers", "available_cores", "even_blocks", "shared_blocks"]

MAX_THREADS = 1024  # each has scratch memory of its own

Block = tuple[int, int]
Task = Callable[[int, int, int], object]


def even_blocks(size: int, at_most: int) -> list[Block]:
    """Cut `range(size)` into equal blocks of at most `at_most`, an even number of them if more than one.

    Examples
    --------
    >>> even_blocks(10, 4)
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    count = math.ceil(size / at_most)
    count += count % 2 if count > 1 else 0
    return [(size * i // count, size * (i + 1) // count) for i in range(count)]


def shared_blocks(size: int, at_least: int, at_most: int) -> list[Block]:
    """Cut `range(size)` as `even_blocks` does, into two blocks rather than one if both then have `at_least`.

    Examples
    --------
    >>> shared_blocks(20, 8, 32)
    [(0, 10), (10, 20)]
    """
    return even_blocks(size, min(at_most, max(at_least, math.ceil(size / 2))))


def available_cores(control_group: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the cores that this process may use: its affinity, and a container's quota (Linux control groups)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = control_group.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such group, or "max": no quota
        return cores


class Workers:
    """A number of threads that run the blocks of a task; use as a context manager.

    Parameters
    ----------
    threads : int, optional
        None takes the cores that the process may use. One thread runs everything where it is called.

    Examples
    --------
    >>> squares = [0] * 6
    >>> def task(start, stop, worker):
    ...     for i in range(start, stop):
    ...         squares[i] = i * i
    >>> with Workers(2) as workers:
    ...     workers.run(task, even_blocks(6, 2))
    >>> squares
    [0, 1, 4, 9, 16, 25]
    """

    def __init__(self, threads: int | None = None) -> None:
        whole = isinstance(threads, Integral) and not isinstance(threads, bool)
        if threads is not None and not (whole and 1 <= threads <= MAX_THREADS):
            raise ValueError(f"threads is {threads!r}, expected 1 to {MAX_THREADS:,}, or None for all cores")
        self.threads = available_cores() if threads is None else int(threads)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        _blas_cap.acquire()
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="fastlm")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._pool is not None:
                self._pool.shutdown()
        finally:
            self._pool = None
            _blas_cap.release()

    def run(self, task: Task, blocks: Sequence[Block]) -> None:
        """Call `task(start, stop, worker)` once for each block; `worker` counts from 0 below `threads`.

        Returns when all are done, also when one of them raises; then that error is raised here.
        """
        if self._pool is None or len(blocks) < 2:
            for start, stop in blocks:
                task(start, stop, 0)
            return
        queue = deque(blocks)
        helpers = min(self.threads, len(blocks)) - 1
        futures: list[Future[None]] = []
        try:
            futures.extend(self._pool.submit(_work, task, queue, worker) for worker in range(1, helpers + 1))
            _work(task, queue, 0)
        finally:
            _wait_for_all(futures)  # the blocks write into the caller's arrays: none may be running when it goes on
        for future in futures:
            future.result()


def _work(task: Task, queue: deque[Block], worker: int) -> None:
    """Take blocks until there is none left; after an error nobody finds one."""
    try:
        while queue:
            try:
                start, stop = queue.popleft()
            except IndexError:  # another thread was quicker
                return
            task(start, stop, worker)
    except BaseException:
        queue.clear()
        raise


def _wait_for_all(futures: Sequence[Future[None]]) -> None:
    """Wait to the end, also when Ctrl-C comes meanwhile; then raise it."""
    try:
        wait(futures)
    except BaseException:
        _wait_for_all(futures)
        raise


class _BlasCap:
    """Holds BLAS at one thread while at least one user wants it, then restores what was there."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._users = 0
        self._limiter: Any = None
        self._controller: ThreadpoolController | None = None

    def acquire(self) -> None:
        with self.lock:
            if self._users == 0:
                if self._controller is None:  # looking the libraries up takes milliseconds: once
                    self._controller = ThreadpoolController()
                self._take_control()
                self._limiter = self._controller.limit(limits=1, user_api="blas")
            self._users += 1

    def release(self) -> None:
        with self.lock:
            self._users -= 1
            if self._users == 0:
                self._take_control()
                self._limiter.restore_original_limits()
                self._limiter = None
                self._take_control()

    def _take_control(self) -> None:
        """Let this thread set limits; threadpoolctl 3.8 ignores in silence all threads but the first that did."""
        for library in self._controller.lib_controllers if self._controller is not None else ():
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


_blas_cap = _BlasCap()
if hasattr(os, "register_at_fork"):
    # A fork while another thread sets limits would leave the child a lock that nobody opens.
    os.register_at_fork(
        before=_blas_cap.lock.acquire, after_in_parent=_blas_cap.lock.release, after_in_child=_blas_cap.lock.release
    )
