"""The Elman network through time against its oracle, whole, in slices of the batch, and step by step."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import pack

from fastlm import kernels

SHAPES = [(1, 1, 1), (1, 3, 5), (4, 1, 3), (4, 2, 1), (6, 5, 17), (3, 4, 33), (5, 7, 64)]  # T, B, H
RESETS = {"none": 0.0, "some": 0.4, "all": 1.0}
TOLERANCES = {np.float32: 1e-5, np.float64: 1e-12}


class Sequence:
    """Inputs, parameters and the results of both directions."""

    def __init__(self, T: int, B: int, H: int, dtype: type, resets: float = 0.4) -> None:
        rng = np.random.default_rng(T + B + H)
        self.inputs, self.dhidden = rng.normal(size=(2, T, B, H)).astype(dtype)
        self.initial = rng.normal(size=(B, H)).astype(dtype)
        self.w_hh = (rng.normal(size=(H, H)) / np.sqrt(H)).astype(dtype)
        self.resets = (rng.random((T, B)) < resets).astype(np.uint8)
        self.hidden, self.previous, self.dinputs = np.full((3, T, B, H), np.nan, dtype)
        self.dinitial = np.full((B, H), np.nan, dtype)

    def run(self, part: slice = slice(None)) -> "Sequence":
        """Run both directions for a part of the batch, in place."""
        kernels.elman_forward(
            self.hidden[:, part], self.previous[:, part], self.inputs[:, part], self.initial[part],
            self.resets[:, part], pack(self.w_hh.T),
        )  # fmt: skip
        kernels.elman_backward(
            self.dinputs[:, part], self.dinitial[part], self.dhidden[:, part], self.hidden[:, part],
            self.resets[:, part], pack(self.w_hh),
        )  # fmt: skip
        return self

    def cut(self, part: slice) -> "Sequence":
        """Return a part of the batch as a sequence of its own."""
        other = object.__new__(Sequence)
        for name, array in vars(self).items():
            axis_of_batch = {"initial": 0, "dinitial": 0, "w_hh": None}.get(name, 1)
            cuts = {None: (), 0: (part,), 1: (slice(None), part)}[axis_of_batch]
            setattr(other, name, array[cuts].copy())
        return other

    def results(self) -> list[np.ndarray]:
        return [self.hidden, self.previous, self.dinputs, self.dinitial]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("resets", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_directions_equal_the_oracle(shape: tuple[int, int, int], resets: float, dtype: type) -> None:
    sequence = Sequence(*shape, dtype, resets).run()
    inputs, w_hh, initial, dhidden = (
        array.astype(np.float64) for array in (sequence.inputs, sequence.w_hh, sequence.initial, sequence.dhidden)
    )
    hidden = reference.elman_forward(inputs, w_hh, initial, sequence.resets)
    dinputs, dw_hh, dinitial = reference.elman_backward(dhidden, hidden, w_hh, initial, sequence.resets)
    H = shape[2]
    dw = np.zeros((H, H), dtype)
    kernels.linear_backward_weight(
        dw, np.empty(0, dtype), sequence.dinputs.reshape(-1, H), pack(sequence.previous.reshape(-1, H)), True
    )
    expected = [(sequence.hidden, hidden), (sequence.dinputs, dinputs), (sequence.dinitial, dinitial), (dw, dw_hh)]
    for result, wanted in expected:
        np.testing.assert_allclose(result, wanted, TOLERANCES[dtype], atol=10 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_previous_is_what_each_step_starts_from(dtype: type) -> None:
    sequence = Sequence(5, 4, 3, dtype).run()
    for t in range(5):
        before = sequence.initial if t == 0 else sequence.hidden[t - 1]
        expected = np.where(sequence.resets[t, :, None] != 0, 0, before)
        assert (sequence.previous[t] == expected).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [(4, 7, 5), (3, 20, 33), (2, 20, 300), (3, 33, 16)])
@pytest.mark.parametrize("size", [1, 3, 8, 15])
def test_slices_of_the_batch_give_the_bytes_of_the_whole(shape: tuple[int, int, int], size: int, dtype: type) -> None:
    """In place and in whatever order, and as sequences of their own."""
    whole, shared = Sequence(*shape, dtype).run(), Sequence(*shape, dtype)
    parts = [slice(start, start + size) for start in range(0, shape[1], size)]
    for part in parts[1:] + parts[:1]:
        shared.run(part)
    assert_same(shared, whole)
    for part in parts:
        assert_same(shared.cut(part).run(), whole.cut(part))


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.one_of(st.integers(1, 70), st.integers(250, 270))),
    bounds=st.lists(st.integers(0, 40), max_size=5),
    dtype=st.sampled_from(list(TOLERANCES)),
)
def test_a_batch_may_be_cut_anywhere(shape: tuple[int, int, int], bounds: list[int], dtype: type) -> None:
    whole, shared = Sequence(*shape, dtype).run(), Sequence(*shape, dtype)
    for start, stop in pairwise(sorted([0, *bounds, 40])):
        shared.run(slice(start, stop))
    assert_same(shared, whole)


def assert_same(one: Sequence, other: Sequence) -> None:
    for result, expected in zip(one.results(), other.results(), strict=True):
        assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_threads_that_share_the_batch_give_the_same_bytes(dtype: type) -> None:
    whole, shared = Sequence(6, 20, 64, dtype).run(), Sequence(6, 20, 64, dtype)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(shared.run, [slice(0, 3), slice(3, 4), slice(4, 13), slice(13, 20)]))
    assert_same(shared, whole)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("H", [4, 31, 33, 257])
@pytest.mark.parametrize("part", [slice(1, 3), slice(2, 17), slice(0, 15), slice(19, 20)], ids=str)
def test_a_slice_reads_and_writes_nothing_outside_itself(part: slice, H: int, dtype: type) -> None:
    sequence, whole = Sequence(3, 20, H, dtype), Sequence(3, 20, H, dtype).run()
    outside = np.delete(np.arange(20), np.arange(20)[part])
    for name in ("inputs", "dhidden", "initial"):
        array = getattr(sequence, name)
        array[(slice(None), outside) if array.ndim == 3 else outside] = np.nan
    sequence.run(part)
    assert_same(sequence.cut(part), whole.cut(part))
    for array in (sequence.hidden, sequence.previous, sequence.dinputs):
        assert np.isnan(array[:, outside]).all()
    assert np.isnan(sequence.dinitial[outside]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_batch_of_one_may_have_any_stride(dtype: type) -> None:
    whole = Sequence(3, 1, 4, dtype).run()
    hidden, previous, inputs = np.zeros((3, 3, 9, 4), dtype)
    inputs[:, 0] = whole.inputs[:, 0]
    kernels.elman_forward(
        hidden[:, 0][:, None], previous[:, 0][:, None], inputs[:, 0][:, None], whole.initial, whole.resets,
        pack(whole.w_hh.T),
    )  # fmt: skip
    assert hidden[:, 0].tobytes() == whole.hidden.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_chunks_in_a_row_are_one_long_sequence(dtype: type) -> None:
    whole = Sequence(7, 3, 5, dtype).run()
    state = whole.initial
    for chunk in (slice(0, 3), slice(3, 4), slice(4, 7)):
        hidden, previous = np.empty((2, *whole.inputs[chunk].shape), dtype)
        kernels.elman_forward(hidden, previous, whole.inputs[chunk], state, whole.resets[chunk], pack(whole.w_hh.T))
        assert hidden.tobytes() == whole.hidden[chunk].tobytes()
        state = hidden[-1]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [(4, 1, 1), (5, 2, 3), (3, 2, 33), (3, 2, 200)])
def test_single_steps_with_nothing_packed_are_the_batch_form(shape: tuple[int, int, int], dtype: type) -> None:
    sequence = Sequence(*shape, dtype).run()
    hidden = np.full(shape[2], np.nan, dtype)
    for t, b in np.ndindex(*shape[:2]):
        kernels.elman_step(hidden, sequence.inputs[t, b], sequence.previous[t, b], sequence.w_hh)
        np.testing.assert_allclose(hidden, sequence.hidden[t, b], TOLERANCES[dtype], atol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_nothing_crosses_a_reset(dtype: type) -> None:
    sequence = Sequence(4, 2, 3, dtype, resets=0.0)
    sequence.resets[2, 0] = 1
    sequence.inputs[1, 0, 0] = np.nan
    sequence.run()
    assert np.isnan(sequence.hidden[1, 0]).any()
    assert np.isfinite(sequence.hidden[2:]).all()
    assert np.isfinite(sequence.hidden[:, 1]).all()
    cleared = Sequence(4, 2, 3, dtype, resets=0.0)
    cleared.resets[2, 0] = 1
    cleared.dhidden[:2, 0] = 0  # so that only what comes from behind the reset could reach these steps
    cleared.run()
    assert (cleared.dinputs[:2, 0] == 0).all()
    assert (cleared.dinitial[0] == 0).all()
    assert (cleared.dinputs[:2, 1] != 0).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_nan_runs_on_until_the_end(dtype: type) -> None:
    sequence = Sequence(4, 2, 3, dtype, resets=0.0)
    sequence.initial[1, 0] = np.nan
    sequence.run()
    assert np.isnan(sequence.hidden[:, 1]).all()
    assert np.isfinite(sequence.hidden[:, 0]).all()
    hidden = np.zeros(3, dtype)
    kernels.elman_step(hidden, sequence.inputs[0, 0], sequence.initial[1], sequence.w_hh)
    assert np.isnan(hidden).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_no_steps_have_no_gradient(dtype: type) -> None:
    sequence = Sequence(0, 2, 3, dtype).run()
    assert (sequence.dinitial == 0).all()
