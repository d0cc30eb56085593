"""Adaptation: against the papers' formulas, what it keeps and forgets, and how its settings are found."""

import copy
import math
import re
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from composed_models import ADAPTING, CORPUS, IDS, MODELS, TRAIN, VOCABULARY, V, network, ngram, one_by_one, window
from reference_adaptation import DynamicRNNLM, cache_probabilities

import fastlm
from fastlm import RNNLM, Adapted, Corpus, FastLMError, Mixture, ModelFileError, Vocabulary, gradient_sizes
from fastlm.inference.tokens import line_perplexities
from fastlm.models import dynamic_evaluation
from fastlm.models.adaptation_tuning import FLATNESSES
from fastlm.models.adapted import adapt_networks
from fastlm.models.neural import NeuralModel
from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace


def dynamic(model: RNNLM, **options: object) -> Adapted:
    return Adapted(model, **({"cache_weight": 0.0} | ADAPTING | options))


# Their definitions


@pytest.mark.parametrize("segment_size", [1, 2, 5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_dynamic_evaluation_against_the_definition(segment_size: int, decay: float) -> None:
    model, options = network(), {"learning_rate": 0.4, "decay": decay, "segment_size": segment_size}
    oracle = DynamicRNNLM(model.parameters, VOCABULARY.end_id, **options)
    expected = []
    for id in IDS.tolist():
        expected.append(oracle.log_probs())
        oracle.read(id)
    adapted = dynamic(model, **options)
    own = np.array(expected)[np.arange(len(IDS)), IDS]
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), own, rtol=1e-9)
    _, state = adapted.score_ids(adapted.start(), IDS)
    np.testing.assert_allclose(adapted.log_probs(state), oracle.log_probs(), rtol=1e-9)
    assert abs(own - model.token_log_probs(CORPUS)).max() > 0.1  # it has done something


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize(
    "model",
    [
        network(output="adaptive", cutoffs=[4, 7]),
        network(RNNLM, "sentence", cell="gru", output="class", num_classes=4),
        network(cell="lstm", num_layers=2, embedding_dim=4, tied=True),
        network(cell="lstm", output="sampled", num_samples=3),
        window(output="adaptive", cutoffs=[4, 7]),
        window("continuous", output="nce", num_samples=3, tied=True),
        window("continuous", num_layers=2, num_averages=1),
    ],
    ids=lambda model: f"{model.architecture} {model.config['output']}",
)
def test_steps_of_any_network_against_the_definition(model: NeuralModel, decay: float) -> None:
    """The whole parameters are changed in each step here, whichever rows have a gradient."""
    learner, stored = copy.deepcopy(model), {name: array.copy() for name, array in model.parameters.items()}
    expected: list[np.ndarray] = []
    size = 3
    with Workers(1) as workers:
        workspace = Workspace(np.float64, workers)
        state = learner.start()
        first, state_after = learner.score_ids(state, IDS[: size + 1])
        expected.append(first)
        for begin in range(0, len(IDS) - size - 1, size):
            words = IDS[begin : begin + size + 1]
            _, behind = learner.score_ids(state, words[:-1])
            for parameter in learner.parameter_list:
                parameter.clear_gradient()
            workspace.step = begin // size
            learner.loss_and_gradients(learner.batch_after(state, words, workspace), workspace)
            for parameter in learner.parameter_list:
                gradient = np.zeros_like(parameter.matrix)
                rows = parameter.gradient_rows()
                gradient[rows.ids] = rows.values
                parameter.value -= 0.3 * gradient.reshape(parameter.value.shape)
                parameter.value += decay * (stored[parameter.name] - parameter.value)
            state, (_, state_after) = behind, learner.score_ids(behind, words[-1:])
            expected.append(learner.score_ids(state_after, IDS[begin + size + 1 : begin + 2 * size + 1])[0])
    adapted = dynamic(model, learning_rate=0.3, decay=decay, segment_size=size)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), np.concatenate(expected), rtol=1e-8)


