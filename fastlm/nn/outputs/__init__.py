"""Output layers, siblings behind one interface: hidden and targets to loss and gradients, hidden to distributions."""

from collections.abc import Callable

from fastlm.nn.outputs.adaptive_softmax import AdaptiveSoftmax
from fastlm.nn.outputs.class_softmax import ClassSoftmax
from fastlm.nn.outputs.interface import OutputLayer
from fastlm.nn.outputs.projected import Projected
from fastlm.nn.outputs.sampled import NCE, SampledSoftmax
from fastlm.nn.outputs.softmax import Softmax

__all__ = ["NCE", "OUTPUTS", "AdaptiveSoftmax", "ClassSoftmax", "OutputLayer", "Projected", "SampledSoftmax", "Softmax"]

OUTPUTS: dict[str, Callable[..., OutputLayer]] = {
    "softmax": Softmax,
    "class": ClassSoftmax,
    "adaptive": AdaptiveSoftmax,
    "sampled": SampledSoftmax,
    "nce": NCE,
}
