"""Softmax cross-entropy against its oracle, in panels of tokens and blocks of words; its range is another file's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from output_layer import OutputLayer

TOLERANCES = {np.float32: 2e-5, np.float64: 1e-12}
SHAPES = [  # N, V, H, block; a panel holds 32 tokens of float32, 16 of float64
    (1, 1, 1, 1),
    (1, 5, 3, 1),
    (4, 12, 1, 4),
    (3, 7, 5, 3),
    (2, 6, 3, 20),  # fewer words than a block
    (9, 101, 33, 16),
    (16, 40, 6, 10),
    (17, 250, 64, 100),
    (32, 129, 31, 126),
    (33, 126, 32, 126),
    (70, 55, 7, 8),
    (300, 20, 33, 8),  # so many panels that the depth of the weight's gradient is taken in parts
    (600, 9, 3, 4),
]
TARGETS = {"all": slice(0), "some": slice(0, None, 2), "none": slice(None)}  # where there is no event


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("no_event", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_equals_the_oracle(shape: tuple[int, int, int, int], no_event: slice, dtype: type) -> None:
    layer = OutputLayer(*shape, dtype, no_event=no_event).forward_backward().backward_weight()
    tolerance = TOLERANCES[dtype]
    layer.check(tolerance)
    hidden, targets, weight, bias = layer.wide()
    logits = reference.linear_forward(hidden, weight, bias)
    np.testing.assert_allclose(layer.norms, np.log(np.exp(logits).sum(axis=1)), tolerance, tolerance)
    np.testing.assert_allclose(layer.distributions(), reference.log_softmax(logits), tolerance, tolerance)
    assert (layer.log_probs[targets < 0] == 0).all()
    assert (layer.dhidden[targets < 0] == 0).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_penalty_on_log_z_equals_the_oracle(shape: tuple[int, int, int, int], dtype: type) -> None:
    layer, plain = (OutputLayer(*shape, dtype, no_event=slice(0, None, 3)) for _ in range(2))
    layer.penalty = 0.4
    layer.forward_backward().backward_weight()
    plain.forward_backward()
    assert layer.log_probs.tobytes() == plain.log_probs.tobytes()
    hidden, targets, weight, bias = layer.wide()
    log_norms = np.log(np.exp(reference.linear_forward(hidden, weight, bias)).sum(axis=1))
    dlogits = np.where(targets >= 0, 0.8 * log_norms, 0)[:, None] * plain.probabilities  # beside p - y
    expected = reference.softmax_loss_backward(*layer.wide())
    more = (dlogits @ weight, dlogits.T @ hidden, dlogits.sum(axis=0))
    for name, one, other, before in zip(("dhidden", "dweight", "dbias"), expected, more, (0, 1, 1), strict=True):
        wanted = before + layer.factor * (one + other)
        np.testing.assert_allclose(getattr(layer, name), wanted, *2 * [3 * TOLERANCES[dtype]], err_msg=name)
    np.testing.assert_allclose(layer.squares, layer.squares_of_blocks, rtol=1e-5)
    layer.guards.check()


@settings(max_examples=60)
@given(
    N=st.one_of(st.integers(1, 100), st.sampled_from([256, 257, 289, 512, 513, 769])),
    V=st.integers(1, 150),
    H=st.integers(1, 70),
    block=st.integers(1, 160),
    dtype=st.sampled_from(list(TOLERANCES)),
    no_event=st.sampled_from([slice(0), slice(0, None, 3), slice(-1, None)]),
)
def test_shapes_of_every_kind_equal_the_oracle(
    N: int, V: int, H: int, block: int, dtype: type, no_event: slice
) -> None:
    layer = OutputLayer(N, V, H, block, dtype, no_event=no_event)
    layer.forward_backward().backward_weight().check(3 * TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_alone_gives_the_same_bytes(shape: tuple[int, int, int, int], dtype: type) -> None:
    both = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward_backward()
    alone = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward()
    assert alone.log_probs.tobytes() == both.log_probs.tobytes()
    assert alone.log_norms.tobytes() == both.log_norms.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_distributions_sum_to_one_and_hold_the_log_probs(shape: tuple[int, int, int, int], dtype: type) -> None:
    layer = OutputLayer(*shape, dtype).forward()
    log_probs = layer.distributions()
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, tolerance)
    np.testing.assert_allclose(log_probs[np.arange(shape[0]), layer.targets], layer.log_probs, tolerance, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_size_of_the_blocks_does_not_matter(shape: tuple[int, int, int, int], dtype: type) -> None:
    N, V, H, block = shape
    tolerance = TOLERANCES[dtype]
    one = OutputLayer(N, V, H, V, dtype).forward_backward().backward_weight()
    many = OutputLayer(N, V, H, block, dtype).forward_backward().backward_weight()
    for name in ("log_probs", "log_norms", "dhidden", "dweight", "dbias"):
        np.testing.assert_allclose(getattr(many, name), getattr(one, name), tolerance, tolerance)


# Tokens beside each other


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 16])
def test_panels_of_tokens_do_not_depend_on_each_other(shape: tuple[int, int, int, int], dtype: type) -> None:
    width = 128 // np.dtype(dtype).itemsize
    whole = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward_backward()
    for first in range(0, shape[0], width):
        for last in range(first + width, shape[0] + width, width):
            part = OutputLayer(*shape, dtype, no_event=slice(0, None, 3))
            part.hidden, part.targets = part.hidden[first:last], part.targets[first:last]
            part.forward_backward()
            panels = slice(first // width, last // width)
            for name in ("log_norms", "exps", "shifts"):
                assert getattr(part, name).tobytes() == getattr(whole, name)[panels].tobytes()
            assert part.log_probs.tobytes() == whole.log_probs[first:last].tobytes()
            assert part.dhidden.tobytes() == whole.dhidden[first:last].tobytes()
            assert part.forward().log_probs.tobytes() == whole.log_probs[first:last].tobytes()


@settings(max_examples=40)
@given(N=st.integers(1, 70), tokens=st.data(), dtype=st.sampled_from(list(TOLERANCES)))
def test_a_token_does_not_depend_on_its_place_in_a_panel(N: int, tokens: st.DataObject, dtype: type) -> None:
    whole = OutputLayer(N, 41, 9, 13, dtype).forward_backward()
    order = np.array(tokens.draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=40)))
    other = OutputLayer(N, 41, 9, 13, dtype)
    other.hidden, other.targets = other.hidden[order], other.targets[order]
    other.forward_backward()
    assert other.log_probs.tobytes() == whole.log_probs[order].tobytes()
    assert other.norms.tobytes() == whole.norms[order].tobytes()
    assert other.dhidden.tobytes() == whole.dhidden[order].tobytes()


def test_threads_that_share_the_tokens_give_the_same_bytes() -> None:
    whole = OutputLayer(200, 300, 33, 126, np.float32).forward_backward()
    parts = [OutputLayer(200, 300, 33, 126, np.float32) for _ in range(7)]
    for number, part in enumerate(parts):
        tokens = slice(32 * number, 32 * number + 32)
        part.hidden, part.targets = part.hidden[tokens], part.targets[tokens]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(OutputLayer.forward_backward, parts))
    assert b"".join(part.log_probs.tobytes() for part in parts) == whole.log_probs.tobytes()
    assert b"".join(part.dhidden.tobytes() for part in parts) == whole.dhidden.tobytes()


# Blocks of words


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_blocks_in_any_parts_give_the_same_bytes(
    shape: tuple[int, int, int, int], dtype: type, accumulate: bool
) -> None:
    first = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward_backward()
    first.backward_weight(accumulate=accumulate)
    K = first.num_blocks
    one_by_one = [(k, k + 1) for k in np.random.default_rng(1).permutation(K).tolist()]
    for parts in (one_by_one, one_by_one[::-1], [(K // 2, K), (0, K // 3), (K // 3, K // 2), (K, K)]):
        other = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward_backward()
        other.backward_weight(parts, accumulate=accumulate)
        assert other.dweight.tobytes() == first.dweight.tobytes()
        assert other.dbias.tobytes() == first.dbias.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_overwritten_is_what_is_added_to_zero(shape: tuple[int, int, int, int], dtype: type) -> None:
    layer = OutputLayer(*shape, dtype, no_event=slice(0, None, 3)).forward_backward()
    layer.dweight[...], layer.dbias[...] = 0, 0
    layer.backward_weight(accumulate=True)
    added = layer.dweight.copy(), layer.dbias.copy()
    layer.dweight[...], layer.dbias[...] = np.nan, np.nan
    layer.backward_weight(accumulate=False)
    np.testing.assert_array_equal(layer.dweight, added[0])
    np.testing.assert_array_equal(layer.dbias, added[1])


def test_threads_that_share_the_blocks_give_the_same_bytes() -> None:
    first, shared = (OutputLayer(20, 950, 33, 100, np.float32).forward_backward() for _ in range(2))
    first.backward_weight()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: shared.backward_weight([(k, k + 1)]), range(shared.num_blocks)))
    assert shared.dweight.tobytes() == first.dweight.tobytes()
    assert shared.dbias.tobytes() == first.dbias.tobytes()


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_block_touches_its_own_rows_alone(accumulate: bool) -> None:
    layer = OutputLayer(4, 10, 3, 4, np.float64).forward_backward().backward_weight([(1, 2)], accumulate=accumulate)
    outside = [0, 1, 2, 3, 8, 9]
    assert (layer.dweight[4:8] != 1).all()
    assert (layer.dbias[4:8] != 1).all()
    assert (layer.dweight[outside] == 1).all()
    assert (layer.dbias[outside] == 1).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gradients_of_a_row_sum_to_zero_over_the_vocabulary(dtype: type) -> None:
    layer = OutputLayer(5, 33, 4, 8, dtype).forward_backward()
    layer.backward_weight(accumulate=False)
    assert abs(layer.dbias.sum()) < 10 * TOLERANCES[dtype]


# Tokens without an event


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_without_events_there_is_no_loss_and_no_gradient(dtype: type) -> None:
    layer = OutputLayer(40, 10, 3, 4, dtype, no_event=slice(None)).forward_backward().backward_weight()
    assert (layer.log_probs == 0).all()
    assert (layer.dhidden == 0).all()
    assert (layer.dweight == 1).all()
    assert (layer.dbias == 1).all()
    layer.backward_weight(accumulate=False)
    assert (layer.dweight == 0).all()
    assert (layer.dbias == 0).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_any_negative_target_is_no_event(dtype: type) -> None:
    layer = OutputLayer(3, 10, 3, 4, dtype)
    layer.targets[:] = [-1, -4, -(2**31)]
    layer.forward_backward().backward_weight()
    assert (layer.log_probs == 0).all()
    assert (layer.forward().log_probs == 0).all()
    assert (layer.dhidden == 0).all()
    assert (layer.dweight == 1).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_token_without_an_event_changes_nothing_for_the_others(dtype: type) -> None:
    events = OutputLayer(20, 30, 5, 7, dtype).forward_backward()
    layer = OutputLayer(20, 30, 5, 7, dtype, no_event=slice(0, None, 4)).forward_backward().backward_weight()
    rest = layer.targets >= 0
    assert layer.dhidden[rest].tobytes() == events.dhidden[rest].tobytes()
    fewer = OutputLayer(20, 30, 5, 7, dtype)
    fewer.hidden, fewer.targets = fewer.hidden[rest], fewer.targets[rest]
    fewer.forward_backward().backward_weight()
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(layer.dweight, fewer.dweight, tolerance, tolerance)
    np.testing.assert_allclose(layer.dbias, fewer.dbias, tolerance, tolerance)


def test_without_tokens_the_gradient_is_zero() -> None:
    layer = OutputLayer(0, 10, 3, 4, np.float64).forward_backward().backward_weight(accumulate=False)
    assert (layer.dweight == 0).all()
    assert (layer.dbias == 0).all()
