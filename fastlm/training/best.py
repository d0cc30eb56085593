"""Where the best parameters of a run are kept while it goes on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fastlm.models import NeuralModel, load
from fastlm.nn.parameters import FloatArray
from fastlm.storage import Source, atomic_write

__all__ = ["Best"]


class Best:
    """The best parameters so far: those of the beginning, then in a file where there is one to be, else in memory.

    Parameters
    ----------
    model : NeuralModel
    output : path, optional
        A file that always holds the best model so far.
    folder : Path, optional
        Where checkpoints are kept. The best model is then a file there, which stays until no checkpoint needs it, and
        `output` is a copy of it.

    Attributes
    ----------
    name : str or None
        The file in the folder; None without a folder, and before anything has been kept.
    """

    def __init__(self, model: NeuralModel, output: Source | None, folder: Path | None = None) -> None:
        self._model = model
        self._output = output
        self._folder = folder
        self.name: str | None = None
        self._copies = self._copy()

    def keep(self, info: dict[str, Any], epoch: int) -> None:
        """Keep the model's parameters as they are now, after an epoch, with `info` about them for the model file."""
        self._model.info = info
        in_file = self._folder is not None or self._output is not None
        self._copies = {} if in_file else self._copy()
        try:
            if self._folder is not None:
                name = f"best-{epoch}.fastlm"
                self._model.save(self._folder / name)
                self.name = name
                self._publish()
            elif self._output is not None:
                self._model.save(self._output)
        except BaseException:  # a full disk, Ctrl-C: hours of training must not be lost with it
            self._copies = self._copy()
            raise

    def keep_unmeasured(self, info: dict[str, Any]) -> None:
        """Keep the parameters where nothing has been measured and the run stops: what there is, is the best so far."""
        self._model.info = info
        self._copies = self._copy()
        if self._output is not None:
            self._model.save(self._output)

    def resume(self, name: str) -> None:
        """Take the file of this name in the folder as what was kept last."""
        self.name = name
        self._copies = {}
        self._publish()

    def restore(self) -> None:
        """Put the parameters that were kept last back into the model."""
        arrays = self._copies
        if not arrays:
            kept = load(self._kept_file())
            self._model.info = kept.info
            arrays = kept.parameters
        for name, value in self._model.parameters.items():
            np.copyto(value, arrays[name])

    def _kept_file(self) -> Source:
        if self._folder is not None and self.name is not None:
            return self._folder / self.name
        if self._output is None:
            raise ValueError("no parameters have been kept in a file")
        return self._output

    def _publish(self) -> None:
        if self._output is not None:
            with Path(self._kept_file()).open("rb") as source, atomic_write(self._output) as target:
                shutil.copyfileobj(source, target, 1 << 20)

    def _copy(self) -> dict[str, FloatArray]:
        return {name: value.copy() for name, value in self._model.parameters.items()}
