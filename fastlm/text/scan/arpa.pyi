from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.text.scan.table import WordTable

def parse_ngrams(
    ids: NDArray[np.int32],
    log10_probs: NDArray[np.float32],
    log10_backoffs: NDArray[np.float32],
    text: bytes,
    begin: int,
    words: WordTable,
) -> tuple[int, int]: ...
def format_ngrams(
    ids: NDArray[np.int32],
    log10_probs: NDArray[np.float32],
    log10_backoffs: NDArray[np.float32] | None,
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> NDArray[np.uint8]: ...