def test_rates_by_gradient_sizes_against_the_definition() -> None:
    model, options = network(), {"learning_rate": 0.6, "decay": 0.1, "segment_size": 4}
    sizes = {
        name: np.random.default_rng(len(array)).exponential(1, len(array)) for name, array in model.parameters.items()
    }
    oracle = DynamicRNNLM(model.parameters, VOCABULARY.end_id, sizes=sizes, **options)
    expected = []
    for id in IDS.tolist():
        expected.append(oracle.log_probs()[id])
        oracle.read(id)
    adapted = dynamic(model, gradient_sizes=sizes, **options)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), expected, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"tied": True, "embedding_dim": 7}, {"output": "nce", "num_samples": 4}])
def test_gradient_sizes_are_root_mean_squares_over_batches(options: dict) -> None:
    model = network(activation_penalty=2.0, dropout=0.5, **options)
    before = {name: array.tobytes() for name, array in model.parameters.items()}
    squares = {name: np.zeros(array.shape) for name, array in model.parameters.items()}
    with Workers(1) as workers:
        workspace = Workspace(np.float64, workers)
        batches = list(model.training_batches(TRAIN, batch_size=model.default_batch_size, bptt_len=None, seed=(0,)))
        for batch in batches:
            for parameter in model.parameter_list:
                parameter.clear_gradient()
            model.loss_and_gradients(batch, workspace)
            workspace.step += 1
            for parameter in model.parameter_list:
                rows = parameter.gradient_rows()
                squares[parameter.name].reshape(parameter.matrix.shape)[rows.ids] += rows.values**2
    for parameter in model.parameter_list:
        parameter.release_gradient()
    sizes = gradient_sizes(model, TRAIN, threads=1)
    assert sizes.keys() == squares.keys()
    for name, square in squares.items():
        mean = square.reshape(len(square), -1).mean(axis=1) / len(batches)
        np.testing.assert_allclose(sizes[name], np.sqrt(mean), rtol=1e-9)
    assert {name: array.tobytes() for name, array in model.parameters.items()} == before
    assert all(parameter.gradient is None for parameter in model.parameter_list)
    part = Corpus.from_ids(TRAIN.ids[:40].copy(), VOCABULARY)
    for name, some in gradient_sizes(model, TRAIN, num_tokens=40, threads=2).items():
        np.testing.assert_array_equal(some, gradient_sizes(model, part, threads=1)[name])


def test_gradient_sizes_are_kept_in_the_file(tmp_path: Path) -> None:
    model = network()
    adapted = Adapted(model, gradient_sizes=gradient_sizes(model, TRAIN))
    assert adapted.settings.learning_rate == 0.5
    Mixture([adapted, ngram()]).save(tmp_path / "model")
    loaded = fastlm.load(tmp_path / "model").models[0]
    assert loaded.token_log_probs(CORPUS).tobytes() == adapted.token_log_probs(CORPUS).tobytes()
    assert (
        loaded.token_log_probs(CORPUS).tobytes() != Adapted(model, learning_rate=0.5).token_log_probs(CORPUS).tobytes()
    )
    assert {name: array.tolist() for name, array in loaded.gradient_sizes.items()} == {
        name: array.tolist() for name, array in adapted.gradient_sizes.items()
    }


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda sizes: sizes.pop("output.bias"), "not those of this model"),
        (lambda sizes: sizes.update(more=np.ones(3)), "not those of this model"),
        (lambda sizes: sizes.update({"output.bias": np.ones((V, 1))}), "not those of this model"),
        (lambda sizes: sizes["output.bias"].fill(-1), "not all finite and at least 0"),
        (lambda sizes: sizes["output.bias"].fill(np.nan), "not all finite and at least 0"),
    ],
)
def test_gradient_sizes_that_do_not_fit_are_named(tmp_path: Path, alter: Callable, message: str) -> None:
    model = network()
    sizes = gradient_sizes(model, TRAIN)
    adapted = Adapted(model, gradient_sizes=sizes)
    alter(sizes)
    with pytest.raises(ValueError, match=message):
        Adapted(model, gradient_sizes=sizes)
    adapted.gradient_sizes = sizes
    adapted.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match=message):
        fastlm.load(tmp_path / "model")


