"""Threads that share the work of a layer, so that the result does not depend on their number.

Work is cut into blocks that write outputs of their own, and the threads take blocks as they come. Where a block's
bounds show in the result, as in sums over blocks, they depend on shapes alone (`even_blocks`); rows that do not depend
on each other are shared by the number of threads (`Workers.share`). The kernels release the interpreter lock, so
plain Python threads are enough.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Self

from fastlm.kernels.matrix import tiles_are_possible, use_bfloat16, uses_bfloat16

__all__ = [
    "PRECISIONS",
    "Block",
    "Workers",
    "available_cores",
    "even_blocks",
    "possible_precisions",
    "products_of",
    "tapering_blocks",
]

PRECISIONS = ("float32", "bfloat16")
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


def tapering_blocks(size: int, at_least: int, threads: int) -> list[Block]:
    """Cut `range(size)` into blocks for threads that come and go: each half of a thread's share of what is left.

    Guided self-scheduling (Polychronopoulos & Kuck 1987): large blocks first, and small ones to end together.

    Examples
    --------
    >>> tapering_blocks(12, 2, threads=2)
    [(0, 3), (3, 5), (5, 7), (7, 9), (9, 12)]
    """
    blocks, start = [], 0
    while start < size:
        stop = start + max(at_least, (size - start) // (2 * threads))
        stop = size if size - stop < at_least else stop
        blocks.append((start, stop))
        start = stop
    return blocks


@contextmanager
def products_of(precision: str) -> Iterator[None]:
    """Round the operands of float32 products to a precision as long as this is open, and in what is begun meanwhile.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        One of `possible_precisions`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    before = uses_bfloat16()
    try:
        use_bfloat16(precision == "bfloat16")
        yield
    finally:
        use_bfloat16(before)


def possible_precisions() -> tuple[str, ...]:
    """Return the precisions that `products_of` takes on this machine."""
    return PRECISIONS if tiles_are_possible() else PRECISIONS[:1]


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
        self._deferred: deque[_Job] = deque()

    def __enter__(self) -> Self:
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
            self._deferred.clear()

    def share(self, task: Task, size: int, at_least: int) -> None:
        """Run `task` over `range(size)` in one block for each thread, with `at_least` in a block.

        For work of which every item gives the same result in whatever block it falls.
        """
        busy = any(job.queue for job in self._deferred)  # then the other threads have enough to do
        count = 1 if busy else max(1, min(self.threads, size // at_least))
        self.run(task, [(size * i // count, size * (i + 1) // count) for i in range(count)])

    def defer(self, task: Task, size: int, at_least: int) -> None:
        """Begin `task` over `range(size)`, as `share` would run it.

        Threads that have nothing to do take blocks of it until `finish` is called. What it reads and writes must be
        left alone until then.
        """
        if self._pool is None:
            self.run(task, [(0, size)])
        else:
            blocks = tapering_blocks(size, at_least, self.threads)
            self._deferred.append(_Job(self._pool, task, blocks, self.threads - 1))

    def finish(self) -> None:
        """Return when all that was deferred is done; what is left of it is done here, too."""
        while self._deferred:
            self._deferred.popleft().finish()

    def run(self, task: Task, blocks: Sequence[Block]) -> None:
        """Call `task(start, stop, worker)` once for each block; `worker` counts from 0 below `threads`.

        Returns when all are done, also when one of them raises; then that error is raised here.
        """
        if self._pool is None or len(blocks) < 2:
            for start, stop in blocks:
                task(start, stop, 0)
        else:
            _Job(self._pool, task, blocks, min(self.threads, len(blocks)) - 1).finish()


class _Job:
    """Blocks of one task, offered to the threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor, task: Task, blocks: Sequence[Block], helpers: int) -> None:
        self.task = task
        self.queue = deque(blocks)
        self.precision = "bfloat16" if uses_bfloat16() else "float32"
        self.futures = [pool.submit(self._work, worker) for worker in range(1, helpers + 1)]

    def finish(self) -> None:
        """Do what nobody has taken yet, and wait for what the others have taken."""
        try:
            self._work(0)
        finally:
            taken = [future for future in self.futures if not future.cancel()]
            _wait_for_all(taken)  # the blocks write into the caller's arrays: none may be running when it goes on
        for future in taken:
            future.result()

    def _work(self, worker: int) -> None:
        """Take blocks, with products as the thread had them that began the job."""
        with products_of(self.precision):
            _take_blocks(self.task, self.queue, worker)


def _take_blocks(task: Task, queue: deque[Block], worker: int) -> None:
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
