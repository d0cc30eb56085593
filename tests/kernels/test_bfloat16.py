"""Products that round their operands to bfloat16: against exact arithmetic, and against NumPy on rounded operands."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import matrix_checks
import numpy as np
import pytest
import reference
from guards import Guards
from hypothesis import given, settings
from hypothesis import strategies as st
from matrix_checks import check_exactly, check_slices, oracle, products, real_numbers
from output_layer import OutputLayer

from fastlm import kernels
from fastlm.kernels.matrix import tiles_are_possible, use_bfloat16

needs_amx = pytest.mark.skipif(not tiles_are_possible(), reason="this CPU has no AMX-BF16")

# Tiles are of 16 rows, 16 columns and 32 in depth; parts of 192 rows and 768 in depth.
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([95, 96, 97, 191, 192, 193, 400]))
DEPTHS = st.one_of(SIZES, st.sampled_from([767, 768, 769, 800, 1537]))


@pytest.fixture(autouse=True)
def rounded() -> Iterator[None]:
    if not tiles_are_possible():
        yield
        return
    before = use_bfloat16(True)
    yield
    use_bfloat16(before)


def pack(matrix: np.ndarray) -> np.ndarray:
    """Pack by both kernels, which must agree where anything is read."""
    guards, (depth, columns) = Guards(), matrix.shape
    shape = -(-columns // 32), depth, 32
    panels, others = guards.array(np.float32, *shape), guards.array(np.float32, *shape)
    kernels.pack_matrix(panels, guards.around(np.ascontiguousarray(matrix)))
    kernels.pack_transposed(others, guards.around(np.ascontiguousarray(matrix.T)))
    guards.check()
    pairs = -(-depth // 2)
    one, other = (array.reshape(len(array), depth * 32).view(np.uint16)[:, : 64 * pairs] for array in (panels, others))
    assert (one == other).all()
    return panels


def bfloat16(array: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even."""
    bits = array.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32)


@needs_amx
def test_products_of_small_whole_numbers_are_exact() -> None:
    """They are bfloat16 as they are, and so are the sums float32."""
    bounds = (1, 2, 15, 16, 17, 31, 32, 33)
    for shape in [*product(bounds, bounds, (1, 17, 65)), *product((191, 192, 193, 768, 769), (33,), (5, 193))]:
        check_exactly(*shape, np.float32, pack)


@needs_amx
@settings(max_examples=30)
@given(N=SIZES, D=DEPTHS, H=SIZES)
def test_products_of_any_shape_are_exact(N: int, D: int, H: int) -> None:
    check_exactly(N, D, H, np.float32, pack)


@needs_amx
@settings(max_examples=20)
@given(N=SIZES, D=DEPTHS, H=SIZES)
def test_operands_are_rounded_and_sums_are_not(N: int, D: int, H: int) -> None:
    arrays = matrix_checks.operands(N, D, H, np.float32, real_numbers)
    near = {name: bfloat16(array) if name != "b" else array for name, array in arrays.items()}
    expected, size = oracle(**near), oracle(**{name: np.abs(array) for name, array in near.items()})
    results = products(**arrays, pack=pack)
    for name, depth in {"y": D + 1, "dx": H, "dw": N}.items():
        error = np.abs(results[name] - expected[name])
        assert (error <= (depth + 1) * np.finfo(np.float32).eps * size[name]).all(), (name, N, D, H)


@needs_amx
@settings(max_examples=30)
@given(N=SIZES, D=DEPTHS, H=SIZES, data=st.data())
def test_rows_of_a_product_do_not_depend_on_each_other(N: int, D: int, H: int, data: st.DataObject) -> None:
    def part(size: int) -> slice:
        return slice(*sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))))

    check_slices(N, D, H, np.float32, part(N), part(H), pack)


