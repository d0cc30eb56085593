"""Streams of work: the order of the items, whatever the threads do."""

import threading
import time
from itertools import count

import pytest

from fastlm.inference.threads import map_in_order


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_items(threads):
    def late(number):
        time.sleep(0.001 * (number % 3))
        return number * number

    assert list(map_in_order(late, range(50), threads)) == [number * number for number in range(50)]
    assert list(map_in_order(late, [], threads)) == []


def test_threads_work_at_a_time():
    barrier = threading.Barrier(3, timeout=10)
    assert list(map_in_order(lambda item: barrier.wait() >= 0, range(6), 3)) == [True] * 6


@pytest.mark.parametrize("threads", [1, 2])
def test_an_endless_stream_is_read_no_further_than_needed(threads):
    taken = []
    results = map_in_order(lambda item: item, (taken.append(item) or item for item in count()), threads)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    assert len(taken) < 20
    results.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_in_its_turn(threads):
    def one_over(number):
        return 1 / number

    results = map_in_order(one_over, [1, 2, 0, 4], threads)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_what_comes_before_an_item_that_cannot_be_read_is_done_first(threads):
    def items():
        yield from range(3)
        raise OSError("no more")

    results = map_in_order(lambda item: item * item, items(), threads)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(OSError, match="no more"):
        next(results)


def test_threads_must_be_a_number():
    with pytest.raises(ValueError, match="threads is 0"):
        list(map_in_order(len, [], 0))
