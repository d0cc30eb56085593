import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.kernels.matrix import uses_bfloat16
from fastlm.nn.parallel import Workers, available_cores, even_blocks, possible_precisions, products_of

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


def shared_blocks(threads: int, size: int, at_least: int) -> list[tuple[int, int]]:
    """Return the blocks that `share` runs."""
    done = []
    with Workers(threads) as workers:
        workers.share(lambda start, stop, worker: done.append((start, stop)), size, at_least)
    return sorted(done)


@settings(max_examples=50)
@given(size=st.integers(0, 300), at_least=st.integers(1, 50))
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_what_is_shared_is_done_once_in_equal_blocks(threads: int, size: int, at_least: int) -> None:
    blocks = shared_blocks(threads, size, at_least)
    assert [i for start, stop in blocks for i in range(start, stop)] == list(range(size))
    lengths = [stop - start for start, stop in blocks]
    assert max(lengths) - min(lengths) <= 1
    assert len(blocks) == 1 or min(lengths) >= at_least


@pytest.mark.parametrize(
    ("threads", "size", "at_least", "count"),
    [(1, 100, 1, 1), (2, 100, 8, 2), (3, 100, 8, 3), (7, 20, 8, 2), (7, 16, 8, 2), (7, 15, 8, 1), (2, 0, 8, 1)],
)
def test_as_many_blocks_as_are_worth_a_thread(threads: int, size: int, at_least: int, count: int) -> None:
    assert len(shared_blocks(threads, size, at_least)) == count


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


# Precision


@pytest.mark.skipif("bfloat16" not in possible_precisions(), reason="this CPU has no AMX-BF16")
def test_a_job_has_the_precision_of_the_thread_that_begins_it() -> None:
    seen: dict[str, set[bool]] = {"inside": set(), "deferred": set(), "outside": set()}

    def task(name: str) -> Any:
        def see(start: int, stop: int, worker: int) -> None:
            seen[name].add(uses_bfloat16())
            time.sleep(0.001)

        return see

    with Workers(3) as one, Workers(2) as other:
        with products_of("bfloat16"):
            one.run(task("inside"), even_blocks(20, 1))
            other.run(task("inside"), even_blocks(20, 1))
            one.defer(task("deferred"), 20, 1)
            with products_of("float32"):
                one.run(task("outside"), even_blocks(20, 1))
            assert uses_bfloat16()
        one.finish()
        one.run(task("outside"), even_blocks(20, 1))
    assert seen == {"inside": {True}, "deferred": {True}, "outside": {False}}


@pytest.mark.skipif("bfloat16" not in possible_precisions(), reason="this CPU has no AMX-BF16")
def test_an_error_ends_the_precision() -> None:
    with pytest.raises(RuntimeError, match="no"), products_of("bfloat16"):
        raise RuntimeError("no")
    assert not uses_bfloat16()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'bf16', expected one of float32, bfloat16"), products_of("bf16"):
        pass
