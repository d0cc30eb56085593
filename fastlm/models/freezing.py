"""How a window model is frozen: its arrays become those of a `FrozenNNLM`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.models.base import LanguageModel
from fastlm.models.nnlm import NNLM
from fastlm.nn.parameters import FloatArray

__all__ = ["DTYPES", "expected_arrays", "frozen_arrays"]

DTYPES = ("float32", "int8")
STEPS = 127  # of int8, to either side of zero
CAN_BE_FROZEN = (
    "what can be frozen is the textbook's NNLM: one hidden layer, no averages and no direct connections, trained with "
    "output softmax and self_normalising (fastlm train nnlm --self-normalising 0.1), sampled or nce"
)


def expected_arrays(config: dict[str, Any], vocab_size: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the type and shape of each array of a frozen model."""
    size, hidden_size, real = config["context_size"], config["hidden_size"], np.dtype(np.float32)
    table = np.dtype(config["dtype"])
    arrays = {
        "hidden.rows": (table, (vocab_size + 1, size, hidden_size)),
        "hidden.bias": (real, (hidden_size,)),
        "output.weight": (table, (vocab_size, hidden_size)),
        "output.bias": (real, (vocab_size,)),
    }
    if table == np.int8:
        arrays |= {"hidden.scales": (real, (vocab_size + 1, size)), "output.scales": (real, (vocab_size,))}
    return arrays


def frozen_arrays(model: LanguageModel, dtype: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return config and arrays of the frozen model; a ValueError says why there is none."""
    if reason := _hindrance(model):
        raise ValueError(f"the model cannot be frozen: {reason}; {CAN_BE_FROZEN}")
    assert isinstance(model, NNLM)
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected {' or '.join(map(repr, DTYPES))}")
    size, dim, parameters = model.config["context_size"], model.config["embedding_dim"], model.parameters
    embeddings, weight = model.embeddings.astype(np.float64), parameters["hidden.weight"].astype(np.float64)
    rows = np.empty((len(embeddings), size, len(weight)), np.float32)
    for place in range(size):
        rows[:, place] = embeddings @ weight[:, place * dim : (place + 1) * dim].T
    output, output_bias = model.output.score_table()
    arrays = {
        "hidden.rows": rows,
        "hidden.bias": parameters["hidden.bias"].astype(np.float32),
        "output.weight": output.astype(np.float32),
        "output.bias": output_bias.astype(np.float32),
    }
    if dtype == "int8":
        arrays["hidden.rows"], arrays["hidden.scales"] = _rounded(rows)
        arrays["output.weight"], arrays["output.scales"] = _rounded(arrays["output.weight"])
    names = ("context_size", "hidden_size", "activation", "context")
    return {name: model.config[name] for name in names} | {"dtype": dtype}, arrays


def _hindrance(model: LanguageModel) -> str:
    """Say why a model cannot be frozen; nothing if it can."""
    if not isinstance(model, NNLM):
        return f"it is of the kind {model.architecture!r}"
    config, output = model.config, model.config["output"]
    hindrances = {
        f"it has {config['num_layers']} layers": config["num_layers"] > 1,
        f"it sees {config['num_averages']} averages of the words before its window": config["num_averages"] > 0,
        "it has direct connections from the word vectors to the output": config["direct"],
        f"its output is {output!r}, where a word's score takes several tables": output in ("class", "adaptive"),
        "its scores are no probabilities before they are normalised": not model.self_normalised,
    }
    return next((reason for reason, holds in hindrances.items() if holds), "")


def _rounded(table: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return rows (..., H) as int8, and the scale of each, (...): what one step stands for."""
    scales = np.abs(table).max(axis=-1, initial=0.0) / STEPS
    steps = np.rint(table / np.where(scales > 0, scales, 1)[..., np.newaxis])
    return steps.astype(np.int8), scales.astype(np.float32)
