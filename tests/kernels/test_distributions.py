"""Whole distributions: by products and by vectors, entropies and ranks by the definition."""

import numpy as np
import pytest
import reference

from fastlm import kernels

TYPES = [np.float32, np.float64]
SHAPES = [(1, 1, 1), (1, 7, 3), (3, 50, 5), (33, 41, 1), (70, 101, 13), (64, 32, 16)]  # N, V, H


def draw(*shapes, dtype):
    random = np.random.default_rng(4)
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def by_products(hidden, weight, bias, block):
    width = kernels.PANEL_BYTES // hidden.itemsize
    panels = np.empty((-(-len(hidden) // width), hidden.shape[1], width), hidden.dtype)
    kernels.pack_transposed(panels, hidden)
    log_probs = np.full((len(hidden), len(weight)), np.nan, hidden.dtype)
    kernels.softmax_log_probs_batch(
        log_probs, panels, weight, bias, np.full((2, block, width), np.nan, hidden.dtype), np.full_like(bias, np.nan)
    )
    return log_probs


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 8, 1000])
def test_distributions_by_products_are_those_of_the_formula(shape, dtype, block):
    N, V, H = shape
    hidden, weight, bias = draw((N, H), (V, H), (V,), dtype=dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    found = by_products(hidden, weight, bias, block)
    expected = reference.log_softmax(reference.linear_forward(*(a.astype(np.float64) for a in (hidden, weight, bias))))
    np.testing.assert_allclose(found, expected, tolerance, tolerance)
    by_vectors = np.empty_like(found)
    kernels.softmax_log_probs(by_vectors, hidden, weight, bias, np.empty_like(bias))
    np.testing.assert_allclose(found, by_vectors, tolerance, tolerance)
    assert found[: N // 2].tobytes() == by_products(hidden[: N // 2], weight, bias, block).tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 1000)])
def test_entropies_and_ranks_are_those_of_the_definition(shape, dtype):
    N, V = shape
    (logits,) = draw(shape, dtype=np.float64)
    log_probs = reference.log_softmax(3 * logits).astype(dtype)
    targets = np.random.default_rng(5).integers(0, V, N).astype(np.int32)
    entropies, ranks = np.full(N, np.nan), np.full(N, -1, np.int32)
    kernels.entropies_and_ranks(entropies, ranks, log_probs, targets, np.full((2, V), np.nan, dtype))
    exact = log_probs.astype(np.float64)
    np.testing.assert_allclose(entropies, -(np.exp(exact) * exact).sum(axis=1), 1e-5, 1e-7)
    assert ranks.tolist() == [1 + int((row > row[target]).sum()) for row, target in zip(exact, targets, strict=True)]


def test_what_has_no_probability_adds_nothing_to_the_entropy():
    log_probs = np.array([[0.0, -np.inf, -np.inf], [-np.inf, np.log(0.5), np.log(0.5)]])
    entropies, ranks = np.empty(2), np.empty(2, np.int32)
    kernels.entropies_and_ranks(entropies, ranks, log_probs, np.array([1, 2], np.int32), np.empty((2, 3)))
    assert entropies == pytest.approx([0, np.log(2)])
    assert ranks.tolist() == [2, 1]
