"""What holds for every output layer: distributions, gradients, the order of the words, threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Embedding
from fastlm.nn.optimizers import Adam, gradient_norm
from fastlm.nn.outputs import (
    NCE,
    OUTPUTS,
    AdaptiveSoftmax,
    ClassSoftmax,
    OutputLayer,
    Projected,
    SampledSoftmax,
    Softmax,
)
from fastlm.nn.parameters import Parameter, RandomParameters, Rows, StoredParameters
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
H, V = 6, 41
SMALL: dict[str, dict[str, Any]] = {
    "softmax": {},
    "class": {"num_classes": 5},
    "adaptive": {"cutoffs": [9, 20]},
    "sampled": {"num_samples": 12},
    "nce": {"num_samples": 12},
}
EXACT = ["softmax", "class", "adaptive"]
SAMPLED = ["sampled", "nce"]


@pytest.fixture(params=OUTPUTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make_counts(size: int = V) -> np.ndarray:
    """Return counts as in a text, in no order."""
    return np.random.default_rng(4).permutation((10_000 / np.arange(1, size + 1)).astype(np.int64))


def make(kind: str, dtype: type = np.float64, *, size: int = V, hidden: int = H, **options: Any) -> OutputLayer:
    """Make a layer whose biases are not those that it starts with."""
    options = {**SMALL[kind], **options}
    layer = OUTPUTS[kind]("output", hidden, size, RandomParameters(2, dtype), make_counts(size), **options)
    for parameter in layer.parameters:
        parameter.value += np.random.default_rng(7).normal(0, 0.3, parameter.value.shape).astype(dtype)
    return layer


def tokens(N: int, dtype: type = np.float64, *, size: int = V, hidden: int = H) -> tuple[np.ndarray, np.ndarray]:
    """Return hidden units and targets; a third of the rows have none."""
    random = np.random.default_rng(N)
    targets = np.where(random.random(N) < 0.3, -1, random.integers(0, size, N)).astype(np.int32)
    targets[-1] = size - 1
    return random.normal(size=(N, hidden)).astype(dtype), targets


def dense(parameter: Parameter) -> np.ndarray:
    """Return a gradient as an array like the parameter's value."""
    rows = parameter.gradient_rows()
    gradient = np.zeros_like(parameter.matrix)
    gradient[rows.ids] = rows.values
    return gradient.reshape(parameter.value.shape)


def learn(
    layer: OutputLayer, hidden: np.ndarray, targets: np.ndarray, workspace: Workspace, factor: float = 1.0
) -> tuple[float, np.ndarray]:
    for parameter in layer.parameters:
        parameter.clear_gradient()
    loss, dhidden = layer.loss_and_gradient(hidden, targets, factor, workspace)
    workspace.workers.finish()
    return loss, dhidden.copy()


# Distributions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("N", [1, 2, 50])
def test_distributions_sum_to_one_and_hold_the_targets(make_workspace: Make, kind: str, N: int, dtype: type) -> None:
    layer, (hidden, targets) = make(kind, dtype), tokens(N, dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    log_probs = layer.log_probs(hidden)
    assert log_probs.shape == (N, V)
    assert log_probs.dtype == dtype
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, tolerance)
    expected = np.where(targets < 0, 0, log_probs[np.arange(N), targets])
    workspace = make_workspace(dtype)
    np.testing.assert_allclose(layer.target_log_probs(hidden, targets, workspace), expected, tolerance, tolerance)
    later = layer.target_log_probs(hidden, targets, workspace, defer=True)
    workspace.workers.finish()
    np.testing.assert_allclose(later, expected, tolerance, tolerance)


def test_class_softmax_is_that_of_the_paper() -> None:
    layer, (hidden, _) = make("class"), tokens(9)
    assert isinstance(layer, ClassSoftmax)
    order = np.argsort(-make_counts(), kind="stable")
    bounds = [0, *layer.options["cutoffs"], V]
    expected = reference.class_log_probs(
        hidden, np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)), layer.classes.weight.value,
        layer.classes.bias.value, layer.weight.value, layer.bias.value,
    )  # fmt: skip
    np.testing.assert_allclose(layer.log_probs(hidden)[:, order], expected)


def test_adaptive_softmax_is_that_of_the_paper() -> None:
    layer, (hidden, _) = make("adaptive"), tokens(9)
    assert isinstance(layer, AdaptiveSoftmax)
    order = np.argsort(-make_counts(), kind="stable")
    tails = [(tail.projection.value, tail.words.weight.value, tail.words.bias.value) for tail in layer.tails]
    expected = reference.adaptive_log_probs(hidden, layer.head.weight.value, layer.head.bias.value, tails)
    np.testing.assert_allclose(layer.log_probs(hidden)[:, order], expected)


