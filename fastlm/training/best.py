"""Where the best parameters of a run are kept while it goes on."""

from typing import Any

import numpy as np

from fastlm.models import NeuralModel, load
from fastlm.nn.parameters import FloatArray
from fastlm.storage import Source

__all__ = ["Best"]


class Best:
    """The best parameters so far: in the output file where one is named, else in memory.

    Parameters
    ----------
    model : NeuralModel
    output : path, optional
    """

    def __init__(self, model: NeuralModel, output: Source | None) -> None:
        self._model = model
        self._output = output
        self._copies: dict[str, FloatArray] = {}
        self._kept = False

    def keep(self, info: dict[str, Any]) -> None:
        """Keep the model's parameters as they are now, with `info` about them for the model file."""
        self._model.info = info
        if self._output is not None:
            self._model.save(self._output)
        else:
            self._copies = {name: value.copy() for name, value in self._model.parameters.items()}
        self._kept = True

    def restore(self) -> None:
        """Put the parameters that were kept last back into the model, if any were."""
        if not self._kept:
            return
        arrays = self._copies if self._output is None else load(self._output).parameters
        for name, value in self._model.parameters.items():
            np.copyto(value, arrays[name])
