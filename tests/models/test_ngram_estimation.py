"""Estimation: the oracle's probabilities for every word everywhere; tests/kenlm compares with KenLM's."""

import gzip
import logging
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_ngram import NGramOracle

from fastlm.data import sample_text
from fastlm.errors import DataError
from fastlm.models import NGramLM
from fastlm.models.ngram_estimation import FALLBACK_DISCOUNTS, kneser_ney_discounts
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary


def fit(text: list[str], order: int, smoothing: str = "kneser-ney", **options: int) -> NGramLM:
    vocabulary = Vocabulary.build(text, **options)
    return NGramLM(vocabulary, order=order, smoothing=smoothing).fit(Corpus.encode(text, vocabulary))


def oracle_of(model: NGramLM, text: list[str]) -> NGramOracle:
    sentences = [[word if word in model.vocabulary else "<unk>" for word in line.split()] for line in text]
    return NGramOracle(sentences, model.vocabulary.words, model.config["order"], FALLBACK_DISCOUNTS)


def assert_equal_to_oracle(model: NGramLM, text: list[str], context: list[str]) -> None:
    """Compare the distributions at all places of a sentence."""
    oracle = oracle_of(model, text)
    probability = oracle.kneser_ney if model.config["smoothing"] == "kneser-ney" else oracle.maximum_likelihood
    words = model.vocabulary.words
    state, history = model.start(), ("<s>",)
    for word in [*context, "</s>"]:
        expected = [probability(each, history) for each in words]
        np.testing.assert_allclose(np.exp(model.log_probs(state)), expected, rtol=2e-6, atol=1e-30)
        state = model.advance(state, model.vocabulary[word])
        history = (*history, word if word in model.vocabulary else "<unk>")


TEXTS = st.lists(st.lists(st.sampled_from("aaaabbbccdef"), max_size=9).map(" ".join), min_size=1, max_size=30).filter(
    any
)


@pytest.mark.filterwarnings("ignore")
@given(text=TEXTS, order=st.integers(1, 5), smoothing=st.sampled_from(["kneser-ney", "none"]), context=st.text("abcz"))
def test_every_probability_is_the_oracles(text: list[str], order: int, smoothing: str, context: str) -> None:
    text = [line for line in text if line]
    assert_equal_to_oracle(fit(text, order, smoothing), text, list(context[:8]))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("smoothing", ["kneser-ney", "none"])
@pytest.mark.parametrize("min_count", [1, 3])
def test_sentences_of_words(english_lines: list[str], order: int, smoothing: str, min_count: int) -> None:
    model = fit(english_lines, order, smoothing, min_count=min_count)
    for line in (english_lines[0], english_lines[15], "a dog and the old bird of prey sat on the mat"):
        assert_equal_to_oracle(model, english_lines, line.split())


def test_a_literal_unknown_word_is_a_word_like_others(english_lines: list[str]) -> None:
    text = [line.replace("cat", "<unk>").replace("dog", "<unk>") for line in english_lines]
    model = fit(text, 3)
    assert model.predict("the", k=40, unknown=True)[0].word == "<unk>"
    assert_equal_to_oracle(model, text, ["the", "<unk>", "sat"])


def test_words_of_the_vocabulary_that_the_text_does_not_have(english_lines: list[str]) -> None:
    vocabulary = Vocabulary(["zebra", *Vocabulary.build(english_lines).words[2:], "yak"])
    model = NGramLM(vocabulary, order=2).fit(Corpus.encode(english_lines, vocabulary))
    probabilities = [np.exp(model.next_log_probs("the")[vocabulary[word]]) for word in ("zebra", "yak", "<unk>")]
    assert probabilities[0] == probabilities[1] == probabilities[2] > 0
    assert_equal_to_oracle(model, english_lines, ["the", "yak", "sat"])


def test_an_open_last_sentence_has_no_end(english_lines: list[str]) -> None:
    vocabulary = Vocabulary.build(english_lines)
    ids = Corpus.encode(english_lines, vocabulary).ids
    model = NGramLM(vocabulary, order=2, smoothing="none").fit(Corpus.from_ids(ids[:3], vocabulary))  # the cat sat
    assert model.score("the cat").tokens[1].log_prob == 0
    assert model.next_log_probs("the cat sat").max() == -math.inf


