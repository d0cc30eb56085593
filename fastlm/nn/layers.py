"""Layers: each has parameters, a forward pass, and a backward pass that follows it in the same workspace.

Rows of a batch are written N. Recurrent layers stand in `recurrent`, output layers in `outputs`.
"""

from collections.abc import Sequence

import numpy as np

from fastlm import kernels
from fastlm.nn.parameters import FloatArray, IntArray, Parameter, ParameterSource, Rows
from fastlm.nn.products import affine, input_gradient, weight_gradient
from fastlm.nn.workspace import Workspace

__all__ = ["Dropout", "Embedding", "Layer", "Linear", "Tanh", "WordDropout", "add_rows", "check_ids"]


class Layer:
    """What has a name and parameters.

    Parameters
    ----------
    name : str
    parameters : sequence of Parameter
    """

    def __init__(self, name: str, parameters: Sequence[Parameter] = ()) -> None:
        self.name = name
        self.parameters = list(parameters)


class Embedding(Layer):
    """Lookup table: e = table[id], with no bias and no activation (Bengio et al. 2003).

    Its gradient is row-sparse: only rows that were looked up have one. Where the table is also the output's (Press &
    Wolf 2017), the output layer has begun the gradient, and rows are added to that.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        V and D.
    """

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int, source: ParameterSource) -> None:
        self.weight = source.uniform(f"{name}.weight", (num_embeddings, embedding_dim), 0.1)
        super().__init__(name, [self.weight])

    def forward(self, ids: IntArray, workspace: Workspace) -> FloatArray:
        """Look up `ids` (N,): (N, D)."""
        check_ids("ids", ids, 0, len(self.weight.value))
        output = workspace.array(f"{self.name}.output", (len(ids), self.weight.value.shape[1]))
        kernels.embedding_forward(output, ids, self.weight.value)
        workspace.saved[self.name] = ids
        return output

    def backward(self, doutput: FloatArray, workspace: Workspace) -> None:
        """Set the table's gradient from that of the output (N, D), or add to it."""
        ids = workspace.saved[self.name]
        num_embeddings, embedding_dim = self.weight.value.shape
        rows = workspace.array(f"{self.name}.rows", (len(ids),), np.int32)
        drows = workspace.array(f"{self.name}.drows", (len(ids), embedding_dim))
        slots = workspace.array(f"{self.name}.slots", (num_embeddings,), np.int32, fill=-1)
        count = kernels.embedding_backward(rows, drows, doutput, ids, slots)
        add_rows(self.weight, Rows(rows[:count], drows[:count]), workspace)


class Linear(Layer):
    """Affine map y = W x + b.

    Parameters
    ----------
    inputs, outputs : int
    """

    def __init__(self, name: str, inputs: int, outputs: int, source: ParameterSource) -> None:
        self.weight = source.uniform(f"{name}.weight", (outputs, inputs), inputs**-0.5)
        self.bias = source.filled(f"{name}.bias", (outputs,))
        super().__init__(name, [self.weight, self.bias])

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Map `inputs` (N, D): (N, H)."""
        output = workspace.array(f"{self.name}.output", (len(inputs), len(self.bias.value)))
        affine(output, inputs, self.weight, self.bias, workspace)
        workspace.saved[self.name] = inputs
        return output

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Add the gradients of W and b; return that of the inputs, (N, D)."""
        inputs = workspace.saved[self.name]
        dinputs = workspace.array(f"{self.name}.dinputs", inputs.shape)
        input_gradient(dinputs, doutput, self.weight, workspace)
        weight_gradient(doutput, inputs, self.weight, self.bias, workspace)
        return dinputs

    def forward_vector(self, inputs: FloatArray) -> FloatArray:
        """Map `inputs` (D,) outside any workspace: a new (H,)."""
        output = np.empty_like(self.bias.value)
        kernels.linear_forward_vector(output, inputs, self.weight.value, self.bias.value)
        return output


class Tanh(Layer):
    """y = tanh(x), in place."""

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Overwrite `inputs` (N, H) by their tanh."""
        kernels.tanh_forward(inputs)
        workspace.saved[self.name] = inputs
        return inputs

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Overwrite the gradient of the output (N, H) by that of the inputs."""
        kernels.tanh_backward(doutput, doutput, workspace.saved[self.name])
        return doutput

    def forward_vector(self, inputs: FloatArray) -> FloatArray:
        """Overwrite `inputs` (H,) by their tanh, outside any workspace."""
        kernels.tanh_forward(inputs[np.newaxis])
        return inputs


