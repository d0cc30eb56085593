"""Work on a stream by several threads: results in the order of the items, whatever their number."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fastlm.nn.parallel import Workers

__all__ = ["map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")
WAITING = 2  # items for each thread that may be read before their turn


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = 1
) -> Iterator[Result]:
    """Yield the results of a function, in the order of the items.

    Parameters
    ----------
    function
        Gives the same result whichever thread calls it; it is worth a thread where it releases the interpreter's lock.
    items
        Read by the caller's thread, a few ahead of what is asked for. If that fails, the results of those before come
        first, and then the error.
    threads
        How many; None takes the cores that the process may use. One calls the function where the result is asked for.

    Examples
    --------
    >>> list(map_in_order(len, ["a", "bb", "ccc"], threads=2))
    [1, 2, 3]
    """
    threads = Workers(threads).threads
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    failures: list[Exception] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="fastlm") as pool:
        try:
            for item in _until_failure(items, failures):
                waiting.append(pool.submit(function, item))
                if len(waiting) > WAITING * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an error, or nobody asks any more
            for future in waiting:
                future.cancel()
    if failures:
        raise failures[0]


def _until_failure(items: Iterable[Item], failures: list[Exception]) -> Iterator[Item]:
    try:
        yield from items
    except Exception as failure:
        failures.append(failure)
