"""Many samples in one batch: the same as one by one, with the probability of what was drawn, and stop words."""

import math

import numpy as np
import pytest
from tiny_model import WORDS, TinyModel

from fastlm.errors import FastLMError
from fastlm.inference import sampling
from fastlm.inference.generation import generate, sample
from fastlm.models import NNLM, RNNLM
from fastlm.text.vocabulary import Vocabulary


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def log_prob(model, prompt, words):
    """Sum over words that follow a prompt, by the definition."""
    state, total = model.start(), 0.0
    for word in prompt.split():
        state = model.advance(state, model.vocabulary[word])
    for word in words:
        total += model.log_probs(state)[model.vocabulary[word]]
        ended = word == "</s>" and model.context == "sentence"
        state = model.start() if ended else model.advance(state, model.vocabulary[word])
    return total


def test_the_first_is_what_generate_gives(model):
    for options in ({}, {"temperature": 0.5, "top_k": 4}, {"top_p": 0.7, "unknown": True}, {"stop_at_end": False}):
        texts = sample(model, "the cat", 5, max_tokens=20, seed=3, **options)
        assert texts[0].text == generate(model, "the cat", max_tokens=20, seed=3, **options)
        assert len({text.text for text in texts}) > 1


def test_a_sample_does_not_depend_on_how_many_follow(model, monkeypatch):
    many = sample(model, "the", 12, max_tokens=30, seed=1)
    assert sample(model, "the", 4, max_tokens=30, seed=1) == many[:4]
    monkeypatch.setattr(sampling, "MOST_VALUES", 5 * len(model.vocabulary))
    assert sample(model, "the", 12, max_tokens=30, seed=1) == many


@pytest.mark.parametrize("kind", [NNLM, RNNLM])
@pytest.mark.parametrize("options", [{}, {"stop_at_end": False}], ids=str)
def test_nor_does_its_rounding(kind, options):
    model = kind(Vocabulary(WORDS), embedding_dim=16, hidden_size=40, dtype="float32", seed=1)
    for seed in range(5):
        many = sample(model, "the cat", 4, max_tokens=30, seed=seed, **options)
        assert sample(model, "the cat", 1, max_tokens=30, seed=seed, **options) == many[:1]
        assert generate(model, "the cat", max_tokens=30, seed=seed, **options) == many[0].text


def test_what_cannot_go_on_is_cut_off(model):
    model.near[model.vocabulary["cat"], 1:] = -np.inf  # it is followed by <unk> alone
    results = sample(model, "the", 40, max_tokens=50, seed=1)
    cut = [result for result in results if "cat" in result.text.split()]
    assert 0 < len(cut) < 40
    for result in cut:
        assert result.text.split().index("cat") == result.num_tokens < 50
        assert result.ended_by is None
        assert result.log_prob == pytest.approx(log_prob(model, "the", result.text.split()[1:]))
    assert {result.ended_by for result in results if result not in cut} == {"</s>"}
    with pytest.raises(FastLMError, match="every word but <unk> has probability zero here; allow unknown words"):
        sample(model, "the cat", 3)
    assert "cat <unk>" in sample(model, "the cat", unknown=True)[0].text


def test_each_has_its_probability(model):
    for result in sample(model, "the cat", 20, max_tokens=6, seed=2, temperature=0.6):
        new = result.text.split()[2:] + ([result.ended_by] if result.ended_by else [])
        assert result.num_tokens == len(new)
        assert result.log_prob == pytest.approx(log_prob(model, "the cat", new))
        assert (result.ended_by is None) == (len(new) == 6 and new[-1] != "</s>")


def test_the_probability_past_the_end(model):
    result = sample(model, "the", max_tokens=40, seed=2, stop_at_end=False)[0]
    words = result.text.replace("\n", " </s> ").split()[1:]
    assert result.num_tokens == len(words) == 40
    assert result.log_prob == pytest.approx(log_prob(model, "the", words))
    assert result.ended_by is None


def test_stop_words_end_a_text_and_are_not_in_it(model):
    results = sample(model, "the", 40, seed=4, stop=["mat", "고양이"])
    assert {result.ended_by for result in results} == {"</s>", "mat", "고양이"}
    assert not any({"mat", "고양이"} & set(result.text.split()) for result in results)
    free = sample(model, "the", 40, seed=4)
    for stopped, going_on in zip(results, free, strict=True):
        assert going_on.text.startswith(stopped.text)
    assert generate(model, "the", seed=4, stop=["mat", "고양이"]) == results[0].text


def test_samples_have_the_frequencies_of_the_model():
    model = TinyModel()
    results = sample(model, "the cat", 4000, max_tokens=1, seed=1)
    words = [result.text.removeprefix("the cat").strip() for result in results]
    for word in WORDS:
        expected = math.exp(log_prob(model, "the cat", [word])) / (1 - math.exp(log_prob(model, "the cat", ["<unk>"])))
        assert words.count(word) / 4000 == pytest.approx(expected, abs=0.03)  # four standard deviations


@pytest.mark.parametrize("kind", [NNLM, RNNLM])
@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_networks_sample_in_batches(kind, context):
    model = kind(Vocabulary(WORDS), embedding_dim=5, hidden_size=7, context=context, dtype="float64")
    for result in sample(model, "the cat", 12, max_tokens=15, seed=5):
        new = result.text.split()[2:] + ([result.ended_by] if result.ended_by else [])
        assert result.log_prob == pytest.approx(log_prob(model, "the cat", new))


def test_what_is_wrong(model):
    with pytest.raises(ValueError, match="the stop word 'dog' is not in the model's vocabulary"):
        sample(model, stop=["dog"])
    with pytest.raises(ValueError, match="expected a list of words"):
        generate(model, stop="mat")
    with pytest.raises(ValueError, match="num_samples must be a whole number of at least 1"):
        sample(model, "", 0)
    with pytest.raises(ValueError, match="seed"):
        sample(model, seed=-1)
    assert np.isfinite([result.log_prob for result in sample(model, "the", 3)]).all()  # without a seed
