"""The NNLM against its definition, and its gradients against numbers."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference
from gradcheck import check_gradient
from output_table import output_arrays

from fastlm.models import NNLM
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import Rows
from fastlm.nn.workspace import Workspace
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]
VOCABULARY = Vocabulary(WORDS, np.arange(9, 0, -1))
IDS = [2, 3, 4, 1, 1, 8, 0, 2, 2, 6, 7, 1, 5, 1, 3, 4, 5]  # an empty sentence within, an open one at the end


def make(**options: Any) -> NNLM:
    options = {"context_size": 3, "embedding_dim": 5, "hidden_size": 7, "seed": 4, "dtype": "float64"} | options
    model = NNLM(VOCABULARY, **options)
    random = np.random.default_rng(1)
    for parameter in model.parameter_list:
        parameter.value += random.normal(size=parameter.value.shape)
    return model


def windows_by_definition(ids: list[int], size: int, context: str) -> np.ndarray:
    begin = VOCABULARY.start_id if context == "sentence" else VOCABULARY.end_id
    windows, history = [], [begin] * size
    for id in ids:
        windows.append(history[-size:])
        history.append(id)
        if id == VOCABULARY.end_id and context == "sentence":
            history = [begin] * size
    return np.array(windows, np.int32)


def log_probs_by_definition(model: NNLM, windows: np.ndarray) -> np.ndarray:
    p, hidden_size = model.parameters, model.config["hidden_size"]
    output = output_arrays(p, tied=model.config["tied"])
    if model.config["direct"]:
        weight = p["output.weight"]
        output |= {"output_weight": weight[:, :hidden_size], "direct_weight": weight[:, hidden_size:]}
    return reference.nnlm_log_probs(
        windows,
        embeddings=p["embedding.weight"],
        hidden_weight=p["hidden.weight"],
        hidden_bias=p["hidden.bias"],
        **output,
    )


@pytest.fixture(params=["sentence", "continuous"])
def context(request: pytest.FixtureRequest) -> str:
    return request.param


OUTPUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "direct": {"direct": True},
    "tied": {"tied": True},
    "tied and of one size": {"tied": True, "hidden_size": 5},
}


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OUTPUTS[request.param]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workers(1) as workers:
        yield Workspace(np.float64, workers, training=True, seed=5)


# Its definition


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_corpus_against_the_definition(context: str, output: dict[str, Any], size: int) -> None:
    model = make(context=context, context_size=size, **output)
    expected = log_probs_by_definition(model, windows_by_definition(IDS, size, context))
    log_probs = model.token_log_probs(Corpus.from_ids(IDS, VOCABULARY))
    np.testing.assert_allclose(log_probs, expected[np.arange(len(IDS)), IDS], rtol=1e-11)


def test_a_distribution_against_the_definition(context: str, output: dict[str, Any]) -> None:
    model = make(context=context, **output)
    windows = windows_by_definition(IDS, 3, context)
    expected = log_probs_by_definition(model, windows)
    state = model.start()
    for n, id in enumerate(IDS):
        np.testing.assert_allclose(model.log_probs(state), expected[n], rtol=1e-11, atol=1e-14)
        state = model.advance(state, id)


@pytest.mark.parametrize("direct", [False, True])
def test_the_shapes_are_those_of_the_paper(direct: bool) -> None:
    shapes = {name: array.shape for name, array in make(direct=direct).parameters.items()}
    assert shapes == {
        "embedding.weight": (10, 5),  # a row for <s>, too
        "hidden.weight": (7, 15),
        "hidden.bias": (7,),
        "output.weight": (9, 7 + (15 if direct else 0)),
        "output.bias": (9,),
    }
    assert make().embeddings.shape == (10, 5)


def test_a_new_model_knows_the_unigrams() -> None:
    model = NNLM(VOCABULARY, embedding_dim=4, hidden_size=4)
    counts = VOCABULARY.counts
    assert counts is not None
    probabilities = np.exp(model.log_probs(model.start()))
    np.testing.assert_allclose(probabilities, (counts + 1) / (counts + 1).sum(), rtol=0.5)


# Training


def batch_of(num_windows: int, context_size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    windows = random.integers(0, 10, (num_windows, context_size)).astype(np.int32)  # <s> among them
    return windows, random.integers(0, 9, num_windows).astype(np.int32)


def test_the_loss_is_the_summed_cross_entropy(workspace: Workspace, output: dict[str, Any]) -> None:
    model = make(dropout=0.0, **output)
    windows, targets = batch_of(13, 3)
    loss, num_events = model.loss_and_gradients((windows, targets), workspace)
    expected = log_probs_by_definition(model, windows)[np.arange(13), targets]
    assert num_events == 13
    assert loss == pytest.approx(-expected.sum(), rel=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 5), (6, 2, 3, 5), (5, 1, 5, 3)])  # N, context, D, H
def test_gradients_of_all_parameters(
    workspace: Workspace, output: dict[str, Any], dropout: float, shape: tuple[int, int, int, int]
) -> None:
    N, size, D, H = shape
    model = make(dropout=dropout, context_size=size, embedding_dim=D, **({"hidden_size": H} | output))
    batch = batch_of(N, size)
    workspace.step = 11

    def mean_loss() -> float:
        for parameter in model.parameter_list:
            parameter.clear_gradient()
        loss, num_events = model.loss_and_gradients(batch, workspace)
        return loss / num_events

    mean_loss()
    gradients = {p.name: dense(p.gradient, p.value.shape) for p in model.parameter_list}
    for name, gradient in gradients.items():
        check_gradient(mean_loss, model.parameters[name], gradient)


def dense(gradient: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(gradient, Rows):
        return np.array(gradient)
    array = np.zeros(shape)
    assert len(np.unique(gradient.ids)) == len(gradient.ids)
    array[gradient.ids] = gradient.values
    return array


@pytest.mark.parametrize("direct", [False, True])
def test_the_gradient_of_the_table_is_of_the_rows_that_were_seen(workspace: Workspace, direct: bool) -> None:
    model = make(direct=direct, dropout=0.0)
    windows = np.array([[9, 9, 2], [9, 2, 5]], np.int32)
    model.loss_and_gradients((windows, np.array([5, 1], np.int32)), workspace)
    gradient = model.embedding.weight.gradient
    assert isinstance(gradient, Rows)
    assert sorted(gradient.ids.tolist()) == [2, 5, 9]


def test_no_array_of_the_tables_size_is_made() -> None:
    vocabulary = Vocabulary([f"w{i}" for i in range(20_000)])
    model = NNLM(vocabulary, context_size=2, embedding_dim=500, hidden_size=2)
    batch = (np.array([[5, 7], [7, 9]], np.int32), np.array([3, 4], np.int32))
    with Workers(1) as workers:
        workspace = Workspace(np.float32, workers, training=True)
        tracemalloc.start()
        model.loss_and_gradients(batch, workspace)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < model.embeddings.nbytes / 10


def test_dropout_depends_on_the_step_and_the_seed_alone() -> None:
    model, batch = make(dropout=0.5), batch_of(6, 3)

    def loss(seed: int, step: int) -> float:
        with Workers(1) as workers:
            workspace = Workspace(np.float64, workers, training=True, seed=seed)
            workspace.step = step
            return model.loss_and_gradients(batch, workspace)[0]

    assert loss(1, 1) == loss(1, 1)
    assert len({loss(1, 1), loss(1, 2), loss(2, 1)}) == 3


def test_every_element_has_a_dropout_of_its_own(workspace: Workspace) -> None:
    model = make(dropout=0.5)
    windows = np.zeros((200, 3), np.int32)  # all alike, so that only the masks can differ
    targets = np.full(200, 2, np.int32)
    losses = {model.loss_and_gradients((windows[:n], targets[:n]), workspace)[0] / n for n in (1, 2, 3, 50, 200)}
    assert len(losses) == 5


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_an_epoch_sees_every_token_once(context: str, batch_size: int) -> None:
    model, corpus = make(context=context), Corpus.from_ids(IDS, VOCABULARY)
    batches = list(model.training_batches(corpus, batch_size=batch_size, bptt_len=1, seed=(1, 1)))
    assert len(batches) == model.num_training_batches(corpus, batch_size=batch_size, bptt_len=1)
    assert all(len(windows) == len(targets) <= batch_size for windows, targets in batches)
    seen = sorted((*window, target) for w, t in batches for window, target in zip(w.tolist(), t.tolist(), strict=True))
    expected = windows_by_definition(IDS, 3, context).tolist()
    assert seen == sorted((*window, target) for window, target in zip(expected, IDS, strict=True))


def test_the_order_depends_on_the_seed_alone() -> None:
    model, corpus = make(), Corpus.from_ids(IDS, VOCABULARY)

    def order(*seed: int) -> list[int]:
        batches = model.training_batches(corpus, batch_size=5, bptt_len=1, seed=seed)
        return [target for _, targets in batches for target in targets.tolist()]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)
    assert order(1, 1) != IDS


def test_an_epoch_can_be_gone_on_with(context: str) -> None:
    model, corpus = make(context=context), Corpus.from_ids(IDS, VOCABULARY)
    options = {"batch_size": 4, "bptt_len": None, "seed": (1, 1)}
    batches = list(model.training_batches(corpus, **options))
    for start in range(len(batches) + 1):
        left = list(model.training_batches(corpus, **options, start=start))
        assert len(left) == len(batches) - start
        for one, other in zip(left, batches[start:], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
