import numpy as np
from numpy.typing import NDArray

_Int = NDArray[np.int32]
_Float = NDArray[np.float32]
_Double = NDArray[np.float64]

def count_left_words(counts: _Int, suffixes: _Int) -> None: ...
def count_counts(totals: NDArray[np.int64], counts: _Int) -> None: ...
def interpolate(
    log10_probs: _Float,
    log10_backoffs: _Float,
    probs: _Double,
    lower_probs: _Double,
    counts: _Int,
    suffixes: _Int,
    first_children: _Int,
    discounts: _Double,
) -> None: ...
def relative_frequencies(log10_probs: _Float, counts: _Int, first_children: _Int) -> None: ...
