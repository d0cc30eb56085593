import numpy as np
from numpy.typing import NDArray

def alias_table(
    thresholds: NDArray[np.float64],
    aliases: NDArray[np.int32],
    weights: NDArray[np.float64],
    stack: NDArray[np.int32],
) -> None: ...
def draw_rows(
    ids: NDArray[np.int32],
    places: NDArray[np.int32],
    targets: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    aliases: NDArray[np.int32],
    slots: NDArray[np.int32],
    key: int,
    num_samples: int,
) -> tuple[int, int]: ...
