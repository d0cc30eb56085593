"""Mixtures: their definition, their weights, and which models go together."""

import math
import re

import numpy as np
import pytest
from composed_models import CORPUS, IDS, TRAIN, VOCABULARY, network, ngram, window
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm import NNLM, Adapted, Corpus, Mixture, NGramLM, Vocabulary
from fastlm.models.mixture import estimated_weights

PARTS = (network(), ngram(), window())


def test_a_mixture_is_the_weighted_sum_of_probabilities() -> None:
    mixture = Mixture(PARTS, [0.5, 0.2, 0.3])
    columns = [model.token_log_probs(CORPUS) for model in PARTS]
    expected = np.log(np.array([0.5, 0.2, 0.3]) @ np.exp(columns))
    np.testing.assert_allclose(mixture.token_log_probs(CORPUS), expected, rtol=1e-12)


def test_one_model_alone_is_itself() -> None:
    mixture = Mixture([network()])
    assert mixture.weights == (1.0,)
    np.testing.assert_allclose(mixture.token_log_probs(CORPUS), network().token_log_probs(CORPUS), rtol=1e-12)


def test_weights_are_alike_if_not_given() -> None:
    assert Mixture(PARTS).weights == pytest.approx([1 / 3] * 3)


def test_a_mixture_of_mixtures_is_one() -> None:
    inner = Mixture(PARTS[:2], [0.25, 0.75])
    outer = Mixture([inner, PARTS[2]], [0.4, 0.6])
    assert outer.models == PARTS
    assert outer.weights == pytest.approx([0.1, 0.3, 0.6])
    assert outer.token_log_probs(CORPUS) == pytest.approx(
        np.log(0.4 * np.exp(inner.token_log_probs(CORPUS)) + 0.6 * np.exp(PARTS[2].token_log_probs(CORPUS)))
    )


def test_what_it_says_of_itself() -> None:
    counts = Mixture([window(), ngram()])
    assert (counts.context, counts.carries_state, counts.context_length) == ("sentence", False, 3)
    mixed = Mixture([network(), ngram()])
    assert (mixed.context, mixed.carries_state, mixed.context_length) == ("continuous", True, None)
    assert not mixed.adapts
    assert Mixture([Adapted(network()), ngram()]).adapts


def test_an_impossible_word_is_impossible_for_all() -> None:
    counts = [ngram(n, "none") for n in (2, 3)]
    mixture = Mixture(counts)
    text = Corpus.from_ids([9, 10, 9, 1], VOCABULARY)
    assert [model.evaluate(text).perplexity for model in (*counts, mixture)] == [math.inf] * 3
    assert np.isfinite(Mixture([*counts, window()]).evaluate(text).perplexity)


# Weights


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(1, 60))
def test_no_weights_are_better(seed: int, num_models: int, num_tokens: int) -> None:
    random = np.random.default_rng(seed)
    log_probs = np.log(random.dirichlet(np.ones(num_tokens), num_models) * random.uniform(0.1, 1, (num_models, 1)))
    found = estimated_weights(log_probs)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()

    def loss(weights: np.ndarray) -> float:
        return float(-np.log(weights @ np.exp(log_probs)).mean())

    for other in [*np.eye(num_models), *random.dirichlet(np.ones(num_models), 20)]:
        for share in (1e-3, 0.1, 1.0):
            assert loss(found) <= loss((1 - share) * found + share * other) + 1e-5


def test_tuning_finds_the_weights_that_are_the_best_of_a_grid() -> None:
    mixture = Mixture([network(), ngram()])
    assert mixture.tune(CORPUS, num_streams=1) is mixture
    columns = np.exp([model.token_log_probs(CORPUS) for model in mixture.models])
    grid = np.linspace(0.001, 0.999, 999)
    losses = [-np.log(weight * columns[0] + (1 - weight) * columns[1]).mean() for weight in grid]
    assert mixture.weights[0] == pytest.approx(grid[np.argmin(losses)], abs=0.002)
    assert mixture.evaluate(CORPUS, num_streams=1).loss <= min(losses) + 1e-9
    assert mixture.config["weights"] == list(mixture.weights)
    mixture.models[0].info = {"note": "later"}
    assert mixture.config["models"][0]["info"] == {"note": "later"}
    assert mixture.info["tuning"]["num_tokens"] == len(IDS)