@needs_amx
@pytest.mark.parametrize(
    "shape",
    [(1, 5, 3, 1), (3, 7, 5, 3), (17, 250, 64, 99), (130, 60, 32, 168), (300, 500, 33, 168), (800, 300, 17, 200)],
)
def test_the_softmax_is_near_its_oracle(shape: tuple[int, int, int, int]) -> None:
    """Its products read panels that were never packed, and several of them for one block of the table."""
    layer = OutputLayer(*shape, np.float32, no_event=slice(0, None, 5))
    layer.pack, layer.has_targets = pack, False
    layer.hidden, layer.weight = (layer.guards.around(bfloat16(array)) for array in (layer.hidden, layer.weight))
    layer.forward_backward().backward_weight().check(0.02)
    logits = reference.linear_forward(*(array.astype(np.float64) for array in (layer.hidden, layer.weight, layer.bias)))
    rows = np.flatnonzero(layer.targets >= 0)
    expected = reference.log_softmax(logits)[rows, layer.targets[rows]]
    np.testing.assert_allclose(layer.log_probs[rows], expected, 2e-5, 2e-5)  # nothing was left to round before it


@needs_amx
@pytest.mark.parametrize("margin", [2.0, 12.0, 20.0])
def test_gradients_of_well_predicted_tokens_are_no_rounding_errors(margin: float) -> None:
    """P - y is then much less than what p w and w, both rounded, differ by."""
    N, V, H = 70, 90, 32
    layer = OutputLayer(N, V, H, 40, np.float32)
    layer.pack, layer.penalty = pack, 0.05
    layer.weight = layer.guards.around(bfloat16(layer.weight))
    layer.hidden = layer.guards.around(bfloat16(0.1 * layer.hidden))
    layer.hidden += bfloat16(np.float32(margin / H) * layer.weight[layer.targets])
    layer.hidden[:] = bfloat16(layer.hidden)
    layer.dweight[:], layer.dbias[:] = 0, 0
    layer.forward_backward().backward_weight()
    hidden, targets, weight, bias = layer.wide()
    logits = reference.linear_forward(hidden, weight, bias)
    log_norms = np.log(np.exp(logits).sum(axis=1, keepdims=True))
    dlogits = np.exp(logits - log_norms) * (1 + 2 * layer.penalty * log_norms) - np.eye(V)[targets]
    for name, one in [("dhidden", dlogits @ weight), ("dweight", dlogits.T @ hidden), ("dbias", dlogits.sum(axis=0))]:
        expected = layer.factor * one
        error = np.linalg.norm(getattr(layer, name) - expected)
        assert error <= 0.01 * np.linalg.norm(expected), (name, error / np.linalg.norm(expected))


@needs_amx
@pytest.mark.parametrize(("B", "S", "D", "size"), [(3, 9, 5, 3), (5, 12, 33, 4), (1, 7, 40, 1)])
def test_windows_are_packed_as_their_rows_are(B: int, S: int, D: int, size: int) -> None:
    """Runs of an odd number of places make pairs of rows of two runs."""
    T = S - size + 1
    runs = real_numbers(np.float32, B, S, D)
    panels = np.empty((-(-size * D // 32), B * T, 32), np.float32)
    kernels.pack_windows(panels, runs, size)
    windows = np.stack([runs[b, t : t + size].reshape(-1) for b in range(B) for t in range(T)])
    used = 64 * -(-B * T // 2)
    one, other = (array.reshape(len(array), -1).view(np.uint16)[:, :used] for array in (panels, pack(windows)))
    assert (one == other).all()


@needs_amx
def test_a_thread_says_it_for_itself() -> None:
    with ThreadPoolExecutor(1) as other:
        assert other.submit(use_bfloat16, False).result() is False
        assert use_bfloat16(True) is True
        assert other.submit(use_bfloat16, True).result() is False
        assert use_bfloat16(False) is True
        assert other.submit(use_bfloat16, False).result() is True


@needs_amx
def test_float64_is_never_rounded() -> None:
    check_exactly(20, 300, 33, np.float64)
    arrays = matrix_checks.operands(20, 300, 33, np.float64, real_numbers)
    np.testing.assert_allclose(products(**arrays)["y"], oracle(**arrays)["y"], rtol=1e-12)


@pytest.mark.skipif(tiles_are_possible(), reason="this CPU has AMX-BF16")
def test_it_is_refused_where_it_is_not_possible() -> None:
    assert use_bfloat16(False) is False
    with pytest.raises(ValueError, match="not possible on this machine: its CPU has no AMX-BF16"):
        use_bfloat16(True)