def test_only_networks_have_gradient_sizes() -> None:
    with pytest.raises(ValueError, match="a NGramLM has no gradients; give a network"):
        gradient_sizes(ngram(), TRAIN)
    with pytest.raises(ValueError, match="another vocabulary"):
        gradient_sizes(network(), Corpus.from_ids([2, 3], Vocabulary(["x", "y"])))
    with pytest.raises(ValueError, match="not those of this model"):
        Adapted(ngram(), gradient_sizes={})
    with pytest.raises(ValueError, match="gradient_sizes is 5, expected an array for the name of each parameter"):
        Adapted(network(), gradient_sizes=5)


def by_definition(model: RNNLM, size: int, weight: float, flatness: float) -> np.ndarray:
    """Return all distributions with a cache of what the model's hidden layer was before each word."""
    keys, state, expected = [], model.start(), []
    for n, id in enumerate(IDS.tolist()):
        hidden = state.hidden if isinstance(model, RNNLM) else np.empty(0)
        probabilities = np.exp(model.log_probs(state))
        if n:
            past = slice(max(0, n - size), n)
            keys_then = np.array(keys)[past]
            cached = cache_probabilities(keys_then, IDS[past], hidden, flatness, V)
            probabilities = (1 - weight) * probabilities + weight * cached
        expected.append(np.log(probabilities))
        keys.append(hidden)
        state = model.advance(state, id)
    return np.array(expected)


@pytest.mark.parametrize(("size", "flatness"), [(1, 0.5), (6, 0.0), (6, 0.5), (500, 2.0)])
@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_the_cache_against_the_definition(context: str, size: int, flatness: float) -> None:
    model = network(RNNLM, context)
    adapted = Adapted(model, learning_rate=0.0, cache_size=size, cache_weight=0.3, flatness=flatness)
    expected = by_definition(model, size, 0.3, flatness)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), expected[np.arange(len(IDS)), IDS], rtol=1e-9)
    state = adapted.start()
    for n, id in enumerate(IDS.tolist()):
        np.testing.assert_allclose(adapted.log_probs(state), expected[n], rtol=1e-9)
        state = adapted.advance(state, id)


def test_a_model_without_hidden_layer_has_a_cache_of_counts() -> None:
    expected = by_definition(ngram(), 6, 0.3, 0.0)[np.arange(len(IDS)), IDS]
    adapted = Adapted(ngram(), cache_size=6, cache_weight=0.3, flatness=0.7)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), expected, rtol=1e-6)


def test_what_regularises_training_is_no_part_of_it() -> None:
    plain = network(cell="lstm", num_layers=2)
    regularised = network(
        cell="lstm", num_layers=2, activation_penalty=2.0, temporal_penalty=1.0, dropout=0.5, recurrent_dropout=0.5
    )
    assert dynamic(regularised).token_log_probs(CORPUS).tobytes() == dynamic(plain).token_log_probs(CORPUS).tobytes()


def test_rooms_of_the_cache_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Adapted(network(), **ADAPTING).token_log_probs(CORPUS)
    for rows in (1, 4):
        monkeypatch.setattr("fastlm.models.adapted.EVALUATION_ROWS", rows)
        np.testing.assert_allclose(Adapted(network(), **ADAPTING).token_log_probs(CORPUS), expected, rtol=1e-9)


def test_without_both_it_is_the_model() -> None:
    adapted = Adapted(network(), learning_rate=0.0, cache_weight=0.0)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), network().token_log_probs(CORPUS), rtol=1e-9)


def test_full_decay_forgets_each_segment() -> None:
    adapted = dynamic(network(), decay=1.0)
    np.testing.assert_allclose(adapted.token_log_probs(CORPUS), network().token_log_probs(CORPUS), rtol=1e-9)


