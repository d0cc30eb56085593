"""Recurrent layers: cells, and stacks of them. Sequences are time-major, (T, B, …).

What a cell carries from step to step is its memory, (S, B, H): the hidden layer, and for an LSTM the cell after it.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastlm import kernels
from fastlm.nn.layers import Dropout, Layer
from fastlm.nn.parameters import FloatArray, Parameter, ParameterSource
from fastlm.nn.products import affine, input_gradient, packed, packed_weight, rows_worth_a_thread, weight_gradient
from fastlm.nn.workspace import Workspace

__all__ = ["CELLS", "GRU", "LSTM", "Elman", "Recurrent", "RecurrentStack"]

Arrays = dict[str, FloatArray]


class Recurrent(Layer, ABC):
    """A recurrent layer, whatever its cell; gates stand side by side in the rows of the weights.

    A subclass names its arrays as its kernels do, and calls these.

    Parameters
    ----------
    inputs, hidden_size : int
        D and H.
    recurrent_dropout : float in [0, 1)
        Rate at which elements of w_hh are zero, in training: DropConnect (Wan et al. 2013; Merity et al. 2018). All
        steps of a chunk see the same matrix.
    """

    num_gates: ClassVar[int]
    memory_names: ClassVar[tuple[str, ...]] = ("hidden",)  # the sequences whose last step the next chunk begins with
    forward_sizes: ClassVar[dict[str, int]]  # of each sequence, in H
    backward_sizes: ClassVar[dict[str, int]]
    recurrent_gradient: ClassVar[str] = "dgates"  # the gradient of the products with w_hh

    def __init__(
        self, name: str, inputs: int, hidden_size: int, source: ParameterSource, *, recurrent_dropout: float = 0.0
    ) -> None:
        rows = self.num_gates * hidden_size
        self.w_xh = source.uniform(f"{name}.w_xh", (rows, inputs), inputs**-0.5)
        self.w_hh = source.uniform(f"{name}.w_hh", (rows, hidden_size), hidden_size**-0.5)
        self.bias = self._initial_bias(f"{name}.bias", hidden_size, source)
        self.drop_connect = Dropout(f"{name}.w_hh.dropout", recurrent_dropout)
        self.hidden_size = hidden_size
        super().__init__(name, [self.w_xh, self.w_hh, self.bias])

    def _initial_bias(self, name: str, hidden_size: int, source: ParameterSource) -> Parameter:
        return source.filled(name, (self.num_gates * hidden_size,))

    def project(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Return W_x x + b for `inputs` (N, D): (N, rows of W_x), which `forward` takes where it is there already."""
        output = workspace.array(f"{self.name}.projected", (len(inputs), len(self.bias.value)))
        affine(output, inputs, self.w_xh, self.bias, workspace)
        return output

    def forward(
        self,
        inputs: FloatArray,
        memory: FloatArray,
        resets: NDArray[np.uint8],
        workspace: Workspace,
        *,
        projected: FloatArray | None = None,
    ) -> FloatArray:
        """Run over `inputs` (T, B, D) from `memory` (S, B, H); where `resets` (T, B), from zero: (T, B, H)."""
        steps, num_streams, _ = inputs.shape
        arrays = self._arrays(self.forward_sizes, steps, num_streams, workspace)
        if projected is None:
            affine(_flat(arrays["gates"]), _flat(inputs), self.w_xh, self.bias, workspace)
        else:
            _flat(arrays["gates"])[:] = projected
        arrays |= {"initial": memory, "resets": resets}
        matrix = self.drop_connect.forward(self.w_hh.value.reshape(1, -1), workspace).reshape(self.w_hh.value.shape)
        w_hh = packed_weight(self.w_hh.name, matrix, workspace)

        def streams(start: int, stop: int, worker: int) -> None:
            self._forward({name: array[:, start:stop] for name, array in arrays.items()}, w_hh)

        workspace.workers.share(streams, num_streams, rows_worth_a_thread(steps * self.w_hh.value.size))
        workspace.saved[self.name] = (inputs, arrays, matrix)
        return arrays["hidden"]

    def backward(self, dhidden: FloatArray, workspace: Workspace) -> FloatArray:
        """Backpropagate `dhidden` (T, B, H) through time; return the gradient of the inputs, (T, B, D)."""
        inputs, arrays, matrix = workspace.saved[self.name]
        steps, num_streams, _ = inputs.shape
        gradients = self._arrays(self.backward_sizes, steps, num_streams, workspace)
        dmemory = workspace.array(f"{self.name}.dmemory", arrays["initial"].shape)
        arrays = {**arrays, **gradients, "dhidden": dhidden, "dinitial": dmemory}
        w_hh = packed(matrix, workspace)

        def streams(start: int, stop: int, worker: int) -> None:
            self._backward({name: array[:, start:stop] for name, array in arrays.items()}, w_hh)

        workspace.workers.share(streams, num_streams, rows_worth_a_thread(steps * self.w_hh.value.size))
        dgates, dproducts = _flat(gradients["dgates"]), _flat(gradients[self.recurrent_gradient])
        dinputs = workspace.array(f"{self.name}.dinputs", inputs.shape)
        input_gradient(_flat(dinputs), dgates, self.w_xh, workspace)
        weight_gradient(dgates, _flat(inputs), self.w_xh, self.bias, workspace)
        mask = self.drop_connect.mask(workspace)
        if mask is not None:
            mask = mask.reshape(matrix.shape)
        weight_gradient(dproducts, _flat(arrays["previous"]), self.w_hh, None, workspace, mask=mask)
        return dinputs

    def last(self, workspace: Workspace) -> list[FloatArray]:
        """Return the memory after the last step, S arrays (B, H)."""
        _, arrays, _ = workspace.saved[self.name]
        return [arrays[name][-1] for name in self.memory_names]

    def step(self, inputs: FloatArray, memory: FloatArray) -> FloatArray:
        """Take one step from `memory` (S, H) with `inputs` (D,), outside any workspace: a new (S, H)."""
        gates = np.empty_like(self.bias.value)
        kernels.linear_forward_vector(gates, inputs, self.w_xh.value, self.bias.value)
        after = np.empty_like(memory)
        self._step(after, gates, memory)
        return after

    def _arrays(self, sizes: dict[str, int], steps: int, num_streams: int, workspace: Workspace) -> Arrays:
        return {
            name: workspace.array(f"{self.name}.{name}", (steps, num_streams, size * self.hidden_size))
            for name, size in sizes.items()
        }

    @abstractmethod
    def _forward(self, arrays: Arrays, w_hh: FloatArray) -> None: ...

    @abstractmethod
    def _backward(self, arrays: Arrays, w_hh: FloatArray) -> None: ...

    @abstractmethod
    def _step(self, after: FloatArray, gates: FloatArray, before: FloatArray) -> None: ...


