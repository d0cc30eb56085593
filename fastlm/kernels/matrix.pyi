from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Real = TypeVar("_Real", np.float32, np.float64)

PANEL_BYTES: int
cpu_level: int

def bfloat16_is_possible() -> bool: ...
def use_bfloat16(wanted: bool) -> bool: ...
def pack_matrix(panels: NDArray[_Real], matrix: NDArray[_Real]) -> None: ...
def pack_transposed(panels: NDArray[_Real], matrix: NDArray[_Real]) -> None: ...
