import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

def mix_log_probs(mixed: _Array, log_probs: _Array, weights: _Array) -> None: ...
def expected_shares(shares: _Array, log_probs: _Array, weights: _Array) -> tuple[float, int]: ...
