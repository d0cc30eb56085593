from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[Any]

def cache_log_probs(
    log_probs: NDArray[np.float64],
    keys: _Floats,
    words: NDArray[np.int32],
    scratch: _Floats,
    size: int,
    flatness: float,
) -> None: ...
def cache_distribution(
    probabilities: NDArray[np.float64],
    keys: _Floats,
    words: NDArray[np.int32],
    query: _Floats,
    scratch: _Floats,
    flatness: float,
) -> None: ...
def learn_rows(
    value: _Floats,
    stored: _Floats,
    gradient: _Floats,
    rows: NDArray[np.int32],
    rates: NDArray[np.float64],
    decay: float,
) -> None: ...
def pull_back(value: _Floats, stored: _Floats, rows: NDArray[np.int32], decay: float) -> None: ...