def test_ids_that_a_damaged_corpus_has(english_lines: list[str]) -> None:
    vocabulary = Vocabulary.build(english_lines)
    for id in (len(vocabulary), 60_000):
        corpus = Corpus(np.array([2, id, 1], np.uint16), vocabulary, num_sentences=1, num_unknown=0)  # nobody checks
        with pytest.raises(DataError, match=f"the corpus has the id {id}, expected 0 to {len(vocabulary) - 1}"):
            NGramLM(vocabulary).fit(corpus)


# What is said about it


@pytest.fixture(scope="module")
def shakespeare() -> list[str]:
    with gzip.open(sample_text("shakespeare"), "rt", encoding="utf-8") as sample:
        return [line.rstrip("\n") for line in sample if line.strip()][:6000]


def test_what_the_model_knows_of_its_estimation(shakespeare: list[str]) -> None:
    training = fit(shakespeare, 3).info["training"]
    assert training["num_tokens"] == 41_011
    assert training["num_sentences"] == 6000
    assert training["num_ngrams"] == [7982, 26314, 31610]
    assert training["fallback_orders"] == []
    assert len(training["discounts"]) == 3
    assert all(0 < d1 < 1 and d1 < d2 < 2 and d2 < d3 <= 3 for d1, d2, d3 in training["discounts"])


def test_discounts_that_cannot_be_estimated(caplog: pytest.LogCaptureFixture) -> None:
    text = ["a b a b", "b a"]
    with caplog.at_level(logging.WARNING):
        model = fit(text, 4)
    assert model.info["training"]["fallback_orders"] == [1, 2, 3, 4]
    assert model.info["training"]["discounts"] == [list(FALLBACK_DISCOUNTS)] * 4
    assert "no discounts can be estimated for 3-grams where 6, 0, 0 and 0 of them have the counts 1 to 4" in caplog.text
    assert_equal_to_oracle(model, text, ["a", "b", "b", "z"])


def test_orders_that_have_no_ngrams_need_no_discounts(caplog: pytest.LogCaptureFixture) -> None:
    model = fit(["a", "b", "a"], 6)
    assert model.info["training"]["num_ngrams"] == [5, 4, 2, 0, 0, 0]
    assert max(model.info["training"]["fallback_orders"]) == 3
    assert "4-grams" not in caplog.text


def test_without_smoothing_nothing_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    training = fit(["a"], 3, "none").info["training"]
    assert "discounts" not in training
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("counts", "discounts"),
    [
        ((600, 100, 50, 25), (0.75, 0.875, 1.5)),
        ((4, 3, 2, 1), (0.4, 1.2, 2.2)),
        ((4, 3, 2, 0), (0.4, 1.2, 3.0)),
        ((0, 3, 2, 1), None),
        ((4, 0, 2, 1), None),
        ((4, 3, 0, 1), None),
        ((100, 1, 10, 1), None),  # D2 would be negative
        ((10, 1, 1, 10), None),  # D3 would be
    ],
)
def test_discounts(counts: tuple[int, ...], discounts: tuple[float, ...] | None) -> None:
    found = kneser_ney_discounts(*counts)
    assert found == (discounts and pytest.approx(discounts))


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("smoothing", ["kneser-ney", "none"])
def test_memory_stays_within_what_is_said_before(shakespeare: list[str], order: int, smoothing: str) -> None:
    assert_within_bound(Corpus.encode(shakespeare, Vocabulary.build(shakespeare)), order, smoothing)


@pytest.mark.parametrize("order", [12, 16])
@pytest.mark.parametrize("smoothing", ["kneser-ney", "none"])
def test_memory_stays_within_it_where_no_ngram_comes_twice(order: int, smoothing: str) -> None:
    vocabulary = Vocabulary([f"w{number}" for number in range(1000)])
    ids = np.random.default_rng(1).integers(2, len(vocabulary), 50_000).astype(np.int32)
    ids[99::100] = vocabulary.end_id
    assert_within_bound(Corpus.from_ids(ids, vocabulary), order, smoothing)


def assert_within_bound(corpus: Corpus, order: int, smoothing: str) -> None:
    model = NGramLM(corpus.vocabulary, order=order, smoothing=smoothing)
    bound = model.memory_bound(corpus)
    model.fit(corpus)  # what is imported late is no part of it
    model = NGramLM(corpus.vocabulary, order=order, smoothing=smoothing)
    tracemalloc.start()
    try:
        model.fit(corpus)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bound / 4 < peak < bound + 50_000
