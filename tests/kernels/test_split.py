"""Products of float32 that are split into three bfloat16: as exact as float32."""

from itertools import product

import matrix_checks
import numpy as np
import pytest
import reference
from guards import Guards
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matrix_checks import check_exactly, check_nearly, check_slices, oracle, products
from output_layer import OutputLayer

from fastlm import kernels
from fastlm.kernels.matrix import split_height, tiles_are_possible

pytestmark = pytest.mark.skipif(not tiles_are_possible(), reason="this CPU has no AMX-BF16")

# Tiles are of 16 rows, 16 columns and 32 in depth; parts of 192 rows and 768 in depth.
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([95, 96, 97, 191, 192, 193, 400]))
DEPTHS = st.one_of(SIZES, st.sampled_from([767, 768, 769, 800, 1537]))
NUMBERS = st.one_of(  # the smallest parts of smaller ones are subnormal
    st.just(0.0), *(st.floats(*bounds, width=32) for bounds in [(2.0**-100, 2.0**126), (-(2.0**126), -(2.0**-100))])
)


def pack(matrix: np.ndarray) -> np.ndarray:
    """Pack by both kernels, which must agree in every byte."""
    guards, (depth, columns) = Guards(), matrix.shape
    shape = -(-columns // 32), split_height(depth), 32
    panels, others = guards.array(np.float32, *shape), guards.array(np.float32, *shape)
    kernels.pack_matrix(panels, guards.around(np.ascontiguousarray(matrix)))
    kernels.pack_transposed(others, guards.around(np.ascontiguousarray(matrix.T)))
    guards.check()
    assert panels.tobytes() == others.tobytes()
    return panels


def parts_of(matrix: np.ndarray) -> np.ndarray:
    """Return the three parts of each element as the kernels have packed them, (3, D, N)."""
    (depth, columns), panels = matrix.shape, pack(matrix)
    pairs = panels.view(np.uint16).reshape(len(panels), 3, -1, 32, 2).astype(np.uint32) << 16
    rows = pairs.view(np.float32).transpose(1, 2, 4, 0, 3)
    assert not rows.reshape(3, -1, len(panels) * 32)[:, depth:].any()
    assert not rows.reshape(3, -1, len(panels) * 32)[:, :, columns:].any()
    return rows.reshape(3, -1, len(panels) * 32)[:, :depth, :columns]


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 70)), elements=NUMBERS))
def test_the_sum_of_the_parts_is_the_number_itself(matrix: np.ndarray) -> None:
    first, second, third = parts_of(matrix).astype(np.float64)
    assert ((first + second + third) == matrix).all()
    assert (np.abs(second) <= np.abs(first) / 256).all()
    assert (np.abs(third) <= np.abs(second) / 256).all()


def test_products_of_small_whole_numbers_are_exact() -> None:
    bounds = (1, 2, 15, 16, 17, 31, 32, 33)
    for shape in [*product(bounds, bounds, (1, 17, 65)), *product((191, 192, 193, 768, 769), (33,), (5, 193))]:
        check_exactly(*shape, np.float32, pack)


def test_products_are_exact_where_all_parts_are_wanted() -> None:
    """Numbers of 12 bits: a product has 24, and a sum of two that cancel is exact; one bfloat16 has 8."""
    rng = np.random.default_rng(1)
    x, w = (rng.integers(1 << 11, 1 << 12, (40, 1)).astype(np.float32) for _ in range(2))
    results = products(x, w, np.zeros(40, np.float32), np.ones((40, 40), np.float32), pack)
    assert np.array_equal(results["y"], x.astype(np.float64) @ w.astype(np.float64).T)


@settings(max_examples=30)
@given(N=SIZES, D=DEPTHS, H=SIZES)
def test_products_of_any_shape_are_exact(N: int, D: int, H: int) -> None:
    check_exactly(N, D, H, np.float32, pack)


@settings(max_examples=20)
@given(N=SIZES, D=DEPTHS, H=SIZES)
def test_products_are_as_near_as_those_of_float32(N: int, D: int, H: int) -> None:
    check_nearly(N, D, H, np.float32, pack)


def test_errors_are_no_larger_than_those_of_vectors() -> None:
    operands = matrix_checks.operands(250, 700, 130, np.float32, matrix_checks.real_numbers)
    expected, split, plain = oracle(**operands), products(**operands, pack=pack), products(**operands)
    for name in ("y", "dx", "dw"):
        one, other = (np.sqrt(((result[name] - expected[name]) ** 2).mean()) for result in (split, plain))
        assert one <= 1.1 * other, name


@settings(max_examples=30)
@given(N=SIZES, D=DEPTHS, H=SIZES, data=st.data())
def test_rows_of_a_product_do_not_depend_on_each_other(N: int, D: int, H: int, data: st.DataObject) -> None:
    def part(size: int) -> slice:
        return slice(*sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))))

    check_slices(N, D, H, np.float32, part(N), part(H), pack)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max])
def test_what_is_not_finite_stays_in_its_row(bad: float) -> None:
    operands = matrix_checks.operands(40, 70, 33, np.float32, matrix_checks.real_numbers)
    clean = products(**operands, pack=pack)["y"]
    operands["x"][5, 3] = bad
    output = products(**operands, pack=pack)["y"]
    assert not np.isfinite(output[5]).any()
    rest = np.arange(40) != 5
    assert output[rest].tobytes() == clean[rest].tobytes()


@pytest.mark.parametrize("together", [1, 2, 32])
@pytest.mark.parametrize(
    "shape",
    [(1, 5, 3, 1), (3, 7, 5, 3), (17, 250, 64, 99), (130, 60, 32, 168), (300, 500, 33, 168), (1100, 300, 17, 200)],
)
def test_the_softmax_is_its_oracle(shape: tuple[int, int, int, int], together: int) -> None:
    """Its products read panels that were never packed, and several of them for one block of the table."""
    layer = OutputLayer(*shape, np.float32, no_event=slice(0, None, 5))
    layer.pack, layer.height, layer.together = pack, split_height, together
    layer.forward_backward().backward_weight().check(3e-5)
    both = layer.log_probs
    np.testing.assert_allclose(layer.forward().log_probs, both, 1e-6, 1e-6)


def test_whole_distributions_are_those_of_the_formula() -> None:
    layer = OutputLayer(70, 250, 64, 99, np.float32)
    log_probs, logits = np.empty((70, 250), np.float32), np.empty((2, 99, 32), np.float32)
    panels = pack(layer.hidden.T)
    kernels.softmax_log_probs_batch(log_probs, panels, layer.weight, layer.bias, logits, np.empty(250, np.float32))
    hidden, _, weight, bias = layer.wide()
    expected = reference.log_softmax(reference.linear_forward(hidden, weight, bias))
    np.testing.assert_allclose(log_probs, expected, 1e-5, 1e-5)


def test_only_float32_is_split() -> None:
    with pytest.raises(ValueError, match=r"the panels have shape \(1, 3, 16\), expected \(1, 2, 16\): 5 columns of 2"):
        kernels.pack_matrix(np.empty((1, split_height(2), 16)), np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"expected \(1, 2, 32\) or, split, \(1, 3, 32\): 5 columns of 2"):
        kernels.pack_matrix(np.empty((1, 4, 32), np.float32), np.ones((2, 5), np.float32))
