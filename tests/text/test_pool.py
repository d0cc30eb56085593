"""Workers: all jobs are done, whatever they are done by, and what fails stops all."""

import os

import pytest
from pool_functions import die, double, fail_at, process_id

from fastlm.errors import FastLMError
from fastlm.text.pool import run_jobs

KINDS = [(1, False), (3, False), (2, True)]  # workers, processes


@pytest.mark.parametrize(("workers", "processes"), KINDS)
def test_all_jobs_are_done_and_counted(workers: int, processes: bool) -> None:
    results: dict[int, int] = {}
    steps: list[int] = []
    jobs = [(number,) for number in range(20)]
    run_jobs(double, jobs, results.__setitem__, steps.append, workers=workers, processes=processes)
    assert results == {number: 2 * number for number in range(20)}
    assert sum(steps) == sum(range(20))


@pytest.mark.parametrize(("workers", "processes"), KINDS)
def test_an_error_stops_all_workers(workers: int, processes: bool) -> None:
    jobs = [(number, 0) for number in range(20)]
    with pytest.raises(ValueError, match="number 0 is bad"):
        run_jobs(fail_at, jobs, print, lambda done: None, workers=workers, processes=processes)


@pytest.mark.parametrize(("workers", "processes"), KINDS[1:])
def test_an_error_of_the_caller_stops_all_workers(workers: int, processes: bool) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(fail_at, [(number, -1) for number in range(5)], print, interrupt, workers=workers, processes=processes)


def test_a_process_that_is_killed() -> None:
    with pytest.raises(FastLMError, match=r"worker process was killed.*fewer workers"):
        run_jobs(die, [(1,), (2,)], print, lambda done: None, workers=2, processes=True)


def test_who_works() -> None:
    for workers, processes, others in [(1, True, False), (2, False, False), (2, True, True)]:
        ids: dict[int, int] = {}
        run_jobs(process_id, [(1,), (2,)], ids.__setitem__, lambda done: None, workers=workers, processes=processes)
        assert (os.getpid() not in ids.values()) == others
    run_jobs(process_id, [(1,)], ids.__setitem__, lambda done: None, workers=2, processes=True)
    assert ids[0] == os.getpid()  # one job alone is done here
