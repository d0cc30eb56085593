from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

def softmax_log_probs(
    log_probs: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    scratch: NDArray[_Real],
) -> None: ...
def softmax_log_probs_batch(
    log_probs: NDArray[_Real],
    hidden: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real],
    logits: NDArray[_Real],
    scratch: NDArray[_Real],
) -> None: ...
def entropies_and_ranks(
    entropies: NDArray[np.float64],
    ranks: NDArray[np.int32],
    log_probs: NDArray[_Real],
    targets: NDArray[np.int32],
    scratch: NDArray[_Real],
) -> None: ...
