"""BLAS on one thread, as nn runs it: two threads may split a sum in two ways."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

import fastlm.kernels  # noqa: F401  # loads SciPy's BLAS, so that there is something to limit


@pytest.fixture(scope="package", autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(1, user_api="blas"):
        yield