@pytest.mark.parametrize("kind", SAMPLED)
def test_what_learns_from_samples_is_a_softmax_in_use(kind: str) -> None:
    layer, (hidden, _) = make(kind), tokens(9)
    assert isinstance(layer, Softmax)
    logits = reference.linear_forward(hidden, layer.weight.value, layer.bias.value)
    np.testing.assert_allclose(layer.log_probs(hidden), reference.log_softmax(logits))


def test_it_starts_at_the_unigrams(kind: str) -> None:
    """With a hidden layer of zeros: the biases alone."""
    counts = make_counts()
    layer = OUTPUTS[kind]("output", H, V, RandomParameters(2, np.float64), counts, **SMALL[kind])
    expected = (counts + 1) / (counts + 1).sum()
    np.testing.assert_allclose(np.exp(layer.log_probs(np.zeros((1, H))))[0], expected)


def test_words_may_have_any_ids(make_workspace: Make, kind: str) -> None:
    """The same words under other ids give the same, wherever the layer puts its words by frequency."""
    if kind in ("softmax", *SAMPLED):
        pytest.skip("rows are by id")
    counts = np.arange(1000, 1000 + V)
    new_ids = np.random.default_rng(3).permutation(V)
    layers = [
        OUTPUTS[kind]("output", H, V, RandomParameters(2, np.float64), some, **SMALL[kind])
        for some in (counts, counts[np.argsort(new_ids)])
    ]
    hidden, targets = tokens(30)
    renamed = np.where(targets < 0, -1, new_ids[targets]).astype(np.int32)
    one, other = (
        learn(layer, hidden, ids, make_workspace()) for layer, ids in zip(layers, (targets, renamed), strict=True)
    )
    assert one[0] == other[0]
    assert one[1].tobytes() == other[1].tobytes()
    np.testing.assert_array_equal(layers[0].log_probs(hidden), layers[1].log_probs(hidden)[:, new_ids])


# Gradients


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("N", [1, 40])
def test_gradients_against_numbers(make_workspace: Make, kind: str, N: int) -> None:
    layer, (hidden, targets), workspace = make(kind), tokens(N), make_workspace()
    loss, dhidden = learn(layer, hidden, targets, workspace, factor=0.5)

    def half_loss() -> float:
        return -0.5 * float(layer.target_log_probs(hidden, targets, workspace).sum())

    np.testing.assert_allclose(0.5 * loss, half_loss())
    check_gradient(half_loss, hidden, dhidden, sample=60)
    for parameter in layer.parameters:
        check_gradient(half_loss, parameter.value, dense(parameter), sample=60)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("N", [1, 40])
def test_gradients_of_samples_against_the_formula(make_workspace: Make, kind: str, N: int) -> None:
    """The samples are those rows of the gradient that no token has as its target, and those that were drawn."""
    layer, (hidden, targets), workspace = make(kind), tokens(N), make_workspace()
    assert isinstance(layer, SampledSoftmax | NCE)
    samples = layer._draw(targets, workspace)
    drawn = samples[0][: samples[2]].tolist()
    noise = (make_counts() + 1.0) ** 0.75
    noise /= noise.sum()
    inclusion = 1 - (1 - noise) ** 12
    _, dhidden = learn(layer, hidden, targets, workspace, factor=0.5)

    def half_loss() -> float:
        table = layer.weight.value, layer.bias.value
        if kind == "sampled":
            return 0.5 * reference.sampled_softmax_loss(hidden, targets, *table, drawn, inclusion, penalty=0.1)
        draws = (12 * noise / inclusion)[drawn]
        return 0.5 * reference.nce_loss(hidden, targets, *table, drawn, draws, 12 * noise)

    check_gradient(half_loss, hidden, dhidden, sample=60)
    for parameter in layer.parameters:
        check_gradient(half_loss, parameter.value, dense(parameter), sample=60)


@pytest.mark.parametrize("kind", SAMPLED)
def test_the_mean_gradient_nears_that_of_the_full_softmax(make_workspace: Make, kind: str) -> None:
    """The more samples, the nearer: the angle between the mean of many draws and the exact gradient is small."""
    layer, (hidden, targets) = make(kind, num_samples=60 if kind == "sampled" else 3000), tokens(80)
    workspace = make_workspace()
    hidden *= 0.1  # so that Z is much the same for all tokens: NCE takes it for 1
    exact = make("softmax")
    for parameter, other in zip(exact.parameters, layer.parameters, strict=True):
        parameter.value[:] = other.value
    assert isinstance(exact, Softmax)
    log_norms = np.log(np.exp(reference.linear_forward(hidden, exact.weight.value, exact.bias.value)).sum(axis=1))
    exact.bias.value -= log_norms.mean()
    layer.parameters[1].value[:] = exact.bias.value
    _, wanted = learn(exact, hidden, targets, make_workspace())
    mean = np.zeros_like(wanted)
    for step in range(200):
        workspace.step = step
        mean += learn(layer, hidden, targets, workspace)[1] / 200
    cosine = (mean * wanted).sum() / np.linalg.norm(mean) / np.linalg.norm(wanted)
    assert cosine > 0.98