class Elman(Recurrent):
    """Simple recurrent layer, h_t = tanh(W_x x_t + W_h h_{t-1} + b) (Elman 1990; Mikolov et al. 2010)."""

    num_gates = 1
    forward_sizes: ClassVar = {"gates": 1, "hidden": 1, "previous": 1}
    backward_sizes: ClassVar = {"dgates": 1}

    def _forward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a = arrays
        kernels.elman_forward(a["hidden"], a["previous"], a["gates"], a["initial"][0], a["resets"], w_hh)

    def _backward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a = arrays
        kernels.elman_backward(a["dgates"], a["dinitial"][0], a["dhidden"], a["hidden"], a["resets"], w_hh)

    def _step(self, after: FloatArray, gates: FloatArray, before: FloatArray) -> None:
        kernels.elman_step(after[0], gates, before[0], self.w_hh.value)


class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014).

    ::

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)                 reset
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)                 update
        n_t = tanh(W_n x_t + r_t * (U_n h_{t-1}) + b_n)            candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Of the paper's two versions this is the first, with the reset gate after the product, as in cuDNN and PyTorch: one
    product a step. Weights are [W_r; W_z; W_n] and [U_r; U_z; U_n].
    """

    num_gates = 3
    forward_sizes: ClassVar = {"gates": 3, "products": 3, "hidden": 1, "previous": 1}
    backward_sizes: ClassVar = {"dgates": 3, "dproducts": 3}
    recurrent_gradient = "dproducts"

    def _forward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a = arrays
        kernels.gru_forward(a["hidden"], a["gates"], a["products"], a["previous"], a["initial"][0], a["resets"], w_hh)

    def _backward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a = arrays
        kernels.gru_backward(
            a["dgates"], a["dproducts"], a["dinitial"][0], a["dhidden"], a["gates"], a["products"], a["previous"],
            a["resets"], w_hh,
        )  # fmt: skip

    def _step(self, after: FloatArray, gates: FloatArray, before: FloatArray) -> None:
        kernels.gru_step(after[0], gates, np.empty_like(gates), before[0], self.w_hh.value)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    ::

        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)                 input gate; likewise f_t, forget, and o_t, output
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)                    candidate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Weights are [W_i; W_f; W_o; W_g] and likewise U. The forget gate's bias starts at 1, so that the cell remembers.
    """

    num_gates = 4
    memory_names = ("hidden", "cell")
    forward_sizes: ClassVar = {"gates": 4, "hidden": 1, "cell": 1, "previous": 1, "previous_cell": 1}
    backward_sizes: ClassVar = {"dgates": 4}

    def _initial_bias(self, name: str, hidden_size: int, source: ParameterSource) -> Parameter:
        return source.filled(name, (4 * hidden_size,), np.repeat([0.0, 1.0, 0.0, 0.0], hidden_size))

    def _forward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a, (initial, initial_cell) = arrays, arrays["initial"]
        kernels.lstm_forward(
            a["hidden"], a["cell"], a["gates"], a["previous"], a["previous_cell"], initial, initial_cell, a["resets"],
            w_hh,
        )  # fmt: skip

    def _backward(self, arrays: Arrays, w_hh: FloatArray) -> None:
        a, (dinitial, dinitial_cell) = arrays, arrays["dinitial"]
        kernels.lstm_backward(
            a["dgates"], dinitial, dinitial_cell, a["dhidden"], a["gates"], a["cell"], a["previous_cell"], a["resets"],
            w_hh,
        )  # fmt: skip

    def _step(self, after: FloatArray, gates: FloatArray, before: FloatArray) -> None:
        kernels.lstm_step(after[0], after[1], gates, before[0], before[1], self.w_hh.value)