def test_a_window_learns_what_comes_again() -> None:
    text = Corpus.from_ids(np.tile(IDS[:20], 30), VOCABULARY)
    for model in (window(), window("continuous"), network(), network(RNNLM, "sentence")):
        own, adapted = (each.token_log_probs(text) for each in (model, dynamic(model, decay=0.0)))
        assert adapted[-100:].mean() > own[-100:].mean() + 0.2
    rare = Corpus.from_ids([10, 9, 1] * 30, VOCABULARY)
    counted = Adapted(ngram(), cache_weight=0.2).token_log_probs(rare)
    assert counted.mean() > ngram().token_log_probs(rare).mean()


# States


def test_start_begins_anew_and_a_state_is_a_snapshot() -> None:
    adapted = Adapted(network(), **ADAPTING)
    first, snapshot = adapted.score_ids(adapted.start(), IDS[:25])
    further, _ = adapted.score_ids(snapshot, IDS[25:])
    adapted.score_ids(snapshot, IDS[::-1].copy())  # another way to go on
    again, _ = adapted.score_ids(snapshot, IDS[25:])
    assert again.tobytes() == further.tobytes()
    anew, _ = adapted.score_ids(adapted.start(), IDS[:25])
    assert anew.tobytes() == first.tobytes()


def test_states_share_what_has_not_been_learned_since() -> None:
    adapted = dynamic(network(), segment_size=4)
    state = adapted.start()
    assert state.adapted is adapted.model
    models = []
    for word in IDS[:10].tolist():
        state = adapted.advance(state, word)
        models.append(state.adapted)
    assert [state.adapted is not before for before in models] == [True] * 8 + [False] * 2
    assert len({id(model) for model in models}) == 3
    assert state.num_steps == 2
    assert all(parameter.gradient is None for parameter in state.adapted.parameter_list)


def test_the_cache_is_read_only_and_no_longer_than_asked() -> None:
    adapted = Adapted(network(), learning_rate=0.0, cache_size=5)
    _, state = adapted.score_ids(adapted.start(), IDS)
    assert state.cached.words.tolist() == IDS[-5:].tolist()
    with pytest.raises(ValueError, match="read-only"):
        state.cached.keys[0] = 0


def test_a_text_is_read_in_one_stream() -> None:
    long = Corpus.from_ids(np.tile(IDS, 20), VOCABULARY)
    adapted = dynamic(network())
    report = adapted.evaluate(long, num_streams=16)
    assert report.num_streams == 1
    assert report.loss == pytest.approx(-one_by_one(adapted, long.ids).mean(), rel=1e-9)


def test_networks_adapt_in_a_mixture() -> None:
    adapting = adapt_networks(Mixture([network(), ngram()], [0.7, 0.3]))
    assert [type(part).__name__ for part in adapting.models] == ["Adapted", "NGramLM"]
    assert adapting.weights == (0.7, 0.3)
    assert type(adapt_networks(ngram())).__name__ == "NGramLM"


# What goes along a text, or through a tree, keeps few states

