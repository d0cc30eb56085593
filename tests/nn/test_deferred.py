"""Work that is put off until a thread has nothing else to do, or until it is asked for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.nn.parallel import Workers, even_blocks, tapering_blocks

Busy = Callable[[Workers], AbstractContextManager[None]]
Task = Callable[[int, int, int], object]


@pytest.fixture(params=[1, 2, 7])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(request.param) as active:
        yield active


@given(size=st.integers(0, 3000), at_least=st.integers(1, 400), threads=st.integers(1, 9))
def test_blocks_taper_to_the_least(size: int, at_least: int, threads: int) -> None:
    blocks = tapering_blocks(size, at_least, threads)
    assert [i for start, stop in blocks for i in range(start, stop)] == list(range(size))
    lengths = [stop - start for start, stop in blocks]
    assert all(length >= at_least for length in lengths) or lengths == [size]
    assert all(one >= other for one, other in pairwise(lengths[:-1]))
    assert lengths[-1:] <= [2 * at_least]
    for (start, stop), _ in pairwise(blocks):
        assert stop - start <= max(at_least, (size - start) / (2 * threads))


@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_what_is_put_off_is_done_once_it_is_finished(workers: Workers, size: int) -> None:
    done = [[0] * size for _ in range(3)]

    def task(job: int) -> Task:
        def add(start: int, stop: int, worker: int) -> None:
            assert 0 <= worker < workers.threads
            for i in range(start, stop):
                done[job][i] += 1

        return add

    for job in range(3):
        workers.defer(task(job), size, 1)
    between = []
    workers.run(lambda start, stop, worker: between.append(start), [(i, i + 1) for i in range(20)])
    assert sorted(between) == list(range(20))
    for _ in range(2):  # the second time there is nothing left
        workers.finish()
        assert done == [[1] * size] * 3


def test_one_thread_puts_nothing_off() -> None:
    done = []
    with Workers(1) as workers:
        workers.defer(lambda start, stop, worker: done.append((start, stop)), 9, 1)
        assert done == [(0, 9)]


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_with_nothing_to_do_begin_with_what_is_put_off(threads: int) -> None:
    begun = threading.Event()
    with Workers(threads) as workers:
        workers.defer(lambda start, stop, worker: begun.set(), threads, 1)
        assert begun.wait(30)
        workers.finish()


@pytest.mark.parametrize("threads", [2, 7])
def test_work_does_not_wait_for_threads_that_are_busy(threads: int, busy: Busy) -> None:
    caller, seen = threading.get_ident(), []

    def task(start: int, stop: int, worker: int) -> None:
        seen.append((threading.get_ident(), worker))

    with Workers(threads) as workers, busy(workers):
        workers.defer(task, 10, 1)
        assert seen == []
        workers.run(task, [(0, 1), (1, 2)])
        assert seen == [(caller, 0)] * 2
        workers.finish()
        assert seen == [(caller, 0)] * (2 + len(tapering_blocks(10, 1, threads)))


@pytest.mark.parametrize("put_off", [False, True])
def test_no_two_blocks_of_a_task_have_one_worker_at_a_time(put_off: bool) -> None:
    """A worker's number is where it finds scratch memory of its own, also among tasks that overlap."""
    active: set[tuple[int, int]] = set()
    clashes = []

    def task(job: int) -> Task:
        def use(start: int, stop: int, worker: int) -> None:
            if (job, worker) in active:
                clashes.append((job, worker))
            active.add((job, worker))
            time.sleep(0.0005)
            active.remove((job, worker))

        return use

    with Workers(7) as workers:
        for job in range(6):
            if put_off:
                workers.defer(task(job), 40, 1)
            else:
                workers.run(task(job), even_blocks(40, 1))
        workers.finish()
    assert not clashes


@pytest.mark.parametrize("threads", [2, 7])
def test_an_error_in_what_is_put_off_comes_out_at_the_end(threads: int) -> None:
    done = []

    def fail(start: int, stop: int, worker: int) -> None:
        raise LookupError("put off")

    with Workers(threads) as workers:
        workers.defer(fail, 40, 1)
        workers.defer(lambda start, stop, worker: done.append((start, stop)), 40, 1)
        with pytest.raises(LookupError, match="put off"):
            workers.finish()
        workers.finish()
    assert sorted(done) == tapering_blocks(40, 1, threads)


@pytest.mark.parametrize("threads", [2, 7])
def test_who_leaves_waits_for_what_was_put_off(threads: int) -> None:
    done = []

    def task(start: int, stop: int, worker: int) -> None:
        time.sleep(0.01)
        done.append(start)

    with Workers(threads) as workers:
        workers.defer(task, 20, 1)
    before = len(done)
    time.sleep(0.03)
    assert len(done) == before  # nothing writes into memory that others may have by now
    assert len(done) == len(tapering_blocks(20, 1, threads))


def test_while_work_is_left_nobody_is_asked_to_share(busy: Busy) -> None:
    """The other threads have enough to do, and to wake them for less would take longer."""
    blocks = []

    def task(start: int, stop: int, worker: int) -> None:
        blocks.append((start, stop))

    with Workers(3) as workers, busy(workers):
        workers.share(task, 30, 1)
        assert sorted(blocks) == [(0, 10), (10, 20), (20, 30)]
        workers.defer(lambda start, stop, worker: None, 30, 1)
        blocks.clear()
        workers.share(task, 30, 1)
        assert blocks == [(0, 30)]
        workers.finish()
        blocks.clear()
        workers.share(task, 30, 1)
        assert len(blocks) == 3
