from typing import Any

import numpy as np
from numpy.typing import NDArray

def sentence_ends(ids: NDArray[Any], end_id: int) -> NDArray[np.int64]: ...
def sentence_begin(ids: NDArray[Any], at: int, end_id: int) -> int: ...
def ngram_windows(
    out: NDArray[np.int32],
    ids: NDArray[Any],
    positions: NDArray[np.int64],
    start_id: int,
    end_id: int,
    sentence: bool,
) -> None: ...
def fill_chunk(
    inputs: NDArray[np.int32],
    targets: NDArray[np.int32],
    resets: NDArray[np.uint8],
    positions: NDArray[np.int64],
    segments: NDArray[np.int64],
    places: NDArray[np.int64],
    ids: NDArray[Any],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    stream_ends: NDArray[np.int64],
    first_id: int,
    end_id: int,
) -> None: ...
