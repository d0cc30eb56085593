import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import WORDS, TinyModel

from fastlm.errors import DataError, FastLMError
from fastlm.inference.evaluation import evaluate
from fastlm.inference.tokens import TokenScore, line_perplexities, score, score_lines
from fastlm.models import NNLM, RNNLM
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "the dog sat", "", "   ", "나는 고양이", "mat"]


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def test_a_sentence_token_by_token(model):
    result = score(model, "the dog sat")
    expected = model.text_log_probs(["the dog sat"])
    assert [token.word for token in result.tokens] == ["the", "dog", "sat", "</s>"]
    assert [token.unknown for token in result.tokens] == [False, True, False, False]
    assert [token.log_prob for token in result.tokens] == pytest.approx(expected.tolist())
    assert result.log_prob == pytest.approx(expected.sum())
    assert result.perplexity == pytest.approx(np.exp(-expected.mean()))
    assert (result.num_tokens, result.num_unknown, result.text) == (4, 1, "the dog sat")
    assert isinstance(result.tokens[0], TokenScore)


def test_every_call_of_score_starts_afresh(model):
    first = score(model, "the cat")
    score(model, "on mat")
    assert score(model, "the cat") == first


def test_unknown_words_and_a_literal_unk_score_the_same(model):
    assert score(model, "the dog").log_prob == score(model, "the <unk>").log_prob
    assert score(model, "the <unk>").tokens[1].unknown


@pytest.mark.parametrize("line", ["", " ", "\t\n"])
def test_a_line_without_words_is_no_sentence(model, line):
    result = score(model, line)
    assert result.tokens == ()
    assert result.log_prob == 0
    assert math.isnan(result.perplexity)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_end_is_dropped(model, end):
    assert score(model, "the cat" + end) == score(model, "the cat")


def test_nan_is_an_error_and_no_score(model):
    model.near[:] = np.nan
    with pytest.raises(FastLMError, match="NaN"):
        score(model, "the cat")
    with pytest.raises(FastLMError, match="NaN"):
        list(score_lines(model, ["", "the cat"]))


def test_several_lines_are_refused(model):
    with pytest.raises(ValueError, match="one line of text, got 2"):
        score(model, "the cat\nsat")
    with pytest.raises(ValueError, match="a str, got bytes"):
        score(model, b"the cat")


def test_reserved_words_are_refused_with_the_line(model):
    with pytest.raises(DataError):
        score(model, "the </s>")
    with pytest.raises(DataError, match="line 2"):
        list(score_lines(model, ["the", "<s> cat"]))


@pytest.mark.parametrize("batch_tokens", [1, 2, 5, 8192])
def test_lines_against_the_definition(model, batch_tokens):
    results = list(score_lines(model, LINES, batch_tokens=batch_tokens))
    scores = [token.log_prob for result in results for token in result.tokens]
    assert [result.text for result in results] == LINES
    assert [result.num_tokens for result in results] == [7, 4, 0, 0, 3, 2]
    assert scores == pytest.approx(model.text_log_probs(LINES).tolist())


def test_lines_give_the_figures_of_evaluate(model):
    total = sum(result.log_prob for result in score_lines(model, LINES * 30, batch_tokens=50))
    report = evaluate(model, Corpus.encode(LINES * 30, model.vocabulary), num_streams=1)
    assert total == pytest.approx(report.log_prob)


def test_in_sentence_context_lines_are_as_one_by_one_and_in_continuous_context_not():
    for context, same in [("sentence", True), ("continuous", False)]:
        model = TinyModel(context)
        together = [result.log_prob for result in score_lines(model, LINES)]
        assert (together == pytest.approx([score(model, line).log_prob for line in LINES])) is same
        assert together[0] == pytest.approx(score(model, LINES[0]).log_prob)


@given(st.lists(st.lists(st.sampled_from([*WORDS, "dog"]), max_size=4).map(" ".join)), st.integers(1, 20))
def test_any_lines_and_any_batch(lines, batch_tokens):
    for context in ("sentence", "continuous"):
        model = TinyModel(context)
        results = list(score_lines(model, lines, batch_tokens=batch_tokens))
        scores = [token.log_prob for result in results for token in result.tokens]
        assert [result.text for result in results] == lines
        assert scores == pytest.approx(model.text_log_probs(lines).tolist())


def test_short_lines_are_scored_in_large_batches(model):
    list(score_lines(model, ["the cat"] * 1000, batch_tokens=600))
    assert model.calls == [600] * 5


def test_lines_are_read_no_further_than_needed(model):
    def endless():
        while True:
            yield "the cat\n"

    results = score_lines(model, endless(), batch_tokens=1)
    assert next(results).text == "the cat"
    assert model.calls == [3]


def test_empty_lines_do_not_pile_up(model):
    def endless():
        while True:
            yield ""

    assert next(score_lines(model, endless(), batch_tokens=10)).tokens == ()


@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_the_model_s_own_tokenizer_splits_the_text(context):
    model = TinyModel(context, words=["c", "a", "t", "▁"], tokenizer="char")
    lines = ["ca t", "  ", "돛\tc"]
    results = list(score_lines(model, lines))
    assert [[token.word for token in result.tokens] for result in results] == [
        ["c", "a", "▁", "t", "</s>"],
        [],
        ["돛", "▁", "c", "</s>"],
    ]
    assert results[2].num_unknown == 1
    assert score(model, "  ").tokens == ()
    report = evaluate(model, Corpus.encode(lines, model.vocabulary), num_streams=1)
    assert sum(result.log_prob for result in results) == pytest.approx(report.log_prob)


def test_no_lines(model):
    assert list(score_lines(model, [])) == []


def test_the_batch_is_checked_at_the_call(model):
    with pytest.raises(ValueError, match="batch_tokens must be a whole number of at least 1, got 0"):
        score_lines(model, [], batch_tokens=0)


def test_an_impossible_token():
    model = TinyModel()
    model.near[:, 0] = -np.inf
    result = score(model, "the dog")
    assert result.log_prob == -math.inf
    assert result.perplexity == math.inf


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("context", ["sentence", "continuous"])
@pytest.mark.parametrize("kind", [NNLM, RNNLM])
def test_the_same_scores_for_any_number_of_threads(kind, context):
    network = kind(Vocabulary(WORDS), embedding_dim=5, hidden_size=7, context=context)
    expected = list(score_lines(network, LINES * 20, batch_tokens=50))
    for threads in (2, 7):
        assert list(score_lines(network, LINES * 20, batch_tokens=50, threads=threads)) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_perplexities_of_lines_that_have_nothing_to_do_with_each_other(model, threads):
    found = list(line_perplexities(model, [f"{line}\n" for line in LINES * 5], threads=threads))
    assert [text for text, _ in found] == LINES * 5
    expected = [score(model, line).perplexity for line in LINES * 5]
    np.testing.assert_allclose([perplexity for _, perplexity in found], expected)
    assert list(line_perplexities(model, [], threads=threads)) == []
    with pytest.raises(DataError, match="line 2"):
        list(line_perplexities(model, ["the", "the <s>"], threads=threads))
