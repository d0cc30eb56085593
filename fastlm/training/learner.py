"""A model while it learns: all that one step changes, beside the text."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlm.errors import TrainingError
from fastlm.inference.evaluation import perplexity
from fastlm.nn.optimizers import gradient_norm
from fastlm.nn.parallel import Workers, products_of
from fastlm.nn.parameters import FloatArray
from fastlm.nn.workspace import Workspace
from fastlm.training.history import Step

if TYPE_CHECKING:
    from fastlm.training.trainer import Trainer

__all__ = ["Learner"]


class Learner:
    """Takes the steps of a run.

    Parameters
    ----------
    trainer : Trainer
        Whose model is trained, with its options.
    num_steps : int
        Of the whole run; for the schedule.
    workers : Workers

    Attributes
    ----------
    schedule : Schedule
    learning_rate : float
        Of the last step.
    """

    def __init__(self, trainer: "Trainer", num_steps: int, workers: Workers) -> None:
        self._trainer = trainer
        self._model = trainer.model
        self._workers = workers
        self._parameters = trainer.model.parameter_list
        self._optimizer = trainer.make_optimizer(self._parameters)
        self._workspace = Workspace(self._model.dtype, workers, training=True, seed=trainer.seed)
        self.schedule = trainer.make_schedule(num_steps)
        self.learning_rate = 0.0

    @property
    def num_steps(self) -> int:
        """Steps that are done: dropout and the learning rate depend on it."""
        return self._workspace.step

    def step(self, batch: Any, epoch: int, time: float) -> Step:
        """Learn from a batch; `time` is the share of a limited time that is gone."""
        for parameter in self._parameters:
            parameter.clear_gradient()
        rate = self.learning_rate = self.schedule.rate(self.num_steps, time)
        with products_of(self._trainer.precision or "float32"):
            loss, num_tokens = self._model.loss_and_gradients(batch, self._workspace)
        norm = gradient_norm(self._parameters, self._workers)
        step = Step(self.num_steps + 1, epoch, loss / max(1, num_tokens), num_tokens, rate, norm)
        figures = {"loss": step.loss, "norm of its gradient": norm, "perplexity": perplexity(step.loss)}
        self.check_finite(figures, step.step, epoch)
        limit = self._trainer.max_grad_norm
        self._optimizer.step(rate, self._workers, scale=limit / norm if norm > limit else 1.0)
        self._workspace.step += 1
        return step

    def check_parameters(self, epoch: int) -> None:
        """Raise a TrainingError if there are parameters that are not finite."""
        largest = {f"largest element of {p.name}": float(np.abs(p.value).max()) for p in self._parameters}
        self.check_finite(largest, self.num_steps, epoch)

    def check_finite(self, values: Mapping[str, float], step: int, epoch: int) -> None:
        """Raise a TrainingError that says where the run is, if one of the named values is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} is {value} at step {step} (epoch {epoch}), with learning rate "
                    f"{self.learning_rate:g}; expected a finite number. The best parameters so far are kept; a "
                    "smaller learning rate or max_grad_norm may help"
                )

    def validated(self, is_best: bool, loss: float | None) -> None:
        """Hear how validation went after an epoch."""
        self.schedule.validated(is_best)
        if loss is not None:
            self._optimizer.validated(loss)

    def evaluated(self) -> AbstractContextManager[None]:
        """Give the model, as long as this is open, the parameters that are to be evaluated and kept."""
        return self._optimizer.evaluated()

    def arrays(self) -> dict[str, FloatArray]:
        """Return all arrays that change from step to step, by the names that they have in a checkpoint."""
        arrays = {f"parameters/{parameter.name}": parameter.value for parameter in self._parameters}
        for slot, values in self._optimizer.state.items():
            arrays |= {f"optimizer/{slot}/{name}": value for name, value in values.items()}
        carried = self._model.carried(self._trainer.batch_size, self._workspace)
        return arrays | {f"carried/{name}": value for name, value in carried.items()}

    def numbers(self) -> dict[str, Any]:
        """Return all else that changes from step to step, as JSON has it."""
        return {
            "step": self.num_steps,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule.state,
            "optimizer": self._optimizer.numbers,
        }

    def restore(self, numbers: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> None:
        """Take over what `numbers` and `arrays` returned when the step was the same."""
        self._workspace.step = self._optimizer.num_steps = numbers["step"]
        self.learning_rate = numbers["learning_rate"]
        self.schedule.state.update(numbers["schedule"])
        self._optimizer.numbers.update(numbers["optimizer"])
        for name, array in self.arrays().items():
            np.copyto(array, arrays[name], casting="no")
