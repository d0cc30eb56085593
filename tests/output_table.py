"""The output layer's arrays of a model, tied or not, as the oracles take them."""

import numpy as np


def output_arrays(parameters: dict[str, np.ndarray], *, tied: bool) -> dict[str, object]:
    """Return output_weight, output_bias and projection."""
    p = parameters
    weight = p["embedding.weight"][:-1] if tied else p["output.weight"]
    projection = None
    if "output.projection.weight" in p:
        projection = (p["output.projection.weight"], p["output.projection.bias"])
    return {"output_weight": weight, "output_bias": p["output.bias"], "projection": projection}
