"""Right arguments for the kernels of class softmax and of what learns from samples."""

from typing import Any

import numpy as np

from fastlm import kernels

SAMPLES, ROWS = 41, 44  # no other axis is as long, nor one less


def output_calls(
    dtype: type, N: int, V: int, D: int, H: int, R: int
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return arguments in order, and how each kernel uses them, by the kernel's name."""
    rng, W = np.random.default_rng(8), kernels.PANEL_BYTES // np.dtype(dtype).itemsize
    PH, PS, rows = -(-H // W), -(-SAMPLES // W), rng.permutation(N)[:R].astype(np.int32)

    def real(*shape: int, dtype: type = dtype) -> np.ndarray:
        return rng.uniform(0.1, 1.0, shape).astype(dtype)

    def whole(*numbers: int) -> np.ndarray:
        return np.array(numbers, np.int32)

    bounds = {"token_bounds": whole(0, N - N // 3, N), "row_bounds": whole(0, 9, 24)}
    layer = {"hidden": real(N, H), "weight": real(V, H), "bias": real(V)}
    groups = layer | {"targets": rng.integers(0, 9, N).astype(np.int32)} | bounds | {"firsts": whole(17, 26)}
    class_scratch = {"scratch": real(kernels.class_scratch_size(*bounds.values(), H, np.dtype(dtype).itemsize))}
    gradients = {"dhidden": real(N, H), "dweight": real(24, H), "dbias": real(24), "squares": real(2, dtype=np.float64)}
    part = {"start": 0, "stop": 2}

    targets = rng.permutation(V)[:N].astype(np.int32)
    targets[:1] = -1
    table = {"thresholds": np.ones(V), "aliases": np.arange(V, dtype=np.int32)}
    tokens = {"dlogits": real(N, SAMPLES), "dtargets": real(N), "dhidden": real(N, H), "hidden": real(N, H)}
    weights = {"weight": real(V, H), "bias": real(V), "corrections": real(V)}
    samples = {"columns": real(PS, H, W), "rows": real(PH, SAMPLES, W), "offsets": real(SAMPLES)}
    targeted = {"targets": targets, "places": (targets % ROWS).astype(np.int32)}
    return {
        "add_rows": (
            {"output": real(N, D), "ids": rows, "rows": real(len(rows), D)},
            {"added": "output", "longer": [("output", 0)]},
        ),
        "class_forward": (
            {"log_probs": real(N), **groups, **class_scratch, **part},
            {"overwritten": "log_probs", "scratch": "scratch", "longer": [("scratch", 0)]},
        ),
        "class_forward_backward": (
            {"log_probs": real(N), **gradients, **groups, **class_scratch, "factor": 0.3, **part},
            {
                "overwritten": "log_probs dhidden dweight dbias squares",
                "scratch": "scratch",
                "longer": [("scratch", 0)],
            },
        ),
        "class_scratch_size": ({**bounds, "H": H, "itemsize": 4}, {}),
        "class_log_probs": (
            {"log_probs": real(N, V), "classes": real(N, 2), **layer, "bounds": whole(0, 17, V), "scratch": real(V)},
            {"overwritten": "log_probs", "scratch": "scratch"},
        ),
        "alias_table": (
            {**table, "weights": real(V, dtype=np.float64), "stack": np.zeros(V, np.int32)},
            {"overwritten": "thresholds aliases", "scratch": "stack"},
        ),
        "draw_rows": (
            {"ids": np.zeros(5 + N, np.int32), "places": np.zeros(N, np.int32), "targets": targets, **table}
            | {"slots": np.full(V, -1, np.int32), "key": 3, "num_samples": 5},
            {"updated": "ids places slots"},
        ),
        "target_logits": (
            {"logits": real(N), "hidden": real(N, H), "targets": targets, "weight": real(V, H), "bias": real(V)},
            {"overwritten": "logits"},
        ),
        "sampled_softmax_forward_backward": (
            {"log_probs": real(N), **tokens, **targeted, **weights, **samples, "penalty": 0.1, "factor": 0.3},
            {"overwritten": "log_probs dlogits dtargets dhidden"},
        ),
        "nce_forward_backward": (
            {"scores": real(N), **tokens, "targets": targets, **weights, **samples}
            | {"noise": real(SAMPLES), "factor": 0.3},
            {"overwritten": "scores dlogits dtargets dhidden"},
        ),
        "sampled_backward_weight": (
            {"dweight": real(ROWS, H), "dbias": real(ROWS), "dlogits": tokens["dlogits"], "dtargets": real(N)}
            | {"hidden": real(N, H), "inputs": real(PH, N, W), "places": targeted["places"], "start": 0, "stop": ROWS},
            {"overwritten": "dweight dbias", "longer": [("dlogits", 1)]},
        ),
    }
