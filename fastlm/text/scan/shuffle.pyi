import numpy as np
from numpy.typing import NDArray

def permuted(begin: int, end: int, size: int, key: int) -> NDArray[np.int64]: ...
