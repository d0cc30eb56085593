"""The RNNLM, with each cell and in layers, against its definition, and its gradients against numbers."""

import copy
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import reference
from gradcheck import check_gradient
from output_table import output_arrays

from fastlm.models import RNNLM
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import Rows
from fastlm.nn.workspace import Workspace
from fastlm.text.batches import Chunk
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]
VOCABULARY = Vocabulary(WORDS, np.arange(9, 0, -1))
IDS = [2, 3, 4, 1, 1, 8, 0, 2, 2, 6, 7, 1, 5, 1, 3, 4, 5]  # an empty sentence within, an open one at the end


KINDS: dict[str, dict[str, Any]] = {
    "elman": {},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "layers": {"cell": "gru", "num_layers": 2},
    "residual": {"cell": "lstm", "num_layers": 3, "residual": True},
    "tied": {"cell": "lstm", "tied": True},
    "tied and of one size": {"tied": True, "embedding_dim": 7},
    "residual from the table": {"num_layers": 2, "residual": True, "embedding_dim": 7},
}
Make = Callable[..., RNNLM]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return partial(make_rnnlm, **KINDS[request.param])


def make_rnnlm(**options: Any) -> RNNLM:
    options = {"embedding_dim": 5, "hidden_size": 7, "seed": 4, "dtype": "float64"} | options
    model = RNNLM(VOCABULARY, **options)
    random = np.random.default_rng(1)
    for parameter in model.parameter_list:
        parameter.value += 0.7 * random.normal(size=parameter.value.shape)
    return model


