"""LSTM and GRU through time against their oracles, whole, in slices of the batch, and step by step."""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
import reference
from reference import pack

from fastlm import kernels

SHAPES = [(1, 1, 1), (1, 3, 5), (4, 1, 3), (4, 2, 1), (6, 5, 17), (3, 4, 33), (5, 7, 64)]  # T, B, H
RESETS = {"none": 0.0, "some": 0.4, "all": 1.0}
TOLERANCES = {np.float32: 2e-5, np.float64: 1e-12}


class Sequence:
    """Inputs, parameters and the results of both directions; a subclass is a cell."""

    num_gates: ClassVar[int]
    initial_names: ClassVar[tuple[str, ...]]
    widths: ClassVar[dict[str, int]]  # of the arrays that are written, in H

    def __init__(self, T: int, B: int, H: int, dtype: type, resets: float = 0.4) -> None:
        rng = np.random.default_rng(T + B + H)
        self.dtype = dtype
        self.projected = rng.normal(size=(T, B, self.num_gates * H)).astype(dtype)
        self.dhidden = rng.normal(size=(T, B, H)).astype(dtype)
        self.w_hh = (rng.normal(size=(self.num_gates * H, H)) / np.sqrt(H)).astype(dtype)
        self.resets = (rng.random((T, B)) < resets).astype(np.uint8)
        for name in self.initial_names:
            setattr(self, name, rng.normal(size=(B, H)).astype(dtype))
            setattr(self, f"d{name}", np.full((B, H), np.nan, dtype))
        for name, width in self.widths.items():
            setattr(self, name, np.full((T, B, width * H), np.nan, dtype))
        self.gates = self.projected.copy()

    def cut(self, part: slice) -> "Sequence":
        """Return a part of the batch as a sequence of its own."""
        other = object.__new__(type(self))
        for name, array in vars(self).items():
            if name in ("w_hh", "dtype"):
                setattr(other, name, array)
            elif array.ndim == 2 and name != "resets":
                setattr(other, name, array[part].copy())
            else:
                setattr(other, name, array[:, part].copy())
        other.gates = other.projected.copy()
        return other

    def results(self) -> list[np.ndarray]:
        names = ["gates", *self.widths, *(f"d{name}" for name in self.initial_names)]
        return [getattr(self, name) for name in names]

    def dw_hh(self, drecurrent: np.ndarray) -> np.ndarray:
        """Return the gradient of w_hh from that of the products with it."""
        H = self.w_hh.shape[1]
        dw = np.empty_like(self.w_hh)
        inputs = pack(self.previous.reshape(-1, H))
        kernels.linear_backward_weight(
            dw, np.empty(0, self.dtype), drecurrent.reshape(-1, len(self.w_hh)), inputs, False
        )
        return dw

    def wide(self, *names: str) -> list[np.ndarray]:
        return [getattr(self, name).astype(np.float64) for name in names]


