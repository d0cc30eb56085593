"""What modern networks without recurrence are built from: layer normalisation, activations, residual layers."""

from abc import abstractmethod

import numpy as np

from fastlm import kernels
from fastlm.nn.layers import Dropout, Layer, Linear, Tanh
from fastlm.nn.parameters import FloatArray, ParameterSource
from fastlm.nn.products import rows_worth_a_thread
from fastlm.nn.workspace import Workspace

__all__ = ["ACTIVATIONS", "GELU", "Activation", "LayerNorm", "ReLU", "ResidualLayer"]

EPSILON = 1e-5  # as is usual
INNER = 2  # units of a residual layer's inner part for each of its outer one
PRODUCTS_APART = 16  # multiply-adds of a matrix product that take as long as an element of an activation


class LayerNorm(Layer):
    """y = g * (x - mean(x)) / sqrt(var(x) + epsilon) + b, over the units of a row (Ba et al. 2016).

    Parameters
    ----------
    size : int
        H.
    """

    def __init__(self, name: str, size: int, source: ParameterSource) -> None:
        self.gain = source.filled(f"{name}.gain", (size,), 1.0)
        self.bias = source.filled(f"{name}.bias", (size,))
        super().__init__(name, [self.gain, self.bias])

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Normalise the rows of `inputs` (N, H)."""
        output = workspace.array(f"{self.name}.output", inputs.shape)
        normalised = workspace.array(f"{self.name}.normalised", inputs.shape)
        scales = workspace.array(f"{self.name}.scales", inputs.shape[:1])
        kernels.layer_norm_forward(
            output, normalised, scales, inputs, self.gain.value, self.bias.value, EPSILON
        )  # fmt: skip
        workspace.saved[self.name] = normalised, scales
        return output

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Add the gradients of g and b; return that of the inputs, (N, H)."""
        normalised, scales = workspace.saved[self.name]
        dinputs = workspace.array(f"{self.name}.dinputs", doutput.shape)
        (dgain, accumulate), (dbias, _) = self.gain.dense_gradient(), self.bias.dense_gradient()
        kernels.layer_norm_backward(
            dinputs, dgain, dbias, doutput, normalised, scales, self.gain.value, accumulate
        )  # fmt: skip
        return dinputs

    def forward_vector(self, inputs: FloatArray) -> FloatArray:
        """Normalise one row (H,) outside any workspace: a new one."""
        output, normalised, scales = np.empty_like(inputs), np.empty_like(inputs), np.empty_like(inputs[:1])
        kernels.layer_norm_forward(
            output[np.newaxis], normalised[np.newaxis], scales, inputs[np.newaxis], self.gain.value, self.bias.value,
            EPSILON,
        )  # fmt: skip
        return output


class _SharedActivation(Layer):
    """A function of each element, whose rows are shared among the threads."""

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Return the function of `inputs` (N, H), which must stay as they are until the backward pass."""
        output = workspace.array(f"{self.name}.output", inputs.shape)

        def rows(start: int, stop: int, worker: int) -> None:
            self._forward(output[start:stop], inputs[start:stop])

        workspace.workers.share(rows, len(inputs), rows_worth_a_thread(PRODUCTS_APART * inputs.shape[1]))
        workspace.saved[self.name] = inputs, output
        return output

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Overwrite the gradient of the output (N, H) by that of the inputs."""
        inputs, output = workspace.saved[self.name]

        def rows(start: int, stop: int, worker: int) -> None:
            self._backward(doutput[start:stop], inputs[start:stop], output[start:stop])

        workspace.workers.share(rows, len(inputs), rows_worth_a_thread(PRODUCTS_APART * inputs.shape[1]))
        return doutput

    def forward_vector(self, inputs: FloatArray) -> FloatArray:
        """Return the function of `inputs` (H,), outside any workspace."""
        output = np.empty_like(inputs)
        self._forward(output[np.newaxis], inputs[np.newaxis])
        return output

    @abstractmethod
    def _forward(self, output: FloatArray, inputs: FloatArray) -> None: ...

    @abstractmethod
    def _backward(self, gradient: FloatArray, inputs: FloatArray, output: FloatArray) -> None: ...


class ReLU(_SharedActivation):
    """y = max(x, 0) (Nair & Hinton 2010)."""

    def _forward(self, output: FloatArray, inputs: FloatArray) -> None:
        kernels.relu_forward(output, inputs)

    def _backward(self, gradient: FloatArray, inputs: FloatArray, output: FloatArray) -> None:
        kernels.relu_backward(gradient, gradient, output)


class GELU(_SharedActivation):
    """y = x times the normal distribution function at x, by its approximation with tanh (Hendrycks & Gimpel 2016)."""

    def _forward(self, output: FloatArray, inputs: FloatArray) -> None:
        kernels.gelu_forward(output, inputs)

    def _backward(self, gradient: FloatArray, inputs: FloatArray, output: FloatArray) -> None:
        kernels.gelu_backward(gradient, gradient, inputs)


Activation = Tanh | ReLU | GELU
ACTIVATIONS: dict[str, type[Activation]] = {"tanh": Tanh, "relu": ReLU, "gelu": GELU}


class ResidualLayer(Layer):
    """Two affine maps beside a connection that goes past them, then layer normalisation (after He et al. 2016).

    ::

        y = norm(x + W_o f(W_i x + b_i) + b_o)

    Parameters
    ----------
    size : int
        H; the inner layer has 2 H units.
    activation : {"tanh", "relu", "gelu"}
        f.
    dropout : float in [0, 1)
        Rate on f, in training.
    """

    def __init__(self, name: str, size: int, source: ParameterSource, *, activation: str, dropout: float) -> None:
        self.inner = Linear(f"{name}.inner", size, INNER * size, source)
        self.activation = ACTIVATIONS[activation](f"{name}.activation")
        self.dropout = Dropout(f"{name}.dropout", dropout)
        self.outer = Linear(f"{name}.outer", INNER * size, size, source)
        self.norm = LayerNorm(f"{name}.norm", size, source)
        parts = (self.inner, self.outer, self.norm)
        super().__init__(name, [parameter for part in parts for parameter in part.parameters])

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Return y for `inputs` (N, H)."""
        inner = self.activation.forward(self.inner.forward(inputs, workspace), workspace)
        dropped = self.dropout.forward(inner.reshape(1, -1), workspace).reshape(inner.shape)
        outer = self.outer.forward(dropped, workspace)
        outer += inputs
        return self.norm.forward(outer, workspace)

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Add the gradients of the parameters; return that of the inputs, (N, H)."""
        dsum = self.norm.backward(doutput, workspace)
        dinner = self.outer.backward(dsum, workspace)
        dinner = self.dropout.backward(dinner.reshape(1, -1), workspace).reshape(dinner.shape)
        dinputs = self.inner.backward(self.activation.backward(dinner, workspace), workspace)
        dinputs += dsum
        return dinputs

    def forward_vector(self, inputs: FloatArray) -> FloatArray:
        """Return y for `inputs` (H,), outside any workspace."""
        inner = self.activation.forward_vector(self.inner.forward_vector(inputs))
        return self.norm.forward_vector(inputs + self.outer.forward_vector(inner))
