"""What this machine reaches in matrix products, the physical limit of training."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

TURN_SECONDS = 0.25  # a contender's turn: so many calls as fit, at least two
MATRIX = np.ones((1024, 1024), np.float32)


def product_rate(size: int = 1024) -> float:
    """GFLOP/s of a float32 product of square matrices by NumPy, on as many threads as BLAS has; the best of ten."""
    matrix = np.ones((size, size), np.float32)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def seconds_a_call(call: Callable[[], object]) -> float:
    """Median seconds of the calls in a turn; one call comes before, to have the caches its own."""
    call()
    seconds: list[float] = []
    while len(seconds) < 2 or sum(seconds) < TURN_SECONDS:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def two_products() -> float:
    """How much faster two threads do two products than one thread does."""

    def products() -> None:
        for _ in range(10):
            MATRIX @ MATRIX

    with threadpool_limits(1, "blas"):
        began = time.perf_counter()
        products()
        products()
        alone = time.perf_counter() - began
        began = time.perf_counter()
        other = threading.Thread(target=products)
        other.start()
        products()
        other.join()
    return alone / (time.perf_counter() - began)


def spread(values: Sequence[float]) -> str:
    """Write the median, with the first and third quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def print_row(cells: Sequence[str], *, head: bool = False) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)
    if head:
        print("| --- " * len(cells) + "|")