CELLS: dict[str, type[Recurrent]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


class RecurrentStack(Layer):
    """Recurrent layers one on another; the memory of all of them is one array, (L, S, B, H).

    Parameters
    ----------
    inputs, hidden_size : int
        D and H.
    cell : {"elman", "gru", "lstm"}
    num_layers : int
        L. The first layer has the name of the stack, the others are numbered from 2.
    residual : bool
        Whether what goes into a layer is added to what comes out of it, where both have one size.
    dropout : float
        Rate between the layers; a mask holds for all steps.
    recurrent_dropout : float
        As for `Recurrent`.
    rate_factor : float
        Of the learning rate of each w_hh.
    """

    def __init__(
        self,
        name: str,
        inputs: int,
        hidden_size: int,
        source: ParameterSource,
        *,
        cell: str,
        num_layers: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        rate_factor: float = 1.0,
    ) -> None:
        self.cells: list[Recurrent] = []
        for number in range(1, num_layers + 1):
            cell_name, size = (name, inputs) if number == 1 else (f"{name}_{number}", hidden_size)
            layer = CELLS[cell](cell_name, size, hidden_size, source, recurrent_dropout=recurrent_dropout)
            layer.w_hh.rate_factor = rate_factor
            self.cells.append(layer)
        self.dropouts = [Dropout(f"{layer.name}.dropout", dropout) for layer in self.cells[1:]]
        self.residual = [residual and layer.w_xh.value.shape[1] == hidden_size for layer in self.cells]
        self.memory_shape = (num_layers, len(self.cells[0].memory_names), hidden_size)
        super().__init__(name, [parameter for layer in self.cells for parameter in layer.parameters])

    def project(self, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        """Return what the first layer makes of `inputs` (N, D); see `Recurrent.project`."""
        return self.cells[0].project(inputs, workspace)

    def forward(
        self,
        inputs: FloatArray,
        memory: FloatArray,
        resets: NDArray[np.uint8],
        workspace: Workspace,
        *,
        projected: FloatArray | None = None,
    ) -> FloatArray:
        """Run over `inputs` (T, B, D) from `memory` (L, S, B, H); where `resets` (T, B), from zero: (T, B, H)."""
        for number, cell in enumerate(self.cells):
            below = self._dropped(number, inputs, workspace)
            output = cell.forward(below, memory[number], resets, workspace, projected=projected)
            projected = None  # it was of the first layer
            if self.residual[number]:
                output = np.add(output, inputs, out=workspace.array(f"{cell.name}.sum", output.shape))
            inputs = output
        return inputs

    def backward(self, doutput: FloatArray, workspace: Workspace) -> FloatArray:
        """Backpropagate `doutput` (T, B, H) through time; return the gradient of the inputs, (T, B, D)."""
        for number in reversed(range(len(self.cells))):
            dinputs = self.cells[number].backward(doutput, workspace)
            if number > 0:
                self.dropouts[number - 1].backward(_by_step(dinputs), workspace)
            if self.residual[number]:
                dinputs += doutput
            doutput = dinputs
        return doutput

    def remember(self, memory: FloatArray, workspace: Workspace) -> None:
        """Overwrite `memory` (L, S, B, H) by what the last step has left."""
        for cell, layer_memory in zip(self.cells, memory, strict=True):
            for target, value in zip(layer_memory, cell.last(workspace), strict=True):
                target[:] = value

    def step(self, inputs: FloatArray, memory: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Take one step from `memory` (L, S, H) with `inputs` (D,): a new output (H,) and a new memory."""
        after = np.empty_like(memory)
        for number, cell in enumerate(self.cells):
            after[number] = cell.step(inputs, memory[number])
            hidden: FloatArray = after[number, 0]
            inputs = hidden + inputs if self.residual[number] else hidden
        return inputs, after

    def _dropped(self, number: int, inputs: FloatArray, workspace: Workspace) -> FloatArray:
        if number == 0:
            return inputs
        dropped = self.dropouts[number - 1].forward(_by_step(inputs), workspace)
        return dropped.reshape(inputs.shape)


def _flat(sequence: FloatArray) -> FloatArray:
    return sequence.reshape(-1, sequence.shape[2])


def _by_step(sequence: FloatArray) -> FloatArray:
    """Return a sequence (T, B, H) as one row a step, so that dropout has one mask for all steps."""
    return sequence.reshape(len(sequence), -1)