class Dropout(Layer):
    """Dropout (Srivastava et al. 2014): each unit is zero at probability `rate`, in training only.

    Parameters
    ----------
    rate : float in [0, 1)
    """

    def __init__(self, name: str, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout is {rate}, expected 0 <= dropout < 1")
        self.rate = rate
        super().__init__(name)

    def forward(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Drop from `inputs` (R, D): one mask over D that holds for all R rows.

        A mask held over time (Gal & Ghahramani 2016) is inputs of shape (T, B * H); a mask of its own for every
        element is inputs of shape (1, N * H).
        """
        if not self._is_on(workspace):
            return inputs
        mask = workspace.array(f"{self.name}.mask", inputs.shape[1:])
        output = workspace.array(f"{self.name}.output", inputs.shape)
        kernels.dropout_mask(mask, workspace.random_key(self.name), self.rate)
        kernels.dropout_forward(output, inputs, mask)
        workspace.saved[self.name] = mask
        return output

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Overwrite the gradient of the output (R, D) by that of the inputs."""
        mask = self.mask(workspace)
        if mask is not None:
            kernels.dropout_forward(doutput, doutput, mask)
        return doutput

    def mask(self, workspace: Workspace) -> FloatArray | None:
        """Return what the forward pass multiplied each row by, (D,); None where it dropped nothing."""
        mask: FloatArray | None = workspace.saved[self.name] if self._is_on(workspace) else None
        return mask

    def _is_on(self, workspace: Workspace) -> bool:
        return workspace.training and self.rate > 0.0


class WordDropout(Layer):
    """Dropout of words (Gal & Ghahramani 2016): in a batch, all embeddings of a word are zero at probability `rate`.

    Parameters
    ----------
    rate : float in [0, 1)
    """

    def __init__(self, name: str, rate: float) -> None:
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"word_dropout is {rate}, expected 0 <= word_dropout < 1")
        self.rate = rate
        super().__init__(name)

    def forward(self, inputs: FloatArray, ids: IntArray, workspace: Workspace) -> FloatArray:
        """Drop from `inputs` (N, D), the embeddings of `ids` (N,), in place."""
        if workspace.training and self.rate > 0.0:
            kernels.word_dropout(inputs, inputs, ids, workspace.random_key(self.name), self.rate)
            workspace.saved[self.name] = ids
        return inputs

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Overwrite the gradient of the output (N, D) by that of the inputs."""
        if workspace.training and self.rate > 0.0:
            ids = workspace.saved[self.name]
            kernels.word_dropout(doutput, doutput, ids, workspace.random_key(self.name), self.rate)
        return doutput


def add_rows(parameter: Parameter, rows: Rows, workspace: Workspace) -> None:
    """Add rows to a parameter's gradient, which another layer may have begun: one that has the same table.

    Where there is none yet, they are the gradient, and may be completed until `workspace.workers.finish()` returns.
    """
    begun = parameter.gradient
    if begun is None:
        parameter.gradient = rows
        return
    workspace.workers.finish()  # neither need be complete before
    parameter.gradient_squares = None
    if not isinstance(begun, Rows):
        kernels.add_rows(begun, rows.ids, rows.values)
        return
    ids, values = np.concatenate([begun.ids, rows.ids]), np.concatenate([begun.values, rows.values])
    merged_ids, merged = np.empty_like(ids), np.empty_like(values)
    slots = workspace.array(f"{parameter.name}.slots", (len(parameter.matrix),), np.int32, fill=-1)
    count = kernels.embedding_backward(merged_ids, merged, values, ids, slots)
    parameter.gradient = Rows(merged_ids[:count], merged[:count])


def check_ids(name: str, ids: IntArray, least: int, size: int) -> None:
    """Raise ValueError unless all ids are from `least` to `size` - 1: the kernels read and write where they say."""
    if len(ids) and not least <= ids.min() <= ids.max() < size:
        raise ValueError(f"{name} are from {ids.min()} to {ids.max()}, expected {least} to {size - 1}")
