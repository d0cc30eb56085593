from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace


@pytest.fixture
def make_workspace() -> Iterator[Callable[..., Workspace]]:
    """Make workspaces, with workers that run until the end of the test."""
    with ExitStack() as stack:

        def make(dtype: type = np.float64, *, threads: int = 1, training: bool = True) -> Workspace:
            return Workspace(dtype, stack.enter_context(Workers(threads)), training=training, seed=3)

        yield make