def run(model: RNNLM, inputs: np.ndarray, resets: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = model.parameters
    names = ["recurrent", *(f"recurrent_{number}" for number in range(2, model.config["num_layers"] + 1))]
    return reference.rnnlm_log_probs(
        inputs,
        resets,
        memory,
        embeddings=p["embedding.weight"],
        layers=[(model.config["cell"], p[f"{n}.w_xh"], p[f"{n}.bias"], p[f"{n}.w_hh"]) for n in names],
        residual=model.config["residual"],
        **output_arrays(p, tied=model.config["tied"]),
    )


def zeros(model: RNNLM, num_streams: int = 1) -> np.ndarray:
    """Return the memory of a beginning."""
    num_states = 2 if model.config["cell"] == "lstm" else 1
    return np.zeros((model.config["num_layers"], num_states, num_streams, model.config["hidden_size"]))


def segment_by_definition(model: RNNLM, first: int, ids: list[int]) -> np.ndarray:
    """Distributions (T, V) of the words of a text that begins in a state of zero, after the input `first`."""
    inputs = np.array([[first], *([id] for id in ids[:-1])])
    return run(model, inputs, np.zeros(inputs.shape), zeros(model))[0][:, 0]


def corpus_by_definition(model: RNNLM, num_streams: int = 1) -> np.ndarray:
    """Distributions (tokens, V) for IDS: sentence by sentence, or part by part."""
    if model.context == "sentence":
        ends = [i + 1 for i, id in enumerate(IDS) if id == 1]
        bounds = [0, *ends, len(IDS)]
    else:
        bounds = [len(IDS) * i // num_streams for i in range(num_streams + 1)]
    parts = []
    for begin, end in pairwise(bounds):
        first = VOCABULARY.start_id if model.context == "sentence" else IDS[begin - 1] if begin else VOCABULARY.end_id
        parts.append(segment_by_definition(model, first, IDS[begin:end]))
    return np.concatenate(parts)


@pytest.fixture(params=["sentence", "continuous"])
def context(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workers(1) as workers:
        yield Workspace(np.float64, workers, training=True, seed=5)


def corpus() -> Corpus:
    return Corpus.from_ids(IDS, VOCABULARY)


# Its definition


@pytest.mark.parametrize("num_streams", [1, 2, 5, len(IDS), 40])
def test_a_corpus_against_the_definition(make: Make, context: str, num_streams: int) -> None:
    model = make(context=context)
    expected = corpus_by_definition(model, min(num_streams, len(IDS)))[np.arange(len(IDS)), IDS]
    log_probs = model.token_log_probs(corpus(), num_streams=num_streams)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-11)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_the_state_is_carried_through_an_evaluation(
    make: Make, context: str, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("fastlm.models.rnnlm.EVALUATION_ROWS", rows)  # chunks of so many steps
    model = make(context=context)
    expected = corpus_by_definition(model)[np.arange(len(IDS)), IDS]
    np.testing.assert_allclose(model.token_log_probs(corpus()), expected, rtol=1e-11)
    scores, state = model.score_ids(model.start(), np.array(IDS))
    np.testing.assert_allclose(scores, expected, rtol=1e-11)
    one_by_one = model.start()
    for id in IDS:
        one_by_one = model.advance(one_by_one, id)
    np.testing.assert_allclose(model.log_probs(state), model.log_probs(one_by_one), rtol=1e-11)


def test_a_distribution_against_the_definition(make: Make, context: str) -> None:
    model = make(context=context)
    expected = corpus_by_definition(model)
    state = model.start()
    for n, id in enumerate(IDS):
        np.testing.assert_allclose(model.log_probs(state), expected[n], rtol=1e-11, atol=1e-14)
        state = model.advance(state, id)


def test_states_are_read_only(make: Make) -> None:
    model = make()
    state = model.advance(model.start(), 3)
    with pytest.raises(ValueError, match="read-only"):
        state.hidden[0] = 1
    later = model.score_ids(state, np.array([3, 4]))[1]
    for array in (later.hidden, later.memory, state.memory):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert (state.memory[-1, 0] == state.hidden).all() == (not model.config["residual"])


def test_the_shapes_are_those_of_the_paper() -> None:
    assert {name: array.shape for name, array in make_rnnlm().parameters.items()} == {
        "embedding.weight": (10, 5),  # a row for <s>, too
        "recurrent.w_xh": (7, 5),
        "recurrent.w_hh": (7, 7),
        "recurrent.bias": (7,),
        "output.weight": (9, 7),
        "output.bias": (9,),
    }
    assert make_rnnlm().embeddings.shape == (10, 5)


def test_layers_have_the_shapes_of_their_cells() -> None:
    shapes = {name: array.shape for name, array in make_rnnlm(cell="lstm", num_layers=3).parameters.items()}
    for name, inputs in [("recurrent", 5), ("recurrent_2", 7), ("recurrent_3", 7)]:
        assert [shapes.pop(f"{name}.{part}") for part in ("w_xh", "w_hh", "bias")] == [(28, inputs), (28, 7), (28,)]
    assert set(shapes) == {"embedding.weight", "output.weight", "output.bias"}
    assert make_rnnlm(cell="gru").parameters["recurrent.w_hh"].shape == (21, 7)


def test_a_tied_output_has_no_table_of_its_own() -> None:
    shapes = {name: array.shape for name, array in make_rnnlm(tied=True, hidden_size=5).parameters.items()}
    assert [name for name in shapes if name.startswith("output")] == ["output.bias"]
    shapes = {name: array.shape for name, array in make_rnnlm(tied=True).parameters.items()}
    assert (shapes["output.projection.weight"], shapes["output.projection.bias"]) == ((5, 7), (5,))
    assert "output.weight" not in shapes


def test_an_lstm_begins_with_open_forget_gates() -> None:
    bias = RNNLM(VOCABULARY, cell="lstm", num_layers=2, hidden_size=2).parameters["recurrent_2.bias"]
    assert bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


# Training


@pytest.mark.parametrize("bptt_len", [1, 3, 6, 100])
@pytest.mark.parametrize("num_streams", [1, 3, 30])
def test_an_epoch_is_the_text_with_the_state_carried_on(
    make: Make, workspace: Workspace, context: str, num_streams: int, bptt_len: int
) -> None:
    model = make(context=context, dropout=0.0)
    parts = min(num_streams, len(IDS))
    expected = -corpus_by_definition(model, parts)[np.arange(len(IDS)), IDS]
    for epoch in (1, 2):  # nothing of the first epoch's end is carried into the second
        losses, targets = [], []
        for chunk in model.training_batches(corpus(), batch_size=num_streams, bptt_len=bptt_len, seed=(1, epoch)):
            assert chunk.inputs.shape[0] <= bptt_len
            assert chunk.inputs.shape[1] == num_streams
            loss, num_events = model.loss_and_gradients(chunk, workspace)
            places = chunk.positions[chunk.targets >= 0]
            assert num_events == len(places)
            assert loss == pytest.approx(expected[places].sum(), rel=1e-10)
            losses.append(loss)
            targets += places.tolist()
        assert sorted(targets) == list(range(len(IDS)))
        assert sum(losses) == pytest.approx(expected.sum(), rel=1e-11)


def test_the_number_of_chunks_is_known(context: str) -> None:
    model = make_rnnlm(context=context)
    known = model.num_training_batches(corpus(), batch_size=2, bptt_len=3)
    actual = len(list(model.training_batches(corpus(), batch_size=2, bptt_len=3, seed=(1, 1))))
    assert abs(known - actual) <= (0 if context == "continuous" else 1)


def test_an_epoch_can_be_gone_on_with(context: str) -> None:
    model = make_rnnlm(context=context)
    options = {"batch_size": 3, "bptt_len": 2, "seed": (1, 1)}
    chunks = list(model.training_batches(corpus(), **options))
    for start in range(len(chunks) + 1):
        left = list(model.training_batches(corpus(), **options, start=start))
        assert [chunk.positions.tolist() for chunk in left] == [chunk.positions.tolist() for chunk in chunks[start:]]
        assert [chunk.inputs.tolist() for chunk in left] == [chunk.inputs.tolist() for chunk in chunks[start:]]


def test_sentences_are_shuffled_by_the_seed_and_a_text_is_not(context: str) -> None:
    model = make_rnnlm(context=context)

    def order(*seed: int) -> list[int]:
        chunks = model.training_batches(corpus(), batch_size=1, bptt_len=5, seed=seed)
        return [place for chunk in chunks for place in chunk.positions[:, 0].tolist()]

    assert order(1, 1) == order(1, 1)
    if context == "continuous":
        assert order(1, 1) == order(2, 7) == list(range(len(IDS)))
    else:
        assert len({tuple(order(1, epoch)) for epoch in range(5)}) > 1
        assert order(1, 1) != order(2, 1) or order(1, 2) != order(2, 2)


def chunk_of(T: int, B: int, seed: int = 0) -> Chunk:
    """Make a chunk with resets, `<s>`, and streams that end."""
    random = np.random.default_rng(seed)
    inputs = random.integers(0, 10, (T, B)).astype(np.int32)
    targets = random.integers(0, 9, (T, B)).astype(np.int32)
    resets = (random.random((T, B)) < 0.25).astype(np.uint8)
    for b in range(1, B):
        ends = T - (b % 3)
        targets[ends:, b], inputs[ends:, b], resets[ends:, b] = -1, 1, 0
    return Chunk(inputs, targets, resets, np.where(targets < 0, -1, 0).astype(np.int64))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 5), (4, 1, 3, 5), (5, 4, 3, 5), (3, 2, 5, 3)])  # T, B, D, H
