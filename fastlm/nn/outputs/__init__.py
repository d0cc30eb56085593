"""Output layers, siblings behind one interface: hidden and targets to loss and gradients, hidden to distributions."""

from fastlm.nn.outputs.softmax import Softmax
from fastlm.nn.outputs.tied import TiedSoftmax

__all__ = ["Softmax", "TiedSoftmax"]
