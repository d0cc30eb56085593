"""The NNLM with several layers and a view beyond its window: its definition, its gradients, its batches."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.models import NNLM, load
from fastlm.models import nnlm as module
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import Rows
from fastlm.nn.workspace import Workspace
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary
from fastlm.training.trainer import Trainer

VOCABULARY = Vocabulary(["the", "cat", "sat", "on", "mat", "고양이", "나는"], np.arange(9, 0, -1))
IDS = [2, 3, 4, 1, 1, 8, 0, 2, 2, 6, 7, 1, 5, 1, 3, 4, 5, 5, 0, 1, 7, 7, 2]
CORPUS = Corpus.from_ids(IDS, VOCABULARY)
FUNCTIONS = {"tanh": reference.tanh_forward, "relu": reference.relu_forward, "gelu": reference.gelu_forward}
MODELS: dict[str, dict[str, Any]] = {
    "several layers": {"num_layers": 3, "activation": "gelu"},
    "averages": {"num_averages": 2},
    "both": {"num_layers": 2, "num_averages": 2, "activation": "relu", "tied": True},
    "of one word": {"num_layers": 2, "num_averages": 3, "context_size": 1, "tied": True, "hidden_size": 5},
    "with tanh": {"num_layers": 2, "num_averages": 1, "activation": "tanh", "context_size": 5, "embedding_dim": 33},
    "of sentences": {"num_layers": 2, "context": "sentence"},
}


@pytest.fixture(params=MODELS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODELS[request.param]


def make(**options: Any) -> NNLM:
    sizes = {"context_size": 3, "embedding_dim": 5, "hidden_size": 7}
    model = NNLM(VOCABULARY, **(sizes | {"context": "continuous", "seed": 4, "dtype": "float64"} | options))
    random = np.random.default_rng(1)
    for parameter in model.parameter_list:
        parameter.value += random.normal(scale=0.5, size=parameter.value.shape)
    return model


def by_definition(model: NNLM, contexts: np.ndarray) -> np.ndarray:
    config = model.config
    return reference.modern_nnlm_log_probs(
        contexts,
        parameters=model.parameters,
        size=config["context_size"],
        num_layers=config["num_layers"],
        num_averages=config["num_averages"],
        activation=FUNCTIONS[config["activation"]],
    )


def contexts_of(model: NNLM, ids: list[int]) -> np.ndarray:
    """Return what is seen before each id, (N, C)."""
    size = model.config["context_size"] * 2 ** model.config["num_averages"]
    sentence = model.context == "sentence"
    begin = [VOCABULARY.start_id if sentence else VOCABULARY.end_id] * size
    contexts, history = [], begin
    for id in ids:
        contexts.append(history[-size:])
        history = begin if sentence and id == VOCABULARY.end_id else [*history, id]
    return np.array(contexts, np.int32)


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workers(1) as workers:
        yield Workspace(np.float64, workers, training=True, seed=5)


# Its definition


@pytest.mark.parametrize("run", [1, 4, 512])
def test_a_corpus_against_the_definition(options: dict[str, Any], run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVALUATION_RUN", run)
    monkeypatch.setattr(module, "EVALUATION_ROWS", 9)
    model = make(**options)
    expected = by_definition(model, contexts_of(model, IDS))[np.arange(len(IDS)), IDS]
    np.testing.assert_allclose(model.token_log_probs(CORPUS), expected, rtol=1e-10, atol=1e-13)


def test_a_distribution_against_the_definition(options: dict[str, Any]) -> None:
    model = make(**options)
    expected = by_definition(model, contexts_of(model, IDS))
    state = model.start()
    for n, id in enumerate(IDS):
        np.testing.assert_allclose(model.log_probs(state), expected[n], rtol=1e-10, atol=1e-13)
        state = model.advance(state, id)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_a_text_is_scored_like_a_corpus(options: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(**options)
    expected, state = model.token_log_probs(CORPUS), model.start()
    monkeypatch.setattr(module, "EVALUATION_ROWS", rows)
    first, state = model.score_ids(state, np.array(IDS[:8]))
    second, after = model.score_ids(state, np.array(IDS[8:]))
    np.testing.assert_allclose(np.concatenate([first, second]), expected, rtol=1e-10)
    for id in IDS[8:]:
        state = model.advance(state, id)
    assert after == state


def test_the_parameters() -> None:
    shapes = {name: array.shape for name, array in make(num_layers=2, num_averages=2, tied=True).parameters.items()}
    assert shapes == {
        "embedding.weight": (10, 5),
        "hidden.weight": (7, 15),
        "hidden.bias": (7,),
        "averages.weight": (9, 5),
        "distant.weight": (7, 10),
        "distant.bias": (7,),
        "norm.gain": (7,),
        "norm.bias": (7,),
        "layer2.inner.weight": (14, 7),
        "layer2.inner.bias": (14,),
        "layer2.outer.weight": (7, 14),
        "layer2.outer.bias": (7,),
        "layer2.norm.gain": (7,),
        "layer2.norm.bias": (7,),
        "output.projection.weight": (5, 7),
        "output.projection.bias": (5,),
        "output.bias": (9,),
    }


def test_a_saved_model_is_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    model = make(**options)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded.token_log_probs(CORPUS), model.token_log_probs(CORPUS))


# Training


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_of_all_parameters(options: dict[str, Any], dropout: float, workspace: Workspace) -> None:
    model = make(dropout=dropout, word_dropout=dropout / 2, **options)
    batches = model.training_batches(CORPUS, batch_size=12, bptt_len=None, seed=(1,))
    runs, targets = next(batches)
    if model.context == "continuous":
        assert runs.shape == (1, len(contexts_of(model, IDS)[0]) + 11)
    runs[0, -3] = VOCABULARY.start_id
    workspace.step = 11

    def mean_loss() -> float:
        for parameter in model.parameter_list:
            parameter.clear_gradient()
        loss, num_events = model.loss_and_gradients((runs, targets), workspace)
        return loss / num_events

    mean_loss()
    gradients = {p.name: dense(p.gradient, p.value.shape) for p in model.parameter_list}
    for name, gradient in gradients.items():
        check_gradient(mean_loss, model.parameters[name], gradient, sample=30)


def dense(gradient: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(gradient, Rows):
        return np.array(gradient)
    array = np.zeros(shape)
    array[gradient.ids] = gradient.values
    return array


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_an_epoch_sees_every_token_once(
    options: dict[str, Any], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRAINING_RUN", 3)
    model, seen = make(**options), []
    batches = list(model.training_batches(CORPUS, batch_size=batch_size, bptt_len=None, seed=(1, 1)))
    assert len(batches) == model.num_training_batches(CORPUS, batch_size=batch_size, bptt_len=None)
    size = model.network.context_size
    for runs, targets in batches:
        places = runs.shape[1] - size + 1
        assert len(targets) == len(runs) * places <= max(batch_size, min(batch_size, 3))
        for run, of_run in zip(runs.tolist(), targets.reshape(-1, places).tolist(), strict=True):
            seen += [(*run[t : t + size], target) for t, target in enumerate(of_run) if target >= 0]
    expected = [(*context, id) for context, id in zip(contexts_of(model, IDS).tolist(), IDS, strict=True)]
    assert sorted(seen) == sorted(expected)


def test_what_overlaps_at_the_end_is_no_event(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAINING_RUN", 4)
    model = make(num_layers=2, num_averages=1, dropout=0.0)
    batches = model.training_batches(CORPUS, batch_size=4, bptt_len=None, seed=(1,))
    losses = [model.loss_and_gradients(batch, workspace) for batch in batches]
    assert sorted(num_events for _, num_events in losses) == [3, 4, 4, 4, 4, 4]
    assert sum(loss for loss, _ in losses) == pytest.approx(-model.token_log_probs(CORPUS).sum())


def test_it_overfits(options: dict[str, Any]) -> None:
    text = Corpus.from_ids(list(itertools.chain(*([n, 9 - n, 8, n, 1] for n in (2, 3, 4, 5, 6)))), VOCABULARY)
    sizes = {"embedding_dim": 16, "hidden_size": 32, "context_size": 3}
    options = {name: value for name, value in options.items() if name not in sizes}
    model = NNLM(VOCABULARY, **({"context": "continuous"} | sizes | options), dropout=0.0, seed=1)
    history = Trainer(model, batch_size=25, learning_rate=0.01, warmup_steps=10, threads=1).fit(text, epochs=150)
    assert history.epochs[-1].train_perplexity < 1.5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"activation": "swish"}, "activation is 'swish', expected 'tanh' or 'relu' or 'gelu'"),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1, got 0"),
        ({"num_averages": -1}, "num_averages must be a whole number of at least 0, got -1"),
        ({"num_averages": 9}, "num_averages is 9, expected at most 8"),
        ({"num_averages": 1, "context": "sentence"}, "take context 'continuous'"),
        ({"num_layers": 2, "direct": True}, "only a model of one layer, without averages, has direct connections"),
        ({"hidden_dropout": 1.0}, "hidden_dropout is 1.0, expected 0 <= hidden_dropout < 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        make(**options)
