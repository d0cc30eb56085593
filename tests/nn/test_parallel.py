import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import fastlm.kernels  # noqa: F401  # loads SciPy's BLAS, so that there is something to cap
from fastlm.nn.parallel import Workers, available_cores, even_blocks

THREADS = [1, 2, 7]


# Blocks


@given(size=st.integers(0, 3000), at_most=st.integers(1, 400))
def test_blocks_cover_everything_once_in_order(size: int, at_most: int) -> None:
    blocks = even_blocks(size, at_most)
    assert [i for start, stop in blocks for i in range(start, stop)] == list(range(size))


@given(size=st.integers(0, 3000), at_most=st.integers(1, 400))
def test_blocks_are_small_enough_and_about_equal(size: int, at_most: int) -> None:
    lengths = [stop - start for start, stop in even_blocks(size, at_most)]
    if at_most > 1 or size < 2:  # an even number of blocks of one element may need an empty one
        assert all(1 <= length <= at_most for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert len(lengths) < 2 or len(lengths) % 2 == 0


def test_what_fits_is_one_block() -> None:
    assert even_blocks(10, 10) == [(0, 10)]
    assert even_blocks(0, 10) == []


# Cores


def cores_with_quota(path: Path, quota: str) -> int:
    group = path / "cpu.max"
    group.write_text(quota)
    return available_cores(group)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 8),
        ("max 100000\n", 8),
    ],
)
def test_a_quota_limits_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    assert cores_with_quota(tmp_path, quota) == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize("garbage", ["", "garbage", "1 2 3"])
def test_a_quota_that_cannot_be_read_limits_nothing(tmp_path: Path, garbage: str) -> None:
    assert cores_with_quota(tmp_path, garbage) == 8
    assert available_cores(tmp_path / "missing") == 8


def test_none_takes_all_cores() -> None:
    assert Workers().threads == available_cores() >= 1


# Running


@pytest.fixture(params=THREADS)
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(request.param) as active:
        yield active


@pytest.mark.parametrize("num_blocks", [0, 1, 2, 3, 100])
def test_every_block_is_done_once(workers: Workers, num_blocks: int) -> None:
    done = [0] * num_blocks
    numbers: set[int] = set()

    def task(start: int, stop: int, worker: int) -> None:
        numbers.add(worker)
        for i in range(start, stop):
            done[i] += 1

    workers.run(task, [(i, i + 1) for i in range(num_blocks)])
    assert done == [1] * num_blocks
    assert numbers <= set(range(workers.threads))


def test_blocks_are_begun_in_their_order(workers: Workers) -> None:
    begun: list[int] = []
    blocks = [(i, i + 1) for i in range(40)]
    last = [-1] * workers.threads

    def task(start: int, stop: int, worker: int) -> None:
        assert last[worker] < start
        last[worker] = start
        begun.append(start)

    workers.run(task, blocks)
    assert sorted(begun) == list(range(40))
    if workers.threads == 1:
        assert begun == list(range(40))


@pytest.mark.parametrize("threads", [2, 7])
def test_blocks_run_side_by_side(threads: int) -> None:
    together = threading.Barrier(threads, timeout=30)
    workers_seen = []

    def task(start: int, stop: int, worker: int) -> None:
        together.wait()  # passes only when all threads are in a block at once
        workers_seen.append(worker)

    with Workers(threads) as workers:
        workers.run(task, [(i, i + 1) for i in range(threads)])
    assert sorted(workers_seen) == list(range(threads))


def test_one_thread_runs_where_it_is_called() -> None:
    seen = []
    with Workers(1) as workers:
        workers.run(lambda start, stop, worker: seen.append(threading.get_ident()), [(0, 1), (1, 2)])
    assert seen == [threading.get_ident()] * 2


@pytest.mark.parametrize("failing", ["caller", "helper"])
def test_after_an_error_nothing_more_is_begun(failing: str) -> None:
    main, together, begun = threading.get_ident(), threading.Barrier(2, timeout=30), []

    def task(start: int, stop: int, worker: int) -> None:
        begun.append(start)
        if start < 2:
            together.wait()  # each of the two threads has one of the first blocks
            if (threading.get_ident() == main) == (failing == "caller"):
                raise LookupError
        time.sleep(0.005)

    with Workers(2) as workers, pytest.raises(LookupError):
        workers.run(task, [(i, i + 1) for i in range(200)])
    assert len(begun) < 100


