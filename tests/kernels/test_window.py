"""Windows that slide along runs, and averages of the words before them, against their oracles."""

import numpy as np
import pytest
import reference
from reference import pack

from fastlm import kernels

TYPES = [(np.float32, 2e-5), (np.float64, 1e-12)]
CASES = [  # B, T, size, D, H, rows before the first window
    (1, 1, 1, 1, 1, 0),
    (1, 7, 3, 5, 4, 0),
    (5, 1, 4, 3, 33, 0),
    (5, 1, 4, 3, 2, 6),
    (3, 20, 2, 33, 47, 1),
    (2, 300, 5, 8, 9, 11),
]
AVERAGES = [(1, 1, 1, [1]), (3, 6, 5, [4, 6]), (2, 1, 33, [8, 12, 14]), (1, 9, 4, [0, 2, 2, 5])]  # B, T, D, ends


@pytest.fixture(params=TYPES, ids=["float32", "float64"])
def rtol(request: pytest.FixtureRequest) -> float:
    return request.param[1]


@pytest.fixture
def dtype(rtol: float) -> type:
    return np.float32 if rtol > 1e-6 else np.float64


def draw(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def packed_words(weight: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([pack(part) for part in np.split(weight, size, axis=1)])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case: tuple[int, ...], dtype: type, rtol: float) -> None:
    B, T, size, D, H, before = case
    inputs, weight, bias = draw(dtype, B, before + T + size - 1, D), draw(dtype, H, size * D), draw(dtype, H)
    output = np.full((B, T, H), np.nan, dtype)
    kernels.window_forward(output, inputs, pack(weight.T), bias, size)
    expected = reference.linear_forward(reference.windows(wide(inputs), size, T), wide(weight), wide(bias))
    np.testing.assert_allclose(output, expected, rtol, atol=rtol)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_window_gives_the_same_bytes_wherever_it_lies(case: tuple[int, ...], dtype: type) -> None:
    B, T, size, D, H, before = case
    inputs, weight, bias = draw(dtype, B, before + T + size - 1, D), pack(draw(dtype, size * D, H)), draw(dtype, H)
    output, alone = np.empty((B, T, H), dtype), np.empty((B * T, H), dtype)
    kernels.window_forward(output, inputs, weight, bias, size)
    kernels.linear_forward(alone, reference.windows(inputs, size, T).reshape(B * T, size * D), weight, bias)
    assert output.tobytes() == alone.tobytes()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case: tuple[int, ...], dtype: type, rtol: float) -> None:
    B, T, size, D, H, before = case
    weight, doutput = draw(dtype, H, size * D), draw(dtype, B, T, H)
    dinputs = np.full((B, before + T + size - 1, D), np.nan, dtype)
    kernels.window_backward(dinputs, doutput, packed_words(weight, size), size)
    expected = reference.windows_backward(wide(doutput) @ wide(weight), size, dinputs.shape[1])
    np.testing.assert_allclose(dinputs, expected, rtol, atol=5 * rtol)
    assert (dinputs[:, :before] == 0).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_packing(case: tuple[int, ...], dtype: type) -> None:
    B, T, size, D, H, before = case
    inputs, weight = draw(dtype, B, before + T + size - 1, D), draw(dtype, H, size * D)
    expected = pack(reference.windows(inputs, size, T).reshape(B * T, size * D))
    panels = np.full_like(expected, np.nan)
    kernels.pack_windows(panels, inputs, size)
    np.testing.assert_array_equal(panels, expected)
    expected = packed_words(weight, size)
    panels = np.full_like(expected, np.nan)
    kernels.pack_words(panels, weight, size)
    np.testing.assert_array_equal(panels, expected)


@pytest.mark.parametrize("case", AVERAGES, ids=str)
def test_averages(case: tuple[int, int, int, list[int]], dtype: type, rtol: float) -> None:
    B, T, D, ends = case
    inputs, weight = draw(dtype, B, T + ends[-1] + 2, D), draw(dtype, ends[-1], D)
    output = np.full((B, T, len(ends) * D), np.nan, dtype)
    kernels.average_forward(output, inputs, weight, np.array(ends, np.int32))
    expected = reference.distant_averages(wide(inputs), wide(weight), ends, T)
    np.testing.assert_allclose(output, expected, rtol, atol=rtol)


@pytest.mark.parametrize("case", AVERAGES, ids=str)
def test_gradients_of_averages(case: tuple[int, int, int, list[int]], dtype: type, rtol: float) -> None:
    """The averages are linear in both, so their gradients are products with what they are in place of the other."""
    B, T, D, ends = case
    inputs, weight = draw(dtype, B, T + ends[-1], D), draw(dtype, ends[-1], D)
    doutput, stops = draw(dtype, B, T, len(ends) * D), np.array(ends, np.int32)
    dinputs, dweight = np.zeros_like(inputs), np.full_like(weight, np.nan)
    kernels.average_backward(dinputs, doutput, weight, stops)
    kernels.average_backward_weight(dweight, doutput, inputs, stops, 0, len(weight), False)
    loss = (doutput * reference.distant_averages(wide(inputs), wide(weight), ends, T)).sum()
    np.testing.assert_allclose((wide(dinputs) * inputs).sum(), loss, 10 * rtol, atol=rtol)
    np.testing.assert_allclose((wide(dweight) * weight).sum(), loss, 10 * rtol, atol=rtol)


def test_the_weights_of_averages_can_be_shared_by_rows(dtype: type) -> None:
    inputs, doutput, ends = draw(dtype, 3, 20, 5), draw(dtype, 3, 8, 15), np.array([6, 9, 11], np.int32)
    whole, shared = np.ones((2, 11, 5), dtype)
    kernels.average_backward_weight(whole, doutput, inputs, ends, 0, 11, True)
    for start, stop in [(7, 11), (3, 7), (2, 3), (0, 2), (5, 5)]:
        kernels.average_backward_weight(shared, doutput, inputs, ends, start, stop, True)
    assert shared.tobytes() == whole.tobytes()
