"""Dropout masks are functions of their key, with the right share of zeros and the right scale."""

import numpy as np
import pytest

from fastlm import kernels


def make_mask(size: int, key: int, rate: float, dtype: type = np.float64) -> np.ndarray:
    mask = np.full(size, np.nan, dtype)
    kernels.dropout_mask(mask, key, rate)
    return mask


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.65, 0.99])
def test_a_mask_holds_zero_and_the_inverse_of_what_is_kept(rate: float, dtype: type) -> None:
    mask = make_mask(10_000, 1, rate, dtype)
    assert set(mask) == {dtype(0), dtype(1 / (1 - rate))}


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.65, 0.99])
@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1])
def test_the_share_of_zeros_is_the_rate(rate: float, key: int) -> None:
    size = 200_000
    share = (make_mask(size, key, rate) == 0).mean()
    assert abs(share - rate) < 5 * np.sqrt(rate * (1 - rate) / size)


def test_a_mask_keeps_the_mean() -> None:
    assert make_mask(200_000, 3, 0.3).mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rate_zero_keeps_everything(dtype: type) -> None:
    assert (make_mask(1000, 9, 0.0, dtype) == 1).all()


def test_the_same_key_gives_the_same_mask_at_any_length_and_type() -> None:
    mask = make_mask(1000, 77, 0.5)
    assert mask.tobytes() == make_mask(1000, 77, 0.5).tobytes()
    assert (make_mask(333, 77, 0.5) == mask[:333]).all()
    assert (make_mask(1000, 77, 0.5, np.float32) == mask).all()


def test_a_larger_rate_drops_more_of_the_same() -> None:
    few, many = make_mask(1000, 5, 0.2) == 0, make_mask(1000, 5, 0.6) == 0
    assert few.sum() < many.sum()
    assert (many[few]).all()


def test_masks_of_different_keys_are_independent() -> None:
    size = 100_000
    keys = [0, 1, 2, 3, 12345, 2**40]
    masks = np.array([make_mask(size, key, 0.5) - 1 for key in keys])
    products = masks @ masks.T / size
    assert np.allclose(products, np.eye(len(keys)), atol=5 / np.sqrt(size))


def test_neighbours_in_a_mask_are_independent() -> None:
    size = 100_000
    signs = make_mask(size, 4, 0.5) - 1
    for distance in (1, 2, 8, 64):
        assert abs((signs[:-distance] * signs[distance:]).mean()) < 5 / np.sqrt(size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_multiplies_each_row_also_in_place(dtype: type) -> None:
    inputs = np.random.default_rng(1).normal(size=(5, 7)).astype(dtype)
    mask = make_mask(7, 2, 0.5, dtype)
    output = np.full_like(inputs, np.nan)
    kernels.dropout_forward(output, inputs, mask)
    assert (output == inputs * mask).all()
    kernels.dropout_forward(inputs, inputs, mask)
    assert (inputs == output).all()


def test_nan_in_gives_nan_out() -> None:
    output = np.zeros((1, 2))
    kernels.dropout_forward(output, np.array([[np.nan, 1.0]]), np.array([2.0, 2.0]))
    assert np.isnan(output[0, 0])
    assert output[0, 1] == 2.0