def test_gradients_of_all_parameters(workspace: Workspace, dropout: float, shape: tuple[int, int, int, int]) -> None:
    T, B, D, H = shape
    check_gradients(make_rnnlm(dropout=dropout, embedding_dim=D, hidden_size=H), workspace, T, B)


def test_gradients_of_all_parameters_of_each_kind(make: Make, workspace: Workspace) -> None:
    check_gradients(make(dropout=0.4, hidden_size=3, embedding_dim=3), workspace, T=4, B=2, sample=25)
    check_gradients(make(dropout=0.0, hidden_size=3, embedding_dim=2), workspace, T=3, B=3, sample=25)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_gradients_with_every_kind_of_dropout(workspace: Workspace, cell: str) -> None:
    rates = {"embedding_dropout": 0.2, "word_dropout": 0.4, "hidden_dropout": 0.3, "output_dropout": 0.1}
    model = make_rnnlm(cell=cell, num_layers=2, hidden_size=4, embedding_dim=3, recurrent_dropout=0.4, **rates)
    check_gradients(model, workspace, T=4, B=2, sample=25)


def check_gradients(model: RNNLM, workspace: Workspace, T: int, B: int, sample: int | None = None) -> None:
    before = copy.deepcopy(model)  # leaves a state that is no function of the parameters: BPTT is truncated there
    first, second = chunk_of(2, B, seed=1), chunk_of(T, B, seed=2)
    first.resets[0] = 1

    def mean_loss() -> float:
        workspace.step = 11
        for parameter in (*before.parameter_list, *model.parameter_list):
            parameter.clear_gradient()
        before.loss_and_gradients(first, workspace)
        workspace.step = 12
        loss, num_events = model.loss_and_gradients(second, workspace)
        return loss / num_events

    mean_loss()
    gradients = {p.name: dense(p.gradient, p.value.shape) for p in model.parameter_list}
    for name, gradient in gradients.items():
        check_gradient(mean_loss, model.parameters[name], gradient, sample=sample)


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(("activation", "temporal", "rate"), [(2.0, 0.0, 0.4), (0.0, 3.0, 0.4), (0.7, 0.4, 0.0)])
def test_penalties_are_learned_from_but_are_no_loss(
    workspace: Workspace, activation: float, temporal: float, rate: float, share: float
) -> None:
    workspace.training = True
    options = {"cell": "lstm", "embedding_dim": 3, "hidden_size": 4, "dropout": 0.0, "output_dropout": rate}
    model = make_rnnlm(**options, activation_penalty=activation, temporal_penalty=temporal)
    plain, chunk = make_rnnlm(**options), replace(chunk_of(5, 2), share=share)

    def fresh() -> Workspace:
        return Workspace(np.float64, workspace.workers, training=True, seed=workspace.seed)

    loss, num_events = model.loss_and_gradients(chunk, workspace)
    assert loss == plain.loss_and_gradients(chunk, fresh())[0]
    mask = model.output_dropout.mask(workspace) if rate else np.ones(2 * 4)
    assert mask.any()
    assert not rate or not mask.all()

    def objective() -> float:
        """Mean loss and penalties, by another road: on the output after dropout, and on its change before."""
        hidden = model._hidden(chunk.inputs, chunk.resets, zeros(model, 2), Workspace(np.float64, workspace.workers))
        goes_on = (chunk.resets[1:] == 0)[..., np.newaxis]
        change = goes_on * (hidden[1:] - hidden[:-1])
        for name, array in model.parameters.items():
            plain.parameters[name][:] = array
        dropped = mask * hidden.reshape(5, -1)
        penalties = activation * (dropped**2).mean() + temporal * (change**2).mean()
        return share * (plain.loss_and_gradients(chunk, fresh())[0] / num_events + penalties)

    for parameter in model.parameter_list:
        check_gradient(objective, parameter.value, dense(parameter.gradient, parameter.value.shape))