@pytest.mark.parametrize("failing", [0, 5, 39])
def test_an_error_comes_out_and_nothing_runs_on(workers: Workers, failing: int) -> None:
    begun, ended = [], []

    def task(start: int, stop: int, worker: int) -> None:
        begun.append(start)
        if start == failing:
            raise LookupError(f"block {start}")
        time.sleep(0.001)
        ended.append(start)

    with pytest.raises(LookupError, match=f"block {failing}"):
        workers.run(task, [(i, i + 1) for i in range(40)])
    before = len(begun)
    assert len(ended) == before - 1  # every block that was begun has come to its end
    time.sleep(0.02)
    assert len(begun) == before


def test_workers_can_be_used_after_an_error(workers: Workers) -> None:
    def fail(start: int, stop: int, worker: int) -> None:
        raise LookupError

    blocks = [(i, i + 1) for i in range(20)]
    with pytest.raises(LookupError):
        workers.run(fail, blocks)
    done = []
    workers.run(lambda start, stop, worker: done.append(start), blocks)
    assert sorted(done) == list(range(20))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt also in a process that was started in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself a signal")
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("where", ["in a block", "while waiting for the others"])
def test_ctrl_c_leaves_no_block_running(where: str) -> None:
    main, ended, running = threading.get_ident(), [], threading.Event()

    def task(start: int, stop: int, worker: int) -> None:
        if threading.get_ident() != main:
            running.set()
            if where == "while waiting for the others":
                time.sleep(0.05)  # by then the main thread has nothing left to do but to wait
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            ended.append(start)
        else:
            assert running.wait(30)
            if where == "in a block":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)

    with Workers(2) as workers:
        with pytest.raises(KeyboardInterrupt):
            workers.run(task, [(0, 1), (1, 2)])
        assert len(ended) == 1  # the other thread's block was waited for


def test_no_thread_is_left(workers: Workers) -> None:
    before = threading.active_count()
    with Workers(7) as others:
        others.run(lambda start, stop, worker: time.sleep(0.001), [(i, i + 1) for i in range(20)])
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**20, 2.0, "2", True])
def test_threads_must_be_a_number_that_a_machine_can_have(threads: Any) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads!r}, expected 1 to 1,024"):
        Workers(threads)


# The cap on BLAS


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def three_blas_threads() -> Iterator[None]:
    with threadpool_limits(3, user_api="blas"):
        if blas_threads() != {3}:
            pytest.skip("this BLAS does not take three threads")
        yield


@pytest.mark.usefixtures("three_blas_threads")
def test_blas_is_capped_and_restored() -> None:
    with Workers(2):
        assert blas_threads() == {1}
    assert blas_threads() == {3}


@pytest.mark.usefixtures("three_blas_threads")
def test_nested_caps_end_with_the_outermost() -> None:
    with Workers(1):
        with Workers(2):
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {3}


@pytest.mark.usefixtures("three_blas_threads")
def test_caps_that_overlap_end_with_the_last() -> None:
    first, second = Workers(1), Workers(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {3}


@pytest.mark.usefixtures("three_blas_threads")
def test_an_error_restores_blas() -> None:
    with pytest.raises(LookupError), Workers(2):
        raise LookupError
    assert blas_threads() == {3}


@pytest.mark.usefixtures("three_blas_threads")
def test_caps_of_two_threads_end_with_the_last() -> None:
    inside, leave, after = threading.Event(), threading.Event(), threading.Event()
    in_thread = []

    def use() -> None:
        with Workers(1):
            in_thread.append(blas_threads())
            inside.set()
            assert leave.wait(30)
        in_thread.append(blas_threads())
        after.wait(30)  # a thread that lives on must not keep others from setting limits

    thread = threading.Thread(target=use)
    with Workers(1):
        thread.start()
        assert inside.wait(30)
    assert blas_threads() == {1}
    leave.set()
    try:
        while len(in_thread) < 2:
            time.sleep(0.001)
        assert in_thread == [{1}, {3}]
        with threadpool_limits(2, user_api="blas"):
            assert blas_threads() == {2}
    finally:
        after.set()
        thread.join()


@pytest.mark.usefixtures("three_blas_threads")
def test_many_threads_may_cap_at_once() -> None:
    wrong = []

    def use() -> None:
        for _ in range(20):
            with Workers(1):
                if blas_threads() != {1}:
                    wrong.append(blas_threads())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert blas_threads() == {3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_forked_while_another_thread_caps_can_cap() -> None:
    inside, stop = threading.Event(), threading.Event()

    def use() -> None:
        while not stop.is_set():
            with Workers(1):
                inside.set()

    def cap_in_child() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(3)  # the child ends by a signal if it hangs
            try:
                with Workers(2) as workers:
                    workers.run(lambda start, stop, worker: None, [(0, 1), (1, 2)])
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    thread = threading.Thread(target=use)
    thread.start()
    try:
        assert inside.wait(30)
        assert [cap_in_child() for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        thread.join()