def test_rows_without_a_target_have_neither_loss_nor_gradient(make_workspace: Make, kind: str) -> None:
    layer, (hidden, _) = make(kind), tokens(5)
    loss, dhidden = learn(layer, hidden, np.full(5, -1, np.int32), make_workspace())
    assert loss == 0
    assert not dhidden.any()
    assert not any(dense(parameter).any() for parameter in layer.parameters)


def test_a_word_that_is_not_touched_is_not_in_the_gradient(make_workspace: Make) -> None:
    for kind in ("class", *SAMPLED):
        layer, (hidden, _), rare = make(kind, num_samples=3) if kind in SAMPLED else make(kind), tokens(4), V - 1
        frequent = int(np.argmax(make_counts()))
        learn(layer, hidden, np.full(4, frequent, np.int32), make_workspace())
        weight = next(p for p in layer.parameters if p.name == "output.weight")
        assert isinstance(weight.gradient, Rows)
        assert len(set(weight.gradient.ids.tolist())) == len(weight.gradient.ids) < V
        before = weight.value.copy()
        optimizer = Adam(layer.parameters)
        optimizer.step(0.1, make_workspace().workers)
        changed = np.flatnonzero((weight.value != before).any(axis=1))
        assert set(changed) <= set(weight.gradient.ids.tolist()), rare


def test_the_norm_counts_every_gradient(make_workspace: Make, kind: str) -> None:
    layer, (hidden, targets), workspace = make(kind), tokens(30), make_workspace()
    learn(layer, hidden, targets, workspace)
    expected = np.sqrt(sum((dense(parameter) ** 2).sum() for parameter in layer.parameters))
    np.testing.assert_allclose(gradient_norm(layer.parameters, workspace.workers), expected)


