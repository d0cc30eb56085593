"""Queries of frozen window models: equal to sums and products in float64, whatever the shape and the type."""

from typing import Any

import numpy as np
import pytest
import reference
from guards import Guards
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.kernels.frozen import ACTIVATIONS, frozen_hidden, frozen_scores

FUNCTIONS = {"tanh": reference.tanh_forward, "relu": reference.relu_forward, "gelu": reference.gelu_forward}
SHAPES = [(1, 1, 1, 1), (3, 5, 2, 7), (20, 30, 4, 16), (9, 12, 5, 33), (40, 8, 9, 130)]  # Q, V, N, H
R = 31  # words


class Tables:
    """Arguments of the kernels; floats stand between guards."""

    def __init__(self, Q: int, V: int, N: int, H: int, dtype: type = np.float32, activation: int = 0) -> None:
        rng, self.guards = np.random.default_rng(Q + V + N + H), Guards()
        self.windows = rng.integers(R, size=(Q, N)).astype(np.int32)
        self.targets = rng.integers(V, size=Q).astype(np.int32)
        self.rows, self.scales = self._table(rng, dtype, R, N, H)
        self.output, self.output_scales = self._table(rng, dtype, V, H)
        self.bias, self.output_bias = self._floats(rng, H), self._floats(rng, V)
        self.activation, self.sizes = activation, (Q, H)

    def _floats(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        return self.guards.around((0.5 * rng.normal(size=shape)).astype(np.float32))

    def _table(self, rng: np.random.Generator, dtype: type, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        if dtype == np.float32:
            return self._floats(rng, *shape), np.empty((0,) * (len(shape) - 1), np.float32)
        return rng.integers(-127, 128, shape).astype(np.int8), 0.01 * np.abs(self._floats(rng, *shape[:-1]))

    @property
    def scratch(self) -> np.ndarray:
        return self.guards.array(np.float32, self.sizes[1])

    def hidden(self) -> np.ndarray:
        result = self.guards.array(np.float32, *self.sizes)
        frozen_hidden(result, self.windows, self.rows, self.scales, self.bias, self.activation)
        return result

    def scores(self) -> np.ndarray:
        result = self.guards.array(np.float32, self.sizes[0])
        frozen_scores(
            result, self.windows, self.targets, self.rows, self.scales, self.bias, self.output, self.output_scales,
            self.output_bias, self.scratch, self.activation,
        )  # fmt: skip
        return result

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Hidden layer and scores in float64."""
        rows, output = self.rows.astype(np.float64), self.output.astype(np.float64)
        if rows.dtype != self.rows.dtype and len(self.scales):
            rows, output = rows * self.scales[..., None], output * self.output_scales[:, None]
        sums = self.bias + rows[self.windows, np.arange(self.windows.shape[1])].sum(axis=1)
        hidden = FUNCTIONS[ACTIVATIONS[self.activation]](sums)
        return hidden, (hidden * output[self.targets]).sum(axis=1) + self.output_bias[self.targets]

    def check(self) -> None:
        hidden, scores = self.expected()
        np.testing.assert_allclose(self.hidden(), hidden, 2e-5, 2e-5)
        np.testing.assert_allclose(self.scores(), scores, 2e-5, 5e-5)
        self.guards.check()


@pytest.mark.parametrize("activation", range(3), ids=ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_equals_the_oracle(shape: tuple[int, int, int, int], dtype: type, activation: int) -> None:
    Tables(*shape, dtype, activation).check()


@settings(max_examples=40)
@given(
    Q=st.integers(1, 30),
    V=st.integers(1, 40),
    N=st.integers(1, 10),
    H=st.integers(1, 140),
    dtype=st.sampled_from([np.float32, np.int8]),
)
def test_shapes_of_every_kind_equal_the_oracle(Q: int, V: int, N: int, H: int, dtype: type) -> None:
    Tables(Q, V, N, H, dtype).check()


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_a_query_does_not_depend_on_those_beside_it(dtype: type) -> None:
    tables = Tables(40, 8, 5, 33, dtype)
    whole = tables.scores()
    for cut in (1, 7, 39):
        parts = []
        for part in (slice(cut), slice(cut, None)):
            some = Tables(40, 8, 5, 33, dtype)
            some.windows, some.targets = tables.windows[part], tables.targets[part]
            some.sizes = len(some.windows), 33
            parts.append(some.scores())
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_no_queries() -> None:
    assert len(Tables(0, 3, 2, 5).scores()) == 0


def test_read_only_inputs_are_accepted() -> None:
    tables = Tables(9, 12, 5, 33)
    before = tables.scores()
    for array in vars(tables).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    assert tables.scores().tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize(
    ("name", "axis"),
    [
        *(("windows", 0), ("windows", 1), ("targets", 0), ("rows", 1), ("rows", 2), ("bias", 0)),
        *(("output", 1), ("output_bias", 0), ("scales", 0), ("scales", 1), ("output_scales", 0)),
    ],
)
def test_a_wrong_size_is_refused(name: str, axis: int, dtype: type) -> None:
    tables = Tables(9, 12, 5, 33, dtype)
    array = getattr(tables, name)
    shape = tuple(size + (i == axis) for i, size in enumerate(array.shape))
    setattr(tables, name, np.zeros(shape, array.dtype))
    with pytest.raises(ValueError, match=r"do not fit.* expected \("):
        tables.scores()


@pytest.mark.parametrize("activation", [-1, 3])
def test_an_activation_that_there_is_not(activation: int) -> None:
    tables: Any = Tables(2, 3, 2, 5, activation=0)
    tables.activation = activation
    for call in (tables.hidden, tables.scores):
        with pytest.raises(ValueError, match=f"activation is {activation}, expected 0 to 2"):
            call()


def test_a_hidden_layer_of_another_size() -> None:
    tables = Tables(2, 3, 2, 5)
    tables.sizes = (2, 6)
    with pytest.raises(ValueError, match=r"hidden has shape \(2, 6\), expected \(2, 5\)"):
        tables.hidden()
    with pytest.raises(ValueError, match=r"scratch \(6,\) do not fit"):
        tables.scores()
