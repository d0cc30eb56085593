"""Softmax cross-entropy at the ends of the range: shifts that rise from block to block, infinite logits, NaN."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from output_layer import OutputLayer

DTYPES = [np.float32, np.float64]
INF = np.inf


def run(logits: np.ndarray, targets: list[int] | np.ndarray, block: int) -> OutputLayer:
    return OutputLayer.of_logits(logits, targets, block).forward_backward().backward_weight()


def check(layer: OutputLayer) -> None:
    """Assert that all is that of the oracle, as exactly as sums of numbers as large as these logits can be."""
    size = np.abs(layer.weight[np.isfinite(layer.weight)]).max(initial=1) * len(layer.weight)
    layer.check(2e-7 * size if layer.dtype == np.float32 else 1e-14 * size)
    both = layer.log_probs.tobytes()
    assert layer.forward().log_probs.tobytes() == both


# Shifts that rise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 2, 7, 16, 64, 200])
@pytest.mark.parametrize("step", [0.25, 1, 9, 90, 1000, -1, -9, -90, -1000])  # from word to word
def test_logits_that_grow_along_the_vocabulary(step: float, block: int, dtype: type) -> None:
    logits = np.random.default_rng(1).normal(size=(20, 64)) + step * np.arange(64)
    check(run(logits.astype(dtype), np.arange(20) * 3, block))


@settings(max_examples=150)
@given(
    N=st.integers(1, 40),
    V=st.integers(1, 60),
    block=st.integers(1, 30),
    sizes=st.lists(st.sampled_from([0, 3, 8, 8.5, 20, 88, 104, 400]), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(DTYPES),
)
def test_shifts_rise_token_by_token(N: int, V: int, block: int, sizes: list[float], seed: int, dtype: type) -> None:
    """Every token has its own large words in its own blocks."""
    rng = np.random.default_rng(seed)
    far = rng.choice(sizes, size=(N, -(-V // block))) * rng.choice([-1, 1], size=(N, -(-V // block)))
    logits = rng.normal(size=(N, V)) + np.repeat(far, block, axis=1)[:, :V]
    targets = rng.integers(-1, V, size=N)
    check(run(logits.astype(dtype), targets, block))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rise", [7.9, 8.1, 86, 88, 104, 1e4])
def test_one_token_rises_and_its_neighbours_do_not(rise: float, dtype: type) -> None:
    logits = np.random.default_rng(2).normal(size=(40, 30)).astype(dtype)
    targets = np.random.default_rng(3).integers(30, size=40)
    even = run(logits, targets, 10)
    logits[37, 12] += dtype(rise)
    layer = run(logits, targets, 10)
    check(layer)
    rest = np.arange(40) != 37
    assert layer.log_probs[rest].tobytes() == even.log_probs[rest].tobytes()
    assert (layer.shifts[0] == even.shifts[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 7, 32])
def test_large_logits_give_finite_losses(block: int, dtype: type) -> None:
    logits = np.zeros((6, 7), dtype)
    logits[0, 2] = logits[1, 3] = 1e4
    logits[2, 4] = logits[3, 5] = -1e4
    logits[4], logits[5] = 1e4, -1e4
    targets = [2, 0, 4, 0, 6, 6]
    layer = run(logits, targets, block)
    expected = [0, -1e4, -1e4 - np.log(6), -np.log(6), -np.log(7), -np.log(7)]
    np.testing.assert_allclose(layer.log_probs, expected, 1e-6, 2e-3)  # float32 has steps of 1e-3 at 1e4
    np.testing.assert_allclose(layer.distributions()[range(6), targets], expected, 1e-6, 2e-3)
    check(layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("large", [(0, 1), (6, 0), (0, 6), (3, 2)])
def test_a_bias_of_ten_thousand_is_a_logit_of_ten_thousand(block: int, large: tuple[int, int], dtype: type) -> None:
    layer = OutputLayer(3, 7, 2, block, dtype)
    layer.bias[list(large)] = [1e4, -1e4]
    layer.targets[:] = [large[0], large[1], 5]
    layer.forward_backward().backward_weight().check(2e-3 if dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(layer.log_probs, [0, -2e4, -1e4], 1e-3, 1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("level", [1e3, -1e3, 1e6, -1e6])
def test_a_level_that_all_logits_share_does_not_matter(level: float, block: int, dtype: type) -> None:
    logits = np.zeros((3, 12), dtype)
    logits[:, 7] = [4, -4, 32]  # whole steps of float32 also at these levels
    layer = run(logits + dtype(level), [7, 7, 0], block)
    tolerance = 2 * np.finfo(dtype).eps * abs(level)  # that of log Z
    expected = reference.log_softmax(logits.astype(np.float64))
    np.testing.assert_allclose(layer.log_probs, expected[range(3), [7, 7, 0]], 0, tolerance)
    np.testing.assert_allclose(layer.probabilities, np.exp(expected), tolerance, 1e-300)


@pytest.mark.parametrize("level", [-2e9, -1e20, -1e30])
def test_logits_far_below_zero_are_seen(level: float) -> None:
    """What is left of differences between them is what float32 has at such a level; NaN is not among it."""
    logits = np.array([[1.0, 2.0, 1.0, 1.0]], np.float32) * np.float32(level)
    layer = run(logits, [0], 2)
    np.testing.assert_allclose(layer.log_probs, [-np.log(3)], 0, 2 * np.finfo(np.float32).eps * abs(level))
    assert np.isfinite(layer.log_probs).all()
    assert layer.probabilities[0, 1] == 0
    assert len(set(layer.probabilities[0, [0, 2, 3]])) == 1


# Words that cannot come


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 5, 16, 40])
@pytest.mark.parametrize(
    "words", [slice(0, 5), slice(5, 10), slice(0, 15), slice(11, 16), slice(0, 16, 2), slice(15, 16)], ids=str
)
def test_words_of_minus_infinity_have_no_probability(words: slice, block: int, dtype: type) -> None:
    """Among them whole blocks, also the first and the last."""
    layer = OutputLayer(20, 16, 4, block, dtype)
    layer.bias[words] = -INF
    possible = np.flatnonzero(np.isfinite(layer.bias))
    layer.targets[:] = np.resize(possible, 20)
    layer.targets[3] = -1
    layer.forward_backward().backward_weight().check(2e-5 if dtype == np.float32 else 1e-12)
    assert (layer.probabilities[:, words] == 0).all()
    np.testing.assert_array_equal(np.isneginf(layer.distributions()), np.isneginf(layer.bias)[None].repeat(20, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize("word", [0, 2, 7, 15])
def test_the_only_word_that_can_come_is_certain(word: int, block: int, dtype: type) -> None:
    layer = OutputLayer(3, 16, 4, block, dtype)
    layer.bias[np.arange(16) != word] = -INF
    layer.targets[:] = [word, -1, word]
    layer.forward_backward().backward_weight()
    np.testing.assert_allclose(layer.log_probs, 0, atol=1e-6)
    np.testing.assert_allclose(layer.probabilities[:, word], 1, 1e-6)
    for gradient in (layer.dhidden, layer.dweight - 1, layer.dbias - 1):
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 16])
def test_what_cannot_come_and_comes_costs_infinitely_much(block: int, dtype: type) -> None:
    layer = OutputLayer(3, 16, 4, block, dtype)
    layer.bias[6] = -INF
    layer.targets[:] = [6, 2, 6]
    layer.forward_backward().backward_weight()
    assert np.isneginf(layer.log_probs[[0, 2]]).all()
    assert np.isfinite(layer.log_probs[1])
    assert np.isneginf(layer.forward().log_probs[[0, 2]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 16])
def test_no_word_that_can_come_is_no_silent_loss(block: int, dtype: type) -> None:
    layer = OutputLayer(3, 16, 4, block, dtype)
    layer.bias[:] = -INF
    layer.forward_backward().backward_weight()
    assert not np.isfinite(layer.log_probs).any()
    assert np.isnan(layer.dhidden).all()
    assert not np.isfinite(layer.dweight).any()
    assert not np.isfinite(layer.forward().log_probs).any()


# NaN and infinity


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 2, 16, 64])
@pytest.mark.parametrize("bad", [np.nan, INF])
@pytest.mark.parametrize("place", [0, 5, 16, 35, 36])
@pytest.mark.parametrize("later", [0, 100], ids=["even", "rising"])
def test_what_is_not_finite_is_never_a_silent_loss(
    bad: float, place: int, later: float, block: int, dtype: type
) -> None:
    logits = np.random.default_rng(place).normal(size=(1, 37)) + later * (np.arange(37) > place)
    logits[0, place] = bad
    layer = run(logits.astype(dtype), [1], block)
    for result in (layer.log_probs, layer.norms, layer.dhidden, layer.dbias, layer.distributions()[:, place]):
        assert np.isnan(result).all()
    assert np.isnan(layer.forward().log_probs).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_one_hidden_state_stays_in_its_row(dtype: type) -> None:
    layer = OutputLayer(4, 40, 3, 16, dtype)
    right = OutputLayer(4, 40, 3, 16, dtype).forward_backward()
    layer.hidden[2, 1] = np.nan
    layer.forward_backward()
    log_probs = layer.distributions()
    assert np.isnan(layer.log_probs[2])
    assert np.isnan(log_probs[2]).all()
    assert np.isnan(layer.dhidden[2]).all()
    rest = [0, 1, 3]
    assert layer.log_probs[rest].tobytes() == right.log_probs[rest].tobytes()
    assert layer.dhidden[rest].tobytes() == right.dhidden[rest].tobytes()
    assert np.isfinite(log_probs[rest]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_nan_in_a_hidden_state_reaches_the_whole_weight_gradient(dtype: type, accumulate: bool) -> None:
    layer = OutputLayer(4, 40, 3, 16, dtype)
    layer.hidden[2, 1] = np.nan
    layer.forward_backward().backward_weight(accumulate=accumulate)
    assert np.isnan(layer.dweight).any(axis=1).all()
    assert np.isnan(layer.dbias).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["weight", "bias"])
@pytest.mark.parametrize("word", [0, 16, 39])
def test_nan_in_a_parameter_reaches_every_event(word: int, where: str, dtype: type) -> None:
    layer = OutputLayer(20, 40, 3, 16, dtype)
    getattr(layer, where)[word] = np.nan
    layer.forward_backward().backward_weight()
    assert np.isnan(layer.log_probs).all()
    assert np.isnan(layer.dhidden).all()
    assert np.isnan(layer.dweight).all()
    assert np.isnan(layer.dbias).all()
    assert np.isnan(layer.forward().log_probs).all()