@pytest.mark.parametrize("kind", ["softmax", *SAMPLED])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("output_first", [True, False])
def test_the_gradients_of_a_tied_table_are_added(
    make_workspace: Make, kind: str, threads: int, output_first: bool
) -> None:
    if kind == "softmax" and not output_first:
        pytest.skip("a dense gradient is not begun by rows")
    layer, embedding = make(kind), Embedding("embedding", V, H, RandomParameters(1, np.float64))
    assert isinstance(layer, Softmax)
    hidden, targets = tokens(30)
    ids, doutput = np.array([3, 40, 3, 0, 17], np.int32), np.random.default_rng(1).normal(size=(5, H))
    learn(layer, hidden, targets, make_workspace())
    expected = dense(layer.weight) + reference.embedding_backward(doutput, ids, V)
    bias = dense(layer.bias)

    embedding.weight, workspace = layer.weight, make_workspace(threads=threads)
    embedding.forward(ids, workspace)
    for parameter in layer.parameters:
        parameter.clear_gradient()
    uses = [
        lambda: layer.loss_and_gradient(hidden, targets, 1.0, workspace),
        lambda: embedding.backward(doutput, workspace),
    ]
    for use in uses if output_first else uses[::-1]:
        use()
    workspace.workers.finish()
    rows = layer.weight.gradient_rows()
    assert len(set(rows.ids.tolist())) == len(rows.ids)
    np.testing.assert_allclose(dense(layer.weight), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(dense(layer.bias), bias)
    norm = gradient_norm(layer.parameters, workspace.workers)
    np.testing.assert_allclose(norm, np.sqrt((expected**2).sum() + (bias**2).sum()))


# Threads, steps, memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bytes_for_any_number_of_threads(make_workspace: Make, kind: str, dtype: type) -> None:
    size, hidden_size = 3001, 33
    options = {"num_samples": 700} if kind in SAMPLED else {"cutoffs": [90, 400]} if kind == "adaptive" else {}
    options |= {"num_classes": 50} if kind == "class" else {}
    layer = make(kind, dtype, size=size, hidden=hidden_size, **options)
    hidden, targets = tokens(701, dtype, size=size, hidden=hidden_size)
    results = set()
    for threads in (1, 2, 7):
        workspace = make_workspace(dtype, threads=threads)
        loss, dhidden = learn(layer, hidden, targets, workspace, 1 / 701)
        gradients = [parameter.gradient_rows() for parameter in layer.parameters]
        gradients_bytes = [(rows.ids.tobytes(), rows.values.tobytes()) for rows in gradients]
        log_probs = layer.target_log_probs(hidden, targets, workspace)
        results.add((loss, dhidden.tobytes(), *gradients_bytes, log_probs.tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("kind", SAMPLED)
def test_samples_follow_the_seed_and_the_step(make_workspace: Make, kind: str) -> None:
    layer, (hidden, targets) = make(kind), tokens(20)
    one, other = make_workspace(), make_workspace()
    first = learn(layer, hidden, targets, one)
    assert learn(layer, hidden, targets, one)[1].tobytes() == first[1].tobytes()
    assert learn(layer, hidden, targets, other)[1].tobytes() == first[1].tobytes()
    other.step += 1
    assert learn(layer, hidden, targets, other)[1].tobytes() != first[1].tobytes()


def test_a_second_step_does_not_see_the_first(make_workspace: Make, kind: str) -> None:
    layer, workspace = make(kind), make_workspace()
    learn(layer, *tokens(60), workspace)
    again, fresh = (learn(layer, *tokens(25), some) for some in (workspace, make_workspace()))
    assert again[0] == fresh[0]
    assert again[1].tobytes() == fresh[1].tobytes()


@pytest.mark.parametrize("kind", SAMPLED)
def test_nothing_of_a_step_is_as_long_as_the_vocabulary(make_workspace: Make, kind: str) -> None:
    size = 100_003
    layer, workspace = make(kind, np.float32, size=size, num_samples=8), make_workspace(np.float32)
    learn(layer, *tokens(9, np.float32, size=size), workspace)
    long = {name: buffer for name, buffer in workspace._buffers.items() if buffer.size >= size}
    assert set(long) == {"output.slots"}  # of which the rows that are touched alone are written
    assert (long["output.slots"] == -1).all()
    assert all(parameter._buffer is None for parameter in layer.parameters)


# Options and arguments


def test_the_options_build_the_same_layer_again(kind: str) -> None:
    options = {"num_classes": 6} if kind == "class" else {"cutoffs": None} if kind == "adaptive" else SMALL[kind]
    layer, (hidden, _) = make(kind, **options), tokens(3)
    arrays = {parameter.name: parameter.value for parameter in layer.parameters}
    source = StoredParameters(arrays, np.float64)
    again = OUTPUTS[kind]("output", H, V, source, make_counts(), **layer.options)
    source.check_all_taken()
    assert again.options == layer.options
    assert again.log_probs(hidden).tobytes() == layer.log_probs(hidden).tobytes()


@pytest.mark.parametrize("width", [H, H + 3])
def test_several_words_of_a_row(make_workspace: Make, kind: str, width: int) -> None:
    layer = make(kind)
    if width != H:
        layer = Projected(layer, width, H, RandomParameters(3, np.float64))
    hidden, _ = tokens(40, hidden=width)
    random = np.random.default_rng(8)
    rows, targets = random.integers(0, 40, 70).astype(np.int32), random.integers(0, V, 70).astype(np.int32)
    expected = layer.log_probs(hidden)[rows, targets]
    assert layer.pair_log_probs(hidden, rows, targets, make_workspace()) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("wrong", [-2, V, 2**31 - 1])
def test_targets_out_of_range(make_workspace: Make, kind: str, wrong: int) -> None:
    layer, (hidden, targets) = make(kind), tokens(4)
    targets[2] = wrong
    uses = [
        lambda: layer.loss_and_gradient(hidden, targets, 1.0, make_workspace()),
        lambda: layer.target_log_probs(hidden, targets, make_workspace()),
    ]
    if layer.self_normalised:
        uses.append(lambda: layer.target_scores(hidden, targets, make_workspace()))
    for use in uses:
        with pytest.raises(ValueError, match=r"targets are from .*, expected -1 to 40"):
            use()


def test_scores_before_normalisation(make_workspace: Make, kind: str) -> None:
    layer, (hidden, targets) = make(kind), tokens(9)
    assert layer.self_normalised == layer.estimates == (kind in SAMPLED)
    if not layer.self_normalised:
        with pytest.raises(TypeError, match=f"{type(layer).__name__} has no scores"):
            layer.target_scores(hidden, targets, make_workspace())
        return
    assert isinstance(layer, Softmax)
    logits = reference.linear_forward(hidden, layer.weight.value, layer.bias.value)
    expected = np.where(targets < 0, 0, logits[np.arange(9), targets])
    np.testing.assert_allclose(layer.target_scores(hidden, targets, make_workspace()), expected)


def test_a_softmax_with_a_penalty_has_scores(make_workspace: Make) -> None:
    layer, (hidden, targets) = make("softmax", self_normalising=0.3), tokens(9)
    assert layer.self_normalised
    assert not layer.estimates
    weight, bias = layer.score_table()
    expected = np.where(targets < 0, 0, reference.linear_forward(hidden, weight, bias)[np.arange(9), targets])
    np.testing.assert_allclose(layer.target_scores(hidden, targets, make_workspace()), expected)