class LSTM(Sequence):
    num_gates = 4
    initial_names = ("initial", "initial_cell")
    widths: ClassVar = {"hidden": 1, "cell": 1, "previous": 1, "previous_cell": 1, "dgates": 4}

    def run(self, part: slice = slice(None)) -> "LSTM":
        """Run both directions for a part of the batch, in place."""
        kernels.lstm_forward(
            self.hidden[:, part], self.cell[:, part], self.gates[:, part], self.previous[:, part],
            self.previous_cell[:, part], self.initial[part], self.initial_cell[part], self.resets[:, part],
            pack(self.w_hh.T),
        )  # fmt: skip
        kernels.lstm_backward(
            self.dgates[:, part], self.dinitial[part], self.dinitial_cell[part], self.dhidden[:, part],
            self.gates[:, part], self.cell[:, part], self.previous_cell[:, part], self.resets[:, part],
            pack(self.w_hh),
        )  # fmt: skip
        return self

    def compared(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return pairs of what was computed and what the oracle says."""
        x, w_hh, initial, initial_cell, dhidden = self.wide("projected", "w_hh", "initial", "initial_cell", "dhidden")
        states = reference.lstm_forward(x, w_hh, initial, initial_cell, self.resets)
        gradients = reference.lstm_backward(dhidden, states, w_hh, initial, initial_cell, self.resets)
        gates = states[2].reshape(x.shape)
        computed = [self.dgates, self.dw_hh(self.dgates), self.dinitial, self.dinitial_cell]
        return [*zip([self.hidden, self.cell, self.gates], [*states[:2], gates], strict=True),
                *zip(computed, gradients, strict=True)]  # fmt: skip

    def step(self, t: int, b: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Take a step by itself and return pairs of its results and those of the sequence."""
        hidden, cell = np.full((2, self.w_hh.shape[1]), np.nan, self.dtype)
        gates = self.projected[t, b].copy()
        kernels.lstm_step(hidden, cell, gates, self.previous[t, b], self.previous_cell[t, b], self.w_hh)
        return [(hidden, self.hidden[t, b]), (cell, self.cell[t, b]), (gates, self.gates[t, b])]


class GRU(Sequence):
    num_gates = 3
    initial_names = ("initial",)
    widths: ClassVar = {"hidden": 1, "products": 3, "previous": 1, "dgates": 3, "dproducts": 3}

    def run(self, part: slice = slice(None)) -> "GRU":
        """Run both directions for a part of the batch, in place."""
        kernels.gru_forward(
            self.hidden[:, part], self.gates[:, part], self.products[:, part], self.previous[:, part],
            self.initial[part], self.resets[:, part], pack(self.w_hh.T),
        )  # fmt: skip
        kernels.gru_backward(
            self.dgates[:, part], self.dproducts[:, part], self.dinitial[part], self.dhidden[:, part],
            self.gates[:, part], self.products[:, part], self.previous[:, part], self.resets[:, part],
            pack(self.w_hh),
        )  # fmt: skip
        return self

    def compared(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return pairs of what was computed and what the oracle says."""
        x, w_hh, initial, dhidden = self.wide("projected", "w_hh", "initial", "dhidden")
        states = reference.gru_forward(x, w_hh, initial, self.resets)
        gradients = reference.gru_backward(dhidden, states, w_hh, initial, self.resets)
        computed = [self.dgates, self.dw_hh(self.dproducts), self.dinitial]
        return [(self.hidden, states[0]), (self.gates, states[1].reshape(x.shape)),
                *zip(computed, gradients, strict=True)]  # fmt: skip

    def step(self, t: int, b: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Take a step by itself and return pairs of its results and those of the sequence."""
        H = self.w_hh.shape[1]
        hidden, gates = np.full(H, np.nan, self.dtype), self.projected[t, b].copy()
        products = np.full(3 * H, np.nan, self.dtype)
        kernels.gru_step(hidden, gates, products, self.previous[t, b], self.w_hh)
        return [(hidden, self.hidden[t, b]), (gates, self.gates[t, b]), (products, self.products[t, b])]


@pytest.fixture(params=[LSTM, GRU])
def cell(request: pytest.FixtureRequest) -> type[Sequence]:
    return request.param


@pytest.fixture(params=TOLERANCES)
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.mark.parametrize("resets", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_directions_equal_the_oracle(
    cell: type[Sequence], shape: tuple[int, int, int], resets: float, dtype: type
) -> None:
    for result, expected in cell(*shape, dtype, resets).run().compared():
        np.testing.assert_allclose(result, expected, TOLERANCES[dtype], atol=10 * TOLERANCES[dtype])


@pytest.mark.parametrize("shape", [(4, 7, 5), (3, 20, 33), (2, 20, 100), (3, 33, 16)])
@pytest.mark.parametrize("size", [1, 3, 8, 15])
def test_slices_of_the_batch_give_the_bytes_of_the_whole(
    cell: type[Sequence], shape: tuple[int, int, int], size: int, dtype: type
) -> None:
    """In place and in whatever order, and as sequences of their own."""
    whole, shared = cell(*shape, dtype).run(), cell(*shape, dtype)
    parts = [slice(start, start + size) for start in range(0, shape[1], size)]
    for part in parts[1:] + parts[:1]:
        shared.run(part)
    assert_same(shared, whole)
    for part in parts:
        own, expected = whole.cut(part).run(), whole.cut(part)
        expected.gates = whole.gates[:, part]
        assert_same(own, expected)


def assert_same(one: Sequence, other: Sequence) -> None:
    for result, expected in zip(one.results(), other.results(), strict=True):
        assert result.tobytes() == expected.tobytes()


def test_threads_that_share_the_batch_give_the_same_bytes(cell: type[Sequence], dtype: type) -> None:
    whole, shared = cell(6, 20, 64, dtype).run(), cell(6, 20, 64, dtype)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(shared.run, [slice(0, 3), slice(3, 4), slice(4, 13), slice(13, 20)]))
    assert_same(shared, whole)


def test_a_slice_writes_nothing_outside_itself(cell: type[Sequence], dtype: type) -> None:
    sequence = cell(3, 5, 4, dtype)
    sequence.run(slice(1, 3))
    for name in cell.widths:
        array = getattr(sequence, name)
        assert np.isfinite(array[:, 1:3]).all()
        assert np.isnan(array[:, [0, 3, 4]]).all()
    for name in cell.initial_names:
        assert np.isnan(getattr(sequence, f"d{name}")[[0, 3, 4]]).all()
    assert (sequence.gates[:, [0, 3, 4]] == sequence.projected[:, [0, 3, 4]]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_that_of_the_sequence(cell: type[Sequence], shape: tuple[int, int, int], dtype: type) -> None:
    sequence = cell(*shape, dtype).run()
    for t, b in np.ndindex(*shape[:2]):
        for result, expected in sequence.step(t, b):
            np.testing.assert_allclose(result, expected, TOLERANCES[dtype], atol=TOLERANCES[dtype])


def test_nothing_crosses_a_reset(cell: type[Sequence], dtype: type) -> None:
    sequence = cell(4, 2, 3, dtype, resets=0.0)
    sequence.resets[2, 0] = 1
    sequence.gates[1, 0, 0] = np.nan
    sequence.run()
    assert np.isnan(sequence.hidden[1, 0]).any()
    assert np.isfinite(sequence.hidden[2:]).all()
    assert np.isfinite(sequence.hidden[:, 1]).all()
    cleared = cell(4, 2, 3, dtype, resets=0.0)
    cleared.resets[2, 0] = 1
    cleared.dhidden[:2, 0] = 0  # so that only what comes from behind the reset could reach these steps
    cleared.run()
    assert (cleared.dgates[:2, 0] == 0).all()
    assert (cleared.dgates[:2, 1] != 0).all()
    for name in cell.initial_names:
        assert (getattr(cleared, f"d{name}")[0] == 0).all()


def test_nan_runs_on_until_the_end(cell: type[Sequence], dtype: type) -> None:
    sequence = cell(4, 2, 3, dtype, resets=0.0)
    sequence.initial[1, 0] = np.nan
    sequence.run()
    assert np.isnan(sequence.hidden[:, 1]).all()
    assert np.isfinite(sequence.hidden[:, 0]).all()


def test_no_steps_have_no_gradient(cell: type[Sequence], dtype: type) -> None:
    sequence = cell(0, 2, 3, dtype).run()
    for name in cell.initial_names:
        assert (getattr(sequence, f"d{name}") == 0).all()


def test_gates_are_shut_and_open_at_the_ends_of_the_range(cell: type[Sequence], dtype: type) -> None:
    """Sigmoids of any finite input are from 0 to 1, without overflow."""
    sequence = cell(1, 2, 3, dtype, resets=1.0)
    big = np.finfo(dtype).max
    sequence.gates[:, 0], sequence.gates[:, 1] = big, -big
    sequence.run()
    sigmoids = sequence.gates[..., : 3 * (cell.num_gates - 1)]
    assert (sigmoids[0, 0] == 1).all()
    assert (sigmoids[0, 1] == 0).all()
    assert np.isfinite(sequence.dgates).all()


def test_sigmoids_are_accurate_to_a_few_units() -> None:
    x = np.concatenate([np.linspace(-86, 86, 400_000), np.logspace(-30, 1.9, 50_000)]).astype(np.float32)
    T, H = len(x) // 3, 1
    sequence = LSTM(T, 1, H, np.float32, resets=1.0)
    sequence.w_hh[:] = 0
    sequence.gates[..., :3] = x.reshape(T, 1, 3)
    exact = reference.sigmoid(x.astype(np.float64))
    result = sequence.run().gates[..., :3].reshape(-1)
    assert (np.abs(result - exact) / np.spacing(exact.astype(np.float32))).max() < 4
