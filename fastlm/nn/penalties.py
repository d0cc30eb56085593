"""Penalties on activations, which are added to the gradient of a hidden layer (Merity et al. 2017, 2018)."""

import numpy as np
from numpy.typing import NDArray

from fastlm.nn.parameters import FloatArray
from fastlm.nn.workspace import Workspace

__all__ = ["add_activation_gradient", "add_temporal_gradient"]


def add_activation_gradient(dhidden: FloatArray, hidden: FloatArray, rate: float, workspace: Workspace) -> None:
    """Add to `dhidden` the gradient of `rate * mean(hidden ** 2)` (activation regularisation).

    Parameters
    ----------
    dhidden, hidden : arrays of one shape
    rate : float
    """
    if rate > 0.0:
        part = workspace.array("penalty", hidden.shape)
        dhidden += np.multiply(hidden, 2.0 * rate / hidden.size, out=part)


def add_temporal_gradient(
    dhidden: FloatArray, hidden: FloatArray, resets: NDArray[np.uint8], rate: float, workspace: Workspace
) -> None:
    """Add to `dhidden` the gradient of `rate * mean((hidden[1:] - hidden[:-1]) ** 2)` (temporal regularisation).

    Parameters
    ----------
    dhidden, hidden : (T, B, H)
    resets : (T, B) uint8
        Where a step does not go on from the one before, their difference does not count.
    rate : float
    """
    if rate > 0.0 and len(hidden) > 1:
        change = np.subtract(hidden[1:], hidden[:-1], out=workspace.array("penalty", hidden[1:].shape))
        change *= 2.0 * rate / change.size
        change[resets[1:] != 0] = 0.0
        dhidden[1:] += change
        dhidden[:-1] -= change
