"""What this machine reaches in matrix products, the physical limit of training."""

import time

import numpy as np


def product_rate(size: int = 1024) -> float:
    """GFLOP/s of a float32 product of square matrices by NumPy, on as many threads as BLAS has; the best of ten."""
    matrix = np.ones((size, size), np.float32)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9
