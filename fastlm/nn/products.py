"""Matrix products of the layers: operands packed, and rows shared among the workers.

Every row of a product is the same whatever rows stand beside it (see kernels/matrix.h), so rows are cut into as many
blocks as there are threads, where there is enough to do.

Where the CPU has a matrix unit, right operands of large products are split for it (see matrix_tiles.h), which is as
exact as float32 and quicker. Whether a product is large is said of all its rows, not of those of a block: results do
not depend on the number of threads.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from fastlm import kernels
from fastlm.kernels.matrix import split_height, tiles_are_possible, uses_bfloat16
from fastlm.nn.parameters import FloatArray, Parameter
from fastlm.nn.workspace import Workspace

__all__ = [
    "affine",
    "input_gradient",
    "is_split",
    "packed",
    "packed_shape",
    "packed_transposed",
    "packed_weight",
    "packed_weight_gradient",
    "rows_worth_a_thread",
    "uses_tiles",
    "weight_gradient",
]

WORTH_A_THREAD = 10_000_000  # multiply-adds: waking a thread takes about as long as these
MANY_ROWS = 128  # of the left operand: to split an element of the right one takes as long as half of them gain
LARGE = 48  # depth and columns from which on that is so
PACKED_APART = 100  # multiply-adds that take as long as to put an element into its panel, across rows


def rows_worth_a_thread(multiply_adds: int) -> int:
    """Return how many rows of so many multiply-adds a thread should have at least."""
    return -(-WORTH_A_THREAD // max(1, multiply_adds))


def uses_tiles(dtype: DTypeLike) -> bool:
    """Return whether large products of this type are made by the CPU's matrix unit."""
    return np.dtype(dtype) == np.float32 and tiles_are_possible()


def is_split(rows: int, depth: int, columns: int, workspace: Workspace) -> bool:
    """Return whether the right operand (depth, columns) of a product with so many rows is to be split."""
    is_large = rows >= MANY_ROWS and min(depth, columns) >= LARGE
    return is_large and workspace.splits and uses_tiles(workspace.dtype) and not uses_bfloat16()


def packed_shape(depth: int, columns: int, dtype: DTypeLike, *, split: bool = False) -> tuple[int, int, int]:
    """Return (panels, height, W), the shape of a packed operand."""
    width = kernels.PANEL_BYTES // np.dtype(dtype).itemsize
    return -(-columns // width), split_height(depth) if split else depth, width


def packed(matrix: FloatArray, workspace: Workspace, name: str = "packed", *, rows: int = 0) -> FloatArray:
    """Pack `matrix` (D, N) as right operand of products with so many rows.

    It lasts until the next operand is packed under the same name.
    """
    depth, columns = matrix.shape
    shape = packed_shape(depth, columns, matrix.dtype, split=is_split(rows, depth, columns, workspace))
    panels = workspace.array(name, shape)
    kernels.pack_matrix(panels, matrix)
    return panels


def packed_transposed(matrix: FloatArray, workspace: Workspace, name: str = "packed", *, rows: int = 0) -> FloatArray:
    """Pack the transpose of `matrix` (N, D), as `packed` does."""
    columns, depth = matrix.shape
    shape = packed_shape(depth, columns, matrix.dtype, split=is_split(rows, depth, columns, workspace))
    panels = workspace.array(name, shape)
    width = panels.shape[2]

    def some_panels(start: int, stop: int, worker: int) -> None:
        kernels.pack_transposed(panels[start:stop], matrix[start * width : stop * width])

    workspace.workers.share(some_panels, len(panels), rows_worth_a_thread(PACKED_APART * depth * width))
    return panels


def packed_weight(name: str, matrix: FloatArray, workspace: Workspace, *, rows: int = 0) -> FloatArray:
    """Pack the transpose of a weight (N, D) for products with so many rows; once, if the workspace keeps weights."""
    if not workspace.keeps_weights:
        return packed_transposed(matrix, workspace, rows=rows)
    split = is_split(rows, matrix.shape[1], len(matrix), workspace)
    if (kept := f"{name}.{'split' if split else 'packed'}") not in workspace.saved:
        workspace.saved[kept] = packed_transposed(matrix, workspace, kept, rows=rows)
    panels: FloatArray = workspace.saved[kept]
    return panels


def affine(
    output: FloatArray, inputs: FloatArray, weight: Parameter, bias: Parameter | None, workspace: Workspace
) -> None:
    """Overwrite `output` (N, H) by inputs W' [+ b]."""
    panels = packed_weight(weight.name, weight.value, workspace, rows=len(inputs))
    added = np.zeros(output.shape[1], output.dtype) if bias is None else bias.value

    def rows(start: int, stop: int, worker: int) -> None:
        kernels.linear_forward(output[start:stop], inputs[start:stop], panels, added)

    workspace.workers.share(rows, len(inputs), rows_worth_a_thread(weight.value.size))


def input_gradient(dinputs: FloatArray, doutput: FloatArray, weight: Parameter, workspace: Workspace) -> None:
    """Overwrite `dinputs` (N, D) by doutput W, the gradient through output = inputs W' + b."""
    panels = packed(weight.value, workspace, rows=len(dinputs))

    def rows(start: int, stop: int, worker: int) -> None:
        kernels.linear_backward(dinputs[start:stop], doutput[start:stop], panels)

    workspace.workers.share(rows, len(dinputs), rows_worth_a_thread(weight.value.size))


def weight_gradient(
    doutput: FloatArray,
    inputs: FloatArray,
    weight: Parameter,
    bias: Parameter | None,
    workspace: Workspace,
    *,
    mask: FloatArray | None = None,
) -> None:
    """Add doutput' inputs to the gradient of a weight, and the sums of doutput to that of its bias.

    Where the weight was multiplied by a `mask` of its shape, so is the gradient, which must be the only one. Deferred:
    it is done when `workspace.workers.finish()` returns.
    """

    def pack() -> FloatArray:
        return packed(inputs, workspace, f"{weight.name}.inputs", rows=doutput.shape[1])

    packed_weight_gradient(doutput, pack, weight, bias, workspace, mask=mask)


def packed_weight_gradient(
    doutput: FloatArray,
    pack: Callable[[], FloatArray],
    weight: Parameter,
    bias: Parameter | None,
    workspace: Workspace,
    *,
    mask: FloatArray | None = None,
) -> None:
    """Do what `weight_gradient` does with inputs that `pack` packs as right operand, which is called once."""
    dweight, accumulate = weight.dense_gradient()
    if accumulate and mask is not None:
        raise RuntimeError(f"{weight.name} has a gradient, to which one with a mask cannot be added")
    dbias = np.empty(0, dweight.dtype)
    if bias is not None:
        dbias, accumulate_bias = bias.dense_gradient()
        if accumulate != accumulate_bias:
            raise RuntimeError(f"{weight.name} has a gradient and {bias.name} none, or the other way round")
    if accumulate:
        workspace.workers.finish()  # the gradient before this one may still be read from its operand
    panels = pack()

    def outputs(start: int, stop: int, worker: int) -> None:
        kernels.linear_backward_weight(
            dweight[start:stop], dbias[start:stop], doutput[:, start:stop], panels, accumulate
        )
        if mask is not None:
            dweight[start:stop] *= mask[start:stop]

    workspace.workers.defer(outputs, len(dweight), rows_worth_a_thread(len(doutput) * dweight.shape[1]))
