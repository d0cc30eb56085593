"""Workers that run a function many times, as threads or as processes, and say how far they are meanwhile."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from fastlm.errors import FastLMError

__all__ = ["run_jobs"]

INTERVAL = 0.1  # seconds between two looks at how far the workers are


class _Stopped(Exception):  # noqa: N818 - nobody sees it
    """Raised in a worker that is no longer needed."""


class _Count:
    """A number for several threads; `multiprocessing.Value` is one for several processes."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        return self._lock


class _Pulse:
    """What a worker tells of its progress, and is told to stop by."""

    def __init__(self, count: Any, stop: Any) -> None:
        self.count = count
        self.stop = stop

    def __call__(self, done: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        with self.count.get_lock():
            self.count.value += done


_pulse: _Pulse | None = None  # in a worker process, its own


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    finished: Callable[[int, Any], object],
    progress: Callable[[int], object],
    *,
    workers: int,
    processes: bool,
) -> None:
    """Call ``function(*job, pulse)`` for every job.

    Parameters
    ----------
    function : callable
        Calls `pulse` now and then with what it has done since the last call.
    jobs : sequence of tuple
    finished : callable
        Called here with the number of each job and its result, as they finish.
    progress : callable
        Told here what all workers together have done since the last call.
    workers : int
        1 runs everything where it is called.
    processes : bool
        Whether they are processes of their own, for what holds the interpreter's lock; or threads.

    Raises
    ------
    FastLMError
        If a process was killed. All that `function` raises is raised here, after all workers have stopped.
    """
    if workers == 1 or len(jobs) < 2:
        for number, job in enumerate(jobs):
            finished(number, function(*job, progress))
        return
    executor, pulse = _processes(min(workers, len(jobs))) if processes else _threads(min(workers, len(jobs)))
    call = partial(_call, function) if processes else lambda *job: function(*job, pulse)
    try:
        futures = {executor.submit(call, *job): number for number, job in enumerate(jobs)}
        _watch(futures, pulse, finished, progress)
    except BrokenExecutor as error:
        raise FastLMError(
            "a worker process was killed, perhaps for want of memory; try again with fewer workers"
        ) from error
    finally:
        pulse.stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _watch(
    futures: dict[Future[Any], int],
    pulse: _Pulse,
    finished: Callable[[int, Any], object],
    progress: Callable[[int], object],
) -> None:
    shown = 0
    while futures:
        ended, _ = wait(futures, timeout=INTERVAL, return_when=FIRST_COMPLETED)
        done = pulse.count.value
        progress(done - shown)
        shown = done
        for future in ended:
            finished(futures.pop(future), future.result())


def _threads(workers: int) -> tuple[Executor, _Pulse]:
    return ThreadPoolExecutor(workers, thread_name_prefix="fastlm"), _Pulse(_Count(), threading.Event())


def _processes(workers: int) -> tuple[Executor, _Pulse]:
    """Start processes afresh: a copy of this one could hold locks of its other threads."""
    import multiprocessing  # takes longer than all else that is imported here
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    pulse = _Pulse(context.Value("q"), context.Event())
    return ProcessPoolExecutor(workers, context, _begin_process, (pulse,)), pulse


def _begin_process(pulse: _Pulse) -> None:
    global _pulse  # noqa: PLW0603 - the only way from here to the calls
    import multiprocessing

    _pulse = pulse
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent says when to stop
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent was killed: nobody else would."""
    from multiprocessing.connection import wait as wait_for

    wait_for([parent])
    os._exit(1)


def _call(function: Callable[..., Any], *job: Any) -> Any:
    return function(*job, _pulse)