def test_the_common_rate_of_dropout_is_that_of_all_that_have_none_of_their_own() -> None:
    def rates(**options: Any) -> list[float]:
        model = RNNLM(VOCABULARY, num_layers=2, **options)
        layers = [model.embedding_dropout, *model.recurrent.dropouts, model.output_dropout, model.word_dropout]
        return [layer.rate for layer in (*layers, model.recurrent.cells[0].drop_connect)]

    assert rates(dropout=0.3) == [0.3, 0.3, 0.3, 0, 0]
    assert rates(dropout=0.3, hidden_dropout=0.0, word_dropout=0.1) == [0.3, 0, 0.3, 0.1, 0]
    assert rates(dropout=0.0, embedding_dropout=0.4, output_dropout=0.2, recurrent_dropout=0.5) == [0.4, 0, 0.2, 0, 0.5]


def dense(gradient: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(gradient, Rows):
        return np.array(gradient)
    array = np.zeros(shape)
    assert len(np.unique(gradient.ids)) == len(gradient.ids)
    array[gradient.ids] = gradient.values
    return array


def test_the_gradient_of_the_table_is_of_the_rows_that_were_seen(workspace: Workspace) -> None:
    model, chunk = make_rnnlm(), chunk_of(5, 4)
    model.loss_and_gradients(chunk, workspace)
    gradient = model.embedding.weight.gradient
    assert isinstance(gradient, Rows)
    assert sorted(gradient.ids.tolist()) == np.unique(chunk.inputs).tolist()


def test_no_array_of_the_tables_size_is_made() -> None:
    vocabulary = Vocabulary([f"w{i}" for i in range(20_000)])
    model = RNNLM(vocabulary, embedding_dim=500, hidden_size=2)
    with Workers(1) as workers:
        workspace = Workspace(np.float32, workers, training=True)
        tracemalloc.start()
        model.loss_and_gradients(chunk_of(2, 2), workspace)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < model.embeddings.nbytes / 10


def test_a_chunk_without_events_has_no_loss(workspace: Workspace) -> None:
    model, chunk = make_rnnlm(), chunk_of(3, 2)
    chunk.targets[:] = -1
    assert model.loss_and_gradients(chunk, workspace) == (0.0, 0)
    assert all(not dense(p.gradient, p.value.shape).any() for p in model.parameter_list)


def test_a_dropout_mask_holds_for_a_whole_chunk(workspace: Workspace) -> None:
    """With w_hh = 0 the steps know nothing of each other: equal inputs have equal losses if they have one mask."""
    model = make_rnnlm(dropout=0.5)
    model.parameters["recurrent.w_hh"][:] = 0
    shape, losses = (6, 1), []
    for steps in range(1, 7):
        targets = np.full(shape, 3, np.int32)
        targets[steps:] = -1
        chunk = Chunk(np.full(shape, 2, np.int32), targets, np.zeros(shape, np.uint8), np.zeros(shape, np.int64))
        loss, num_events = model.loss_and_gradients(chunk, workspace)
        losses.append(loss / num_events)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)
    workspace.step += 1
    assert model.loss_and_gradients(chunk, workspace)[0] / 6 != pytest.approx(losses[0])