def test_the_weights_do_not_depend_on_threads_or_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Mixture(PARTS).tune(CORPUS, threads=1).weights
    assert Mixture(PARTS).tune(CORPUS, threads=3).weights == expected
    monkeypatch.setattr("fastlm.inference.side_by_side.ROUND_TOKENS", 8)
    assert Mixture(PARTS).tune(CORPUS, threads=1).weights == pytest.approx(expected, abs=1e-4)


def test_a_model_that_is_right_by_heart_gets_all() -> None:
    mixture = Mixture([ngram(1, "none"), NGramLM(VOCABULARY, order=5, smoothing="none").fit(CORPUS)]).tune(CORPUS)
    assert mixture.weights[1] > 0.95


@pytest.mark.parametrize(
    "weights", [[0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0], [0.1, 0.1, 0.1], [np.nan, 0.5, 0.5], [[1, 0, 0]]]
)
def test_wrong_weights_are_named(weights: list) -> None:
    with pytest.raises(ValueError, match=re.escape(f"weights are {weights!r}, expected 3 numbers of at least 0")):
        Mixture(PARTS, weights)


# Side by side


@pytest.mark.parametrize("num_streams", [1, 3])
def test_compare_gives_what_each_evaluates_to(num_streams: int) -> None:
    long = Corpus.from_ids(np.tile(IDS, 12), VOCABULARY)
    mixture = Mixture(PARTS, [0.5, 0.2, 0.3])
    reports = mixture.compare(long, num_streams=num_streams, threads=2)
    for report, model in zip(reports, [*PARTS, mixture], strict=True):
        expected = model.evaluate(long, num_streams=num_streams).to_dict()
        for name, value in report.to_dict().items():
            assert value == (pytest.approx(expected[name]) if isinstance(value, float) else expected[name]), name


def test_all_read_in_one_stream_if_one_adapts() -> None:
    long = Corpus.from_ids(np.tile(IDS, 12), VOCABULARY)
    mixture = Mixture([Adapted(network(), learning_rate=0.0), network(seed=3), ngram()])
    assert [report.num_streams for report in mixture.compare(long)] == [1, 1, None, 1]


# What does not go together


def test_what_is_no_model_is_named() -> None:
    with pytest.raises(ValueError, match="made of language models, got a str"):
        Mixture(["a.fastlm"])
    for alone in (5, network()):
        with pytest.raises(ValueError, match=f"made of a list of language models, got a {type(alone).__name__}"):
            Mixture(alone)
    with pytest.raises(ValueError, match="a mixture of no models"):
        Mixture([])


@pytest.mark.parametrize(
    ("words", "tokenizer", "message"),
    [
        (VOCABULARY.words[2:-1], "whitespace", "different vocabularies: 'b' only in the first;"),
        ([*VOCABULARY.words[2:], "x"], "whitespace", "different vocabularies: 'x' only in the second;"),
        (
            [*VOCABULARY.words[3:], *"uvwxyz"],
            "whitespace",
            r"'the' only in the first, 'u', 'v', 'w', 'x', 'y' … \(6 words\) only in the second",
        ),
        (VOCABULARY.words[:1:-1], "whitespace", "in another order: id 2 is 'the' and 'b'"),
        (VOCABULARY.words[2:], "word", "the words are the same, but their tokenizers are"),
    ],
)
def test_vocabularies_that_differ(words: list[str], tokenizer: str, message: str) -> None:
    other = NNLM(Vocabulary(words, tokenizer=tokenizer), embedding_dim=2, hidden_size=2)
    with pytest.raises(ValueError, match=f"models 1 and 3 have {message}" if "have" in message else message):
        Mixture([window(), ngram(), other])


def test_counts_of_words_may_differ() -> None:
    other = NNLM(Vocabulary(VOCABULARY.words[2:]), embedding_dim=2, hidden_size=2)
    assert len(Mixture([ngram(), other]).models) == 2


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the models go through the text, what is held back is no more than some rounds."""
    monkeypatch.setattr("fastlm.inference.side_by_side.ROUND_TOKENS", 64)
    monkeypatch.setattr("fastlm.models.rnnlm.EVALUATION_ROWS", 64)
    text = Corpus.from_ids(np.tile(TRAIN.ids, 20), VOCABULARY)
    mixture = Mixture([network(), window("continuous"), ngram(), network(seed=4)])
    sizes = [len(positions) for positions, _ in mixture.log_prob_blocks(text, num_streams=4)]
    assert sum(sizes) == text.num_tokens > 2000
    assert max(sizes) <= 128
