"""Where the best parameters of a run are kept while it goes on."""

from typing import Any

import numpy as np

from fastlm.models import NeuralModel, load
from fastlm.nn.parameters import FloatArray
from fastlm.storage import Source

__all__ = ["Best"]


class Best:
    """The best parameters so far: those of the beginning, then in the output file where one is named, else in memory.

    Parameters
    ----------
    model : NeuralModel
    output : path, optional
    """

    def __init__(self, model: NeuralModel, output: Source | None) -> None:
        self._model = model
        self._output = output
        self._copies = self._copy()

    def keep(self, info: dict[str, Any]) -> None:
        """Keep the model's parameters as they are now, with `info` about them for the model file."""
        self._model.info = info
        self._copies = self._copy() if self._output is None else {}
        if self._output is not None:
            try:
                self._model.save(self._output)
            except BaseException:  # a full disk, Ctrl-C: hours of training must not be lost with it
                self._copies = self._copy()
                raise

    def restore(self) -> None:
        """Put the parameters that were kept last back into the model."""
        arrays = self._copies if self._output is None or self._copies else load(self._output).parameters
        for name, value in self._model.parameters.items():
            np.copyto(value, arrays[name])

    def _copy(self) -> dict[str, FloatArray]:
        return {name: value.copy() for name, value in self._model.parameters.items()}
