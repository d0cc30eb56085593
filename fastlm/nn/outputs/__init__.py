"""Output layers, siblings behind one interface: hidden and targets to loss and gradients, hidden to distributions."""

from fastlm.nn.outputs.softmax import Softmax

__all__ = ["Softmax"]