def test_streams_have_dropout_masks_of_their_own(workspace: Workspace) -> None:
    model = make_rnnlm(dropout=0.5)
    shape, losses = (1, 4), []
    for b in range(4):
        targets = np.full(shape, -1, np.int32)
        targets[0, b] = 3
        chunk = Chunk(np.full(shape, 2, np.int32), targets, np.ones(shape, np.uint8), np.zeros(shape, np.int64))
        losses.append(model.loss_and_gradients(chunk, workspace)[0])
    assert len(set(losses)) == 4


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_state_is_carried_on_without_dropout(workspace: Workspace, cell: str) -> None:
    """Dropout is for the layers above and below; here only the one above can matter, for w_xh = 0."""
    model = make_rnnlm(dropout=0.5, cell=cell)
    model.parameters["recurrent.w_xh"][:] = 0
    plain = make_rnnlm(dropout=0.0, cell=cell)
    for name, array in model.parameters.items():
        plain.parameters[name][:] = array
    first, second = chunk_of(3, 2, seed=1), chunk_of(4, 2, seed=2)
    first.resets[0], second.resets[0] = 1, 0
    model.loss_and_gradients(first, workspace)
    loss, _ = plain.loss_and_gradients(second, workspace)
    _, state = run(model, first.inputs, first.resets, zeros(model, 2))
    log_probs, _ = run(model, second.inputs, second.resets, state)
    events = second.targets >= 0
    expected = np.take_along_axis(log_probs, np.maximum(second.targets, 0)[..., np.newaxis], axis=2)[..., 0]
    assert loss == pytest.approx(-expected[events].sum(), rel=1e-11)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_recurrent_weights_learn_at_a_rate_of_their_own(cell: str) -> None:
    model = make_rnnlm(cell=cell, num_layers=2, recurrent_rate_factor=0.25)
    factors = {parameter.name: parameter.rate_factor for parameter in model.parameter_list}
    slow = {name for name in factors if name.endswith("w_hh")}
    assert len(slow) == 2
    assert factors == {name: 0.25 if name in slow else 1.0 for name in factors}
