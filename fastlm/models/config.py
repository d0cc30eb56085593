"""The constructor's arguments of neural models: their choices, and the checks of them."""

from collections.abc import Mapping
from typing import Any

from fastlm.inference.arguments import real_number, whole_number

__all__ = ["CONTEXTS", "DTYPES", "MAX_SIZE", "checked"]

CONTEXTS = ("sentence", "continuous")
DTYPES = ("float32", "float64")
FLAGS = ("direct", "residual", "tied")
RATES = ("dropout", "word_dropout", "recurrent_dropout")
RATES_OR_COMMON = ("embedding_dropout", "hidden_dropout", "output_dropout")  # None: the common rate, dropout
NOT_NEGATIVE = ("activation_penalty", "temporal_penalty", "recurrent_rate_factor")
MAX_SIZE = 1_000_000  # of a layer; NumPy counts the bytes of a product of three in 64 bits


def checked(config: dict[str, Any], choices: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return a constructor's arguments in the types that JSON has, or raise a ValueError that names a wrong one.

    Parameters
    ----------
    config : dict
        By name; the names decide about the kinds.
    choices : mapping
        The values that arguments of these names may have.
    """
    result = dict(config)
    for name, value in config.items():
        if name in choices:
            result[name] = str(value)
            if result[name] not in choices[name]:
                raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, choices[name]))}")
        elif name.endswith(("_size", "_dim", "num_layers")):
            result[name] = whole_number(name, value, minimum=1, maximum=MAX_SIZE)
        elif name in ("seed", "num_averages"):
            result[name] = whole_number(name, value, minimum=0)
        elif name in RATES or (name in RATES_OR_COMMON and value is not None):
            result[name] = real_number(name, value)
            if not 0.0 <= result[name] < 1.0:
                raise ValueError(f"{name} is {value!r}, expected 0 <= {name} < 1")
        elif name in NOT_NEGATIVE:
            result[name] = real_number(name, value)
            if result[name] < 0.0:
                raise ValueError(f"{name} is {value!r}, expected a number of at least 0")
        elif name in FLAGS and not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, expected True or False")
    return result
