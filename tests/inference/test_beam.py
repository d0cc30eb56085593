"""Beam search against looking at every continuation."""

import math
from itertools import product

import numpy as np
import pytest
from tiny_model import WORDS, TinyModel

from fastlm.errors import FastLMError
from fastlm.inference.beam import beam_search
from fastlm.models import NNLM, RNNLM, NGramLM
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def all_continuations(model, prompt, max_tokens, *, unknown, stop=()):
    """Log-probability of every continuation: those that end, and those that are cut off."""
    allowed = [word for word in model.vocabulary.words if unknown or word != "<unk>"]
    closing = {"</s>", *stop}
    found = {}
    for length in range(1, max_tokens + 1):
        for words in product(allowed, repeat=length):
            if closing & set(words[:-1]) or (length < max_tokens and words[-1] not in closing):
                continue
            state, total = model.start(), 0.0
            for word in prompt.split():
                state = model.advance(state, model.vocabulary[word])
            for word in words:
                total += model.log_probs(state)[model.vocabulary[word]]
                state = model.advance(state, model.vocabulary[word])
            found[words] = total
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("stop", [(), ("mat",)], ids=str)
@pytest.mark.parametrize("prompt", ["", "the cat"])
def test_a_wide_beam_finds_the_best_of_all(model, unknown, stop, prompt):
    expected = all_continuations(model, prompt, 3, unknown=unknown, stop=stop)
    results = beam_search(model, prompt, 20, beam_size=1000, max_tokens=3, unknown=unknown, stop=stop)
    assert [result.log_prob for result in results] == pytest.approx([log_prob for _, log_prob in expected[:20]])
    for result, (words, _) in zip(results, expected, strict=False):
        closed = words[-1] in {"</s>", *stop}
        assert result.text == " ".join([*prompt.split(), *(words[:-1] if closed else words)])
        assert result.ended_by == (words[-1] if closed else None)
        assert result.num_tokens == len(words)


def test_a_beam_of_one_takes_the_likeliest_word_each_time(model):
    model.near[:, 1] -= 1.0
    words, state = ["the"], model.advance(model.start(), model.vocabulary["the"])
    while len(words) < 7:
        log_probs = model.log_probs(state)
        id = int(np.argmax(log_probs[2:])) + 2
        if log_probs[1] > log_probs[id]:
            break
        words.append(model.vocabulary.word(id))
        state = model.advance(state, id)
    result = beam_search(model, "the", beam_size=1, max_tokens=6)[0]
    assert result.text == " ".join(words) or result.ended_by == "</s>"
    assert result.log_prob <= beam_search(model, "the", beam_size=50, max_tokens=6)[0].log_prob


def test_results_fall_and_differ(model):
    results = beam_search(model, "the", 8, beam_size=20, max_tokens=30)
    log_probs = [result.log_prob for result in results]
    assert log_probs == sorted(log_probs, reverse=True)
    assert len({(result.text, result.ended_by) for result in results}) == 8
    assert beam_search(model, "the", 3, beam_size=20, max_tokens=30) == results[:3]


def test_few_continuations_are_all_there_are():
    model = TinyModel()
    assert len(beam_search(model, "", 100, max_tokens=1)) == len(WORDS) + 1


@pytest.mark.parametrize("kind", [NNLM, RNNLM])
def test_networks(kind):
    model = kind(Vocabulary(WORDS), embedding_dim=5, hidden_size=7, dtype="float64")
    for result in beam_search(model, "the cat", 5, beam_size=12, max_tokens=6):
        state, total = model.start().advance("the").advance("cat"), 0.0
        for word in result.text.split()[2:] + ([result.ended_by] if result.ended_by else []):
            total += state.log_prob(word)
            state = state.advance(word)
        assert result.log_prob == pytest.approx(total)


def test_what_cannot_go_on_is_dropped():
    vocabulary = Vocabulary(["a", "b", "c", "d"])
    corpus = Corpus.encode(["a b <unk>"] * 3 + ["a c d"] * 6, vocabulary)
    model = NGramLM(vocabulary, order=3, smoothing="none").fit(corpus)
    for beam_size in (1, 5):
        result = beam_search(model, "a", beam_size=beam_size)[0]
        assert (result.text, result.ended_by) == ("a c d", "</s>")
        assert result.log_prob == pytest.approx(math.log(2 / 3))
    assert [result.text for result in beam_search(model, "a", 5)] == ["a c d"]
    assert [result.text for result in beam_search(model, "a", 5, unknown=True)] == ["a c d", "a b <unk>"]
    with pytest.raises(FastLMError, match="every word but <unk> has probability zero here; allow unknown words"):
        beam_search(model, "a b")
    with pytest.raises(FastLMError, match="never seen these words together"):
        beam_search(model, "d b")


def test_a_broken_model_is_an_error(model):
    model.near[model.vocabulary["cat"]] = np.nan  # what goes on otherwise does not hide it
    with pytest.raises(FastLMError, match="NaN or infinity"):
        beam_search(model, "the", 20)


def test_what_is_wrong(model):
    for options in ({"num_results": 0}, {"beam_size": 0}, {"max_tokens": 0}, {"stop": ["dog"]}, {"prompt": "a\nb"}):
        with pytest.raises(ValueError, match=r"at least 1|not in the model|one line"):
            beam_search(model, **options)