COMPOSED = ["dynamic and cache", "window", "layers of an LSTM, tied", "counts with a cache", "mixture of adapted"]


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many copies of networks there are, each time that one more is made."""
    counts: list[int] = []
    copies: weakref.WeakSet[NeuralModel] = weakref.WeakSet()
    make = dynamic_evaluation._network_over

    def counted(*arguments: object) -> NeuralModel:
        made = make(*arguments)
        copies.add(made)
        counts.append(len(copies))
        return made

    monkeypatch.setattr(dynamic_evaluation, "_network_over", counted)
    return counts


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("stop", [8, 9, 15, len(IDS)])
def test_distributions_along_a_text_are_those_of_its_states(name: str, stop: int) -> None:
    model = MODELS[name]()
    _, state = model.score_ids(model.start(), IDS[:8])
    log_probs, last = model.log_probs_along(state, IDS[8:stop])
    for place, id in enumerate(IDS[8:stop].tolist()):
        expected = model.log_probs(state)[np.newaxis]
        np.testing.assert_allclose(log_probs(slice(place, place + 1)), expected, rtol=1e-9)
        state = model.advance(state, id)
    assert last == state
    np.testing.assert_allclose(model.log_probs(last), model.log_probs(state), rtol=1e-9)


@pytest.mark.parametrize("name", COMPOSED)
def test_a_tree_is_scored_as_its_paths(name: str) -> None:
    model, random = MODELS[name](), np.random.default_rng(5)
    parents = np.array([random.integers(-1, edge) if edge else -1 for edge in range(60)], np.int32)
    parents[20:40] = np.arange(19, 39)
    ids = random.integers(2, V, 60).astype(np.int32)
    expected, states = [], {-1: model.start()}
    for edge, (parent, id) in enumerate(zip(parents.tolist(), ids.tolist(), strict=True)):
        expected.append(model.log_prob(states[parent], id))
        states[edge] = model.advance(states[parent], id)
    np.testing.assert_allclose(model.tree_log_probs(parents, ids), expected, rtol=1e-9)
    assert model.tree_log_probs(parents[:0], ids[:0]).shape == (0,)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["dynamic and cache", "mixture of adapted"])
def test_a_table_of_distributions_holds_few_networks(
    name: str, threads: int, alive: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastlm.inference.measures.MOST_ROWS", 7)
    table = MODELS[name]().measure_tokens(["the cat sat on the mat"] * 50, threads=threads)
    assert len(table) == 350
    assert len(alive) >= 50
    assert max(alive) <= 8  # three, and what threads have not let go of yet


def test_sentences_hold_few_networks(alive: list[int]) -> None:
    """As many as a sentence has segments, where all have others that leave it on the way; mostly one or two."""
    model, random = Adapted(network(), **ADAPTING), np.random.default_rng(4)
    lines = [" ".join(random.choice(VOCABULARY.words[2:], 12)) for _ in range(50)]
    list(line_perplexities(model, lines))
    assert len(alive) >= 50
    assert max(alive) <= 4
    alive.clear()
    words = random.choice(VOCABULARY.words[2:], 24).tolist()
    model.score_nbest([" ".join([*words[:n], "cat", *words[n + 1 :]]) for n in range(24)])
    assert len(alive) >= 24
    assert max(alive) <= 24 / ADAPTING["segment_size"] + 2


# Settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", -1, "at least 0"),
        ("learning_rate", math.inf, "a finite number"),
        ("learning_rate", "fast", "a finite number"),
        ("decay", 1.5, "from 0 to 1"),
        ("cache_weight", 1.0, "at least 0 and below 1"),
        ("flatness", math.nan, "a finite number"),
        ("segment_size", 0, "at least 1"),
        ("cache_size", 2.5, "at least 1"),
    ],
)
def test_wrong_settings_are_named(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*{re.escape(str(value))}") as error:
        Adapted(network(), **{name: value})
    assert expected in str(error.value)


def test_what_cannot_adapt_is_named() -> None:
    with pytest.raises(ValueError, match="does not adapt yet, got Adapted"):
        Adapted(Adapted(network()))
    with pytest.raises(ValueError, match="does not adapt yet, got Mixture"):
        Adapted(Mixture([ngram(), Adapted(network())]))
    with pytest.raises(ValueError, match="does not adapt yet, got str"):
        Adapted("model.fastlm")
    with pytest.raises(ValueError, match=r"learning_rate is 0\.1, but a NGramLM is not learned by gradients"):
        Adapted(ngram(), learning_rate=0.1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_rate_beyond_all_numbers_is_named() -> None:
    with pytest.raises(FastLMError, match=r"learning rate 1e\+38 .*take a smaller rate"):
        dynamic(network(dtype="float32"), learning_rate=1e38).token_log_probs(CORPUS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_it_is_named_also_where_no_further_step_is_taken() -> None:
    adapted = dynamic(network(dtype="float32"), learning_rate=1e39, segment_size=3)
    state = adapted.start()
    for word in ["the", "cat", "sat", "on"]:
        state = state.advance(word)
    for use in (
        lambda: adapted.score("the cat sat on"),
        lambda: adapted.score_nbest(["the cat sat on"]),
        lambda: adapted.measure_tokens(["the cat sat on"]),
        state.log_probs,
    ):
        with pytest.raises(FastLMError, match=r"learning rate 1e\+39 .*take a smaller rate"):
            use()


def test_parameters_that_were_no_numbers_before_are_not_laid_to_the_rate() -> None:
    broken = network()
    broken.parameters["output.bias"][:] = np.nan
    for rate in (0.0, 0.1):
        with pytest.raises(FastLMError, match="train it again"):
            dynamic(broken, learning_rate=rate).score("the")


def test_tuning_finds_better_settings() -> None:
    text = Corpus.from_ids(np.tile(TRAIN.ids, 2), VOCABULARY)
    adapted = Adapted(network(), segment_size=5)
    before = adapted.settings
    losses = [adapted.evaluate(text).loss]
    assert adapted.tune(text, threads=1) is adapted
    losses.append(adapted.evaluate(text).loss)
    assert losses[1] < losses[0]
    assert adapted.info["tuning"] == {
        "num_tokens": text.num_tokens,
        "perplexity": pytest.approx(math.exp(losses[1]), rel=1e-9),
    }
    assert (adapted.settings.segment_size, adapted.settings.cache_size) == (before.segment_size, before.cache_size)
    assert adapted.config["learning_rate"] == adapted.settings.learning_rate != before.learning_rate
    assert adapted.settings.flatness in FLATNESSES


@pytest.mark.parametrize("fixed", ["learning_rate", "decay", "cache_weight", "flatness"])
def test_what_is_fixed_stays(fixed: str) -> None:
    adapted = Adapted(network(), segment_size=5)
    expected = getattr(adapted.settings, fixed)
    assert getattr(adapted.tune(CORPUS, fixed=[fixed]).settings, fixed) == expected


@pytest.mark.parametrize("fixed", [["learning_ratee"], "decay", ["decay", 3], 5, ["model"]])
def test_what_is_no_setting_cannot_be_fixed(fixed: object) -> None:
    with pytest.raises(ValueError, match=rf"fixed is {re.escape(repr(fixed))}, expected a list .* learning_rate,"):
        dynamic(network()).tune(CORPUS, fixed=fixed)


def test_what_is_off_stays_off() -> None:
    assert Adapted(network(), learning_rate=0.0).tune(CORPUS).settings.learning_rate == 0
    tuned = dynamic(network()).tune(CORPUS)
    assert tuned.settings.cache_weight == 0
    assert tuned.info["tuning"]["perplexity"] == pytest.approx(tuned.evaluate(CORPUS).perplexity)


def test_a_text_that_stays_impossible_can_be_tuned_on(tmp_path: Path) -> None:
    tuned = Adapted(ngram(2, "none")).tune(Corpus.from_ids([10, 9, 10, 9, 1], VOCABULARY))
    assert tuned.info["tuning"]["perplexity"] is None
    tuned.save(tmp_path / "model")
    assert fastlm.load(tmp_path / "model").settings == tuned.settings


def test_rates_that_diverge_are_passed_over() -> None:
    tuned = dynamic(network(), learning_rate=64.0, decay=0.0).tune(CORPUS)
    assert tuned.settings.learning_rate < 64
    assert math.isfinite(tuned.info["tuning"]["perplexity"])


def test_steps_that_gain_nothing_are_not_taken() -> None:
    """Below some decay all decays are alike: the search does not follow them down."""
    text = Corpus.from_ids(np.tile(IDS[:20], 8), VOCABULARY)
    tuned = dynamic(network(), learning_rate=0.01, decay=1e-6).tune(text, fixed=["learning_rate"])
    assert tuned.settings.decay >= 1e-6
