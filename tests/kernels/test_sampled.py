"""Sampled softmax and noise-contrastive estimation against their formulas, and against the full softmax."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradient
from sampled_layer import SampledLayer

from fastlm import kernels

TOLERANCES = {np.float32: 2e-5, np.float64: 1e-12}
SHAPES = [(1, 3, 2, [1]), (9, 40, 5, [3, 0, 39]), (130, 300, 33, list(range(100, 30, -1)))]  # N, V, H, samples


def with_everything_sampled(N: int, V: int, H: int, dtype: type = np.float64) -> SampledLayer:
    layer = SampledLayer(N, V, H, list(range(V)), dtype, no_event=slice(0, None, 3))
    layer.inclusion[:], layer.penalty = 1, 0
    return layer


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_with_all_words_sampled_it_is_the_full_softmax(dtype: type) -> None:
    layer = with_everything_sampled(20, 37, 5, dtype).softmax().backward_weight()
    wide = [array.astype(np.float64) for array in (layer.hidden, layer.weight, layer.bias)]
    log_probs = reference.log_softmax(reference.linear_forward(*wide))
    dhidden, dweight, dbias = reference.softmax_loss_backward(wide[0], layer.targets, *wide[1:])
    expected = {
        "log_probs": np.where(layer.targets >= 0, log_probs[np.arange(20), layer.targets], 0),
        "dhidden": layer.factor * dhidden,
        "dweight": layer.factor * dweight,
        "dbias": layer.factor * dbias,
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(getattr(layer, name), wanted, TOLERANCES[dtype], TOLERANCES[dtype], err_msg=name)


def test_the_estimate_of_z_is_unbiased() -> None:
    """Averaged over all sets of words, each as likely as independent draws of its words make it."""
    layer = SampledLayer(3, 4, 2, [])
    layer.inclusion = np.array([0.9, 0.5, 0.3, 0.6])
    estimates = np.zeros(3)
    for chosen in range(1, 16):
        layer.samples = [word for word in range(4) if chosen >> word & 1]
        there = np.isin(np.arange(4), layer.samples)
        probability = np.where(there, layer.inclusion, 1 - layer.inclusion).prod()
        estimates += probability * np.exp(layer.logits() - layer.softmax().log_probs)
    estimates += np.prod(1 - layer.inclusion) * np.exp(layer.logits())  # nothing sampled: the target alone
    logits = reference.linear_forward(layer.hidden, layer.weight, layer.bias)
    np.testing.assert_allclose(estimates, np.exp(logits).sum(axis=1))


def test_a_sample_that_is_the_target_counts_once() -> None:
    with_hit, without = (SampledLayer(1, 5, 3, samples) for samples in ([4, 2, 0], [4, 0]))
    for layer in (with_hit, without):
        layer.targets[:] = 2
        layer.softmax()
    np.testing.assert_allclose(with_hit.dhidden, without.dhidden)
    np.testing.assert_allclose(with_hit.log_probs, without.log_probs)
    assert with_hit.dlogits[0, 1] == 0


def test_a_sample_that_is_the_target_is_noise_to_nce_as_any_other() -> None:
    layer = SampledLayer(1, 5, 3, [4, 2])
    layer.targets[:] = 2
    layer.nce().backward_weight()
    x = layer.logits()[0] - np.log(layer.expected[2])
    noise, data = layer.draws[1] / (1 + np.exp(-x)), -1 / (1 + np.exp(x))
    np.testing.assert_allclose(layer.dbias[1], layer.factor * (noise + data))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_the_logits_of_the_targets(shape: tuple[int, int, int, list[int]], dtype: type) -> None:
    layer = SampledLayer(*shape, dtype, no_event=slice(1, None, 4)).nce()
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(layer.log_probs, layer.logits(), tolerance, tolerance)
    logits = layer.poison(len(layer.targets))
    kernels.target_logits(logits, layer.hidden, layer.targets, layer.weight, layer.bias)
    assert logits.tobytes() == layer.log_probs.tobytes()


@pytest.mark.parametrize("kind", ["softmax", "nce"])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_near_float64(shape: tuple[int, int, int, list[int]], kind: str) -> None:
    near, exact = SampledLayer(*shape, np.float32), SampledLayer(*shape, np.float64)
    for name in ("hidden", "weight", "bias"):
        setattr(exact, name, getattr(near, name).astype(np.float64))
    for layer in (near, exact):
        getattr(layer, kind)().backward_weight()
    for name in ("log_probs", "dlogits", "dtargets", "dhidden", "dweight", "dbias"):
        np.testing.assert_allclose(getattr(near, name), getattr(exact, name), 1e-3, 1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_tokens_and_rows_in_any_parts_give_the_same_bytes(dtype: type) -> None:
    layer = SampledLayer(*SHAPES[2], dtype, no_event=slice(0, None, 5)).softmax().backward_weight()
    whole = {name: getattr(layer, name).tobytes() for name in ("dweight", "dbias")}
    R = len(layer.ids)
    for parts in ([(0, 1), (1, R)], [(100, R), (71, 100), (30, 71), (0, 30)], [(0, 0), (0, R), (R, R)]):
        layer.backward_weight(parts=parts)
        assert {name: getattr(layer, name).tobytes() for name in whole} == whole
    for kind in ("softmax", "nce"):
        names = ("log_probs", "dlogits", "dtargets", "dhidden")
        getattr(layer, kind)()
        whole = {name: getattr(layer, name)[60:] for name in names}
        layer.hidden, layer.targets = layer.hidden[60:], layer.targets[60:]
        getattr(layer, kind)()
        assert all(getattr(layer, name).tobytes() == whole[name].tobytes() for name in names)
        layer = SampledLayer(*SHAPES[2], dtype, no_event=slice(0, None, 5))


@pytest.mark.parametrize("size", [80.0, -80.0, 1e4, -1e4])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", ["softmax", "nce"])
def test_logits_far_apart_give_finite_gradients(kind: str, dtype: type, size: float) -> None:
    layer = SampledLayer(6, 5, 3, [0, 2], dtype)
    layer.bias[:] = [size, 0, -size, 3, -3]
    layer.targets[:] = [0, 1, 2, 3, 4, 0]
    getattr(layer, kind)().backward_weight()
    for name in ("log_probs", "dlogits", "dtargets", "dhidden", "dweight", "dbias"):
        assert np.isfinite(getattr(layer, name)).all(), name


@pytest.mark.parametrize("kind", ["softmax", "nce"])
def test_nan_in_one_hidden_state_stays_with_its_token(kind: str) -> None:
    layer, right = SampledLayer(*SHAPES[1]), SampledLayer(*SHAPES[1])
    layer.hidden[2, 1] = np.nan
    for one in (layer, right):
        getattr(one, kind)()
    assert np.isnan(layer.log_probs[2])
    assert np.isnan(layer.dhidden[2]).all()
    rest = np.arange(9) != 2
    assert (layer.dhidden[rest] == right.dhidden[rest]).all()


def test_gradients_of_repeated_targets_are_merged() -> None:
    layer = SampledLayer(4, 6, 3, [5])
    layer.targets[:] = [1, 5, 1, 1]
    layer.softmax().backward_weight()
    assert layer.ids == [5, 1]
    check_gradient(layer.softmax_loss, layer.weight, layer.dense(layer.dweight))
