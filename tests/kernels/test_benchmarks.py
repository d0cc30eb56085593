"""The kernels one by one at the size of the Penn Treebank; timed with `pytest --benchmark-enable`, else run once.

N = 140 events (7 steps of 20 streams), V = 10,000 words, H = D = 200.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from output_calls import output_calls
from window_calls import window_calls

from fastlm import kernels

T, B, H, V, BLOCK = 7, 20, 200, 10_000, 126
N, W = T * B, kernels.PANEL_BYTES // 4
P, Q, K = -(-N // W), -(-H // W), -(-V // BLOCK)  # panels of tokens, panels of H, blocks of words
Q3, Q4 = -(-3 * H // W), -(-4 * H // W)  # panels of the gates of GRU and LSTM
Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Arrays of all shapes that the kernels take, by the letters of the shape; shared, whatever is written to them."""
    rng = np.random.default_rng(1)
    shapes = {
        "NH": (N, H), "NH2": (N, H), "NH3": (N, H), "TBH": (T, B, H), "TBH2": (T, B, H), "TBH3": (T, B, H),
        "BH": (B, H), "HH": (H, H), "VH": (V, H), "VH2": (V, H), "VH3": (V, H), "V": (V,), "V2": (V,), "H": (H,),
        "H2": (H,), "H3": (H,), "N": (N,), "1H": (1, H), "1V": (1, V), "QHW": (Q, H, W), "QNW": (Q, N, W),
        "PHW": (P, H, W), "PHW2": (P, H, W), "PVW": (P, V, W), "PKW": (P, K, W), "PW": (P, W), "PW2": (P, W),
        "TBH4": (T, B, H), "TB3H": (T, B, 3 * H), "TB3H2": (T, B, 3 * H), "TB3H3": (T, B, 3 * H),
        "TB4H": (T, B, 4 * H), "TB4H2": (T, B, 4 * H), "BH2": (B, H), "TB3H4": (T, B, 3 * H), "3HH": (3 * H, H),
        "4HH": (4 * H, H), "3H": (3 * H,), "4H": (4 * H,), "H4": (H,), "3H2": (3 * H,), "Q3HW": (Q3, H, W),
        "Q3H": (Q, 3 * H, W), "Q4HW": (Q4, H, W), "Q4H": (Q, 4 * H, W),
        "1blockW": (1, BLOCK, W), "lanes": (BLOCK, W // 2), "scales": (2, P * W),
        "scaled": (Q, P * W, W),
        "NV": (N, V), "2V": (2, V),
    }  # fmt: skip
    real = {name: rng.uniform(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    others = {
        "ids": rng.integers(V, size=N).astype(np.int32),
        "rows": rng.permutation(V)[:N].astype(np.int32),
        "all_rows": np.arange(V, dtype=np.int32),
        "slots": np.full(V, -1, np.int32),
        "squares": np.empty(K),
        "found": np.empty(N, np.int32),
        "doubles": np.empty(N),
        "resets": (rng.random((T, B)) < 0.05).astype(np.uint8),
    }
    return real | others


# The arguments of each kernel: names of arrays above, or numbers.
CALLS: dict[str, list[list[Any]]] = {
    "adagrad_update": [["VH", "VH2", "NH", "rows", 1.0, 1e-3, 1e-8], ["VH", "VH2", "VH3", "all_rows", 1.0, 1e-3, 1e-8]],
    "adam_update": [
        ["VH", "VH2", "VH3", "NH", "rows", 1.0, 1e-3, 0.9, 0.999, 1e-8, 1],
    ],
    "averaged_update": [["VH", "VH2", "NH", "rows", 1.0, 1e-3, 1e-6, 9.0]],
    "decay_update": [["VH", "rows", 0.999], ["VH", "all_rows", 0.999]],
    "dropout_forward": [["NH", "NH2", "H"]],
    "dropout_mask": [["H", 1, 0.5]],
    "elman_backward": [["TBH", "BH", "TBH2", "TBH3", "resets", "QHW"]],
    "elman_forward": [["TBH", "TBH2", "TBH3", "BH", "resets", "QHW"]],
    "elman_step": [["H", "H2", "H3", "HH"]],
    "embedding_backward": [["found", "NH", "NH2", "ids", "slots"]],
    "embedding_forward": [["NH", "ids", "VH"]],
    "entropies_and_ranks": [["doubles", "found", "NV", "ids", "2V"]],
    "gelu_backward": [["NH", "NH2", "NH3"]],
    "gelu_forward": [["NH", "NH2"]],
    "layer_norm_backward": [["NH", "H", "H2", "NH2", "NH3", "N", "H3", False]],
    "layer_norm_forward": [["NH", "NH2", "N", "NH3", "H", "H2", 1e-5]],
    "gru_backward": [["TB3H", "TB3H2", "BH", "TBH", "TB3H3", "TB3H4", "TBH2", "resets", "Q3H"]],
    "gru_forward": [["TBH", "TB3H", "TB3H2", "TBH3", "BH", "resets", "Q3HW"]],
    "gru_step": [["H", "3H", "3H2", "H2", "3HH"]],
    "linear_backward": [["NH", "NH2", "QHW"]],
    "linear_backward_weight": [["HH", "H", "NH", "QNW", False], ["HH", "H", "NH", "QNW", True]],
    "linear_forward": [["NH", "NH2", "QHW", "H"]],
    "linear_forward_vector": [["H", "H2", "HH", "H3"], ["V", "H", "VH", "V2"]],
    "lstm_backward": [["TB4H", "BH", "BH2", "TBH", "TB4H2", "TBH2", "TBH3", "resets", "Q4H"]],
    "lstm_forward": [["TBH", "TBH2", "TB4H", "TBH3", "TBH4", "BH", "BH2", "resets", "Q4HW"]],
    "lstm_step": [["H", "H2", "4H", "H3", "H4", "4HH"]],
    "momentum_update": [["VH", "VH2", "NH", "rows", 1.0, 1e-3, 0.9]],
    "pack_matrix": [["QHW", "HH"]],
    "pack_transposed": [["QHW", "HH"], ["PHW", "NH"]],
    "relu_backward": [["NH", "NH2", "NH3"]],
    "relu_forward": [["NH", "NH2"]],
    "sgd_update": [["VH", "NH", "rows", 1.0, 1e-3], ["VH", "VH2", "all_rows", 1.0, 1e-3]],
    "softmax_backward_weight": [
        [
            *("VH", "V", "squares", "PVW", "PKW", "PW", "N", "NH", "ids"),
            *("scaled", "scales", "lanes", 0.0, 0.01, BLOCK, 0, K, False),
        ],
    ],
    "softmax_forward": [["N", "PW", "PHW", "VH", "V", "ids", "1blockW", "PW2"]],
    "softmax_forward_backward": [
        ["N", "PW", "NH", "PVW", "PKW", "PHW", "VH", "V", "ids", "PHW2", 0.0, 0.01, BLOCK],
    ],
    "softmax_log_probs": [["1V", "1H", "VH", "V", "V2"]],
    "softmax_log_probs_batch": [["NV", "PHW", "VH", "V", "1blockW", "V2"]],
    "squared_norm": [["VH"]],
    "tanh_backward": [["NH", "NH2", "NH3"]],
    "tanh_forward": [["NH"]],
    "word_dropout": [["NH", "NH2", "ids", 1, 0.1]],
}


@pytest.mark.parametrize(
    ("name", "names"),
    [(name, names) for name, calls in CALLS.items() for names in calls],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_kernel(name: str, names: list[Any], arrays: dict[str, np.ndarray], benchmark: Benchmark) -> None:
    benchmark(getattr(kernels, name), *(arrays[a] if isinstance(a, str) else a for a in names))


OUTPUT_KERNELS = list(output_calls(np.float32, 2, 50, 2, 2, 2))


@pytest.mark.parametrize("name", OUTPUT_KERNELS)
def test_kernel_of_an_output_layer(name: str, benchmark: Benchmark) -> None:
    arguments, _ = output_calls(np.float32, N, V, H, H, N)[name]
    benchmark(getattr(kernels, name), *arguments.values())


WINDOW_KERNELS = list(window_calls(np.float32, 2, 2, 2, 2))


@pytest.mark.parametrize("name", WINDOW_KERNELS)
def test_kernel_of_windows(name: str, benchmark: Benchmark) -> None:
    arguments, _ = window_calls(np.float32, B, T, H, H)[name]
    benchmark(getattr(kernels, name), *arguments.values())


def test_every_kernel_has_a_benchmark() -> None:
    timed = {*CALLS, *OUTPUT_KERNELS, *WINDOW_KERNELS}
    assert timed == {name for name in kernels.__all__ if callable(getattr(kernels, name))}
