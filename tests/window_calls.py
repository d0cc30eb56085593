"""Right arguments for the kernels of windows and of the averages of words before them."""

from typing import Any

import numpy as np

from fastlm import kernels

SIZE, WORDS = 3, 5


def window_calls(dtype: type, B: int, T: int, D: int, H: int) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return arguments in order, and how each kernel uses them, by the kernel's name."""
    rng, W = np.random.default_rng(9), kernels.PANEL_BYTES // np.dtype(dtype).itemsize
    PD, PH, PW = -(-D // W), -(-H // W), -(-SIZE * D // W)

    def real(*shape: int) -> np.ndarray:
        return rng.uniform(0.1, 1.0, shape).astype(dtype)

    S, ends = T + SIZE - 1, np.array([3, WORDS], np.int32)
    longer = T + WORDS - 1
    return {
        "window_forward": (
            {"output": real(B, T, H), "inputs": real(B, S, D), "weight": real(PH, SIZE * D, W), "bias": real(H)}
            | {"size": SIZE},
            {"overwritten": "output", "longer": [("inputs", 1)]},
        ),
        "window_backward": (
            {"dinputs": real(B, S, D), "doutput": real(B, T, H), "weight": real(SIZE * PD, H, W), "size": SIZE},
            {"overwritten": "dinputs", "longer": [("dinputs", 1), ("dinputs", 2)]},
        ),
        "pack_words": (
            {"panels": real(SIZE * PD, H, W), "weight": real(H, SIZE * D), "size": SIZE},
            {"overwritten": "panels"},
        ),
        "pack_windows": (
            {"panels": real(PW, B * T, W), "inputs": real(B, S, D), "size": SIZE},
            {"overwritten": "panels", "longer": [("inputs", 0), ("inputs", 1), ("inputs", 2)]},
        ),
        "average_forward": (
            {"output": real(B, T, 2 * D), "inputs": real(B, longer, D), "weight": real(WORDS, D), "ends": ends},
            {"overwritten": "output", "longer": [("inputs", 1)]},
        ),
        "average_backward": (
            {"dinputs": real(B, longer, D), "doutput": real(B, T, 2 * D), "weight": real(WORDS, D), "ends": ends},
            {"added": "dinputs", "longer": [("dinputs", 1)]},
        ),
        "average_backward_weight": (
            {"dweight": real(WORDS, D), "doutput": real(B, T, 2 * D), "inputs": real(B, longer, D), "ends": ends}
            | {"start": 0, "stop": WORDS, "accumulate": True},
            {"added": "dweight", "longer": [("inputs", 1)]},
        ),
    }
