"""N-best lists against scores one by one, and how much is shared."""

import numpy as np
import pytest
from tiny_model import TinyModel

from fastlm import Adapted, Corpus, Mixture, NGramLM, Vocabulary
from fastlm.errors import DataError, FastLMError
from fastlm.inference import rescoring
from fastlm.inference.rescoring import score_nbest
from fastlm.inference.tokens import score
from fastlm.models import NNLM, RNNLM

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]
VOCABULARY = Vocabulary(WORDS, np.arange(9, 0, -1))
NBEST = ["the cat sat on the mat", "the cat sat on mat", "cat sat on the mat", "the cat sat on the mat", "the dog sat"]
RANDOM = np.random.default_rng(3)
MANY = [" ".join(RANDOM.choice([*WORDS, "dog"], RANDOM.integers(1, 9))) for _ in range(60)]


def networks():
    for context in ("sentence", "continuous"):
        for kind, options in ((NNLM, {"context_size": 2}), (RNNLM, {}), (RNNLM, {"output": "class"})):
            yield kind(VOCABULARY, embedding_dim=5, hidden_size=7, context=context, dtype="float64", **options)
    counts = NGramLM(VOCABULARY, order=3).fit(Corpus.encode(MANY, VOCABULARY))
    network = RNNLM(VOCABULARY, embedding_dim=5, hidden_size=7, dtype="float64")
    adapted = Adapted(network, learning_rate=0.9, segment_size=2, cache_size=3)
    yield from (counts, adapted, Mixture([adapted, counts]))
    yield TinyModel("sentence")
    yield TinyModel("continuous")


@pytest.mark.parametrize("model", list(networks()), ids=lambda model: f"{model.architecture}-{model.context}")
@pytest.mark.parametrize("nbest", [NBEST, MANY, ["cat"]], ids=["nbest", "many", "one"])
def test_scores_are_those_one_by_one(model, nbest):
    expected = [score(model, text).log_prob for text in nbest]
    assert score_nbest(model, nbest) == pytest.approx(expected, rel=1e-10)


def test_a_list_in_parts(monkeypatch):
    model = TinyModel()
    expected = score_nbest(model, MANY)
    monkeypatch.setattr(rescoring, "PART_SIZE", 20)
    np.testing.assert_allclose(score_nbest(model, MANY), expected)


def test_what_begins_alike_is_scored_once():
    model = Counting()
    score_nbest(model, NBEST)
    prefixes = {tuple(text.split()[:n]) for text in NBEST for n in range(1, len(text.split()) + 1)}
    assert model.num_advanced <= len(prefixes)
    assert model.batches <= 1 + max(len(text.split()) for text in NBEST)


def test_hypotheses_meet_again_where_their_states_are_equal():
    model = Counting()
    tail = " the cat sat on the mat" * 5
    score_nbest(model, [f"{word}{tail}" for word in WORDS])
    assert model.num_advanced <= len(WORDS) * 3 + len(tail.split())  # the model sees two words
    model.num_advanced = 0
    score_nbest(model, [" ".join(WORDS[:n]) + tail for n in range(5)])  # also at another place
    assert model.num_advanced <= 5 * 3 + len(WORDS) + len(tail.split())


class Counting(TinyModel):
    num_advanced = batches = 0

    def advance(self, state, id):
        if isinstance(state, list):
            self.num_advanced += len(state)
            self.batches += 1
        return super().advance(state, id)


@pytest.mark.parametrize("tokenizer", ["whitespace", "word"])
def test_no_words_are_a_sentence_that_ends_at_once(tokenizer):
    model = TinyModel()
    model.vocabulary = Vocabulary(model.vocabulary.words[2:], tokenizer=tokenizer)
    blank = {"whitespace": "\t", "word": "\u3000"}[tokenizer]  # what the tokenizer makes no token of
    expected = model.log_probs(model.start())[model.vocabulary.end_id]
    assert score_nbest(model, ["", "the", "  ", blank])[[0, 2, 3]] == pytest.approx([expected] * 3)
    assert score_nbest(model, [blank, blank]) == pytest.approx([expected] * 2)


def test_no_hypotheses():
    assert score_nbest(TinyModel(), []).shape == (0,)


def test_hypotheses_are_split_as_lines_are():
    model = TinyModel()
    texts = ["\ufeffthe cat", "the\u2028cat", "the\u00a0cat", " the\tcat \r\n", "나는\r고양이"]
    expected = [score(model, text).log_prob for text in texts]
    assert score_nbest(model, [*texts, ""])[:-1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("text, what", [("cat </s>", "</s>"), ("cat \0", "NUL"), ("cat \ud800", "surrogate")])
def test_the_hypothesis_that_is_no_text_is_named(text, what):
    with pytest.raises(DataError, match=rf"hypothesis 3: .*{what}"):
        score_nbest(TinyModel(), ["the", "", text, text])


def test_what_is_no_sentence():
    model = TinyModel()
    with pytest.raises(ValueError, match="one line of text, got 2"):
        score_nbest(model, ["the\ncat"])
    model.near[:] = np.nan
    with pytest.raises(FastLMError, match="NaN"):
        score_nbest(model, ["the"])
