"""What one wants to know of whole distributions."""

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.layers import check_ids
from fastlm.nn.parameters import FloatArray, IntArray

__all__ = ["entropies_and_ranks"]


def entropies_and_ranks(log_probs: FloatArray, targets: IntArray) -> tuple[NDArray[np.float64], IntArray]:
    """Return the entropy of each distribution (N, V) in nats, and the rank of its target; 1 is the likeliest word.

    Examples
    --------
    >>> entropies, ranks = entropies_and_ranks(np.log([[0.5, 0.25, 0.25]]), np.array([1], np.int32))
    >>> entropies.round(4).tolist(), ranks.tolist()  # of two that are as likely, both are second
    ([1.0397], [2])
    """
    check_ids("targets", targets, 0, log_probs.shape[1])
    entropies, ranks = np.empty(len(log_probs)), np.empty(len(log_probs), np.int32)
    scratch = np.empty((2, log_probs.shape[1]), log_probs.dtype)
    kernels.entropies_and_ranks(entropies, ranks, log_probs, targets, scratch)
    return entropies, ranks
