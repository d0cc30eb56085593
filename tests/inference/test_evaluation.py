import json
import math

import numpy as np
import pytest
from tiny_model import TinyModel

from fastlm.errors import FastLMError
from fastlm.inference.evaluation import evaluate
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "the dog sat", "", "나는 고양이"]
EVENTS = ["the", "cat", "sat", "on", "the", "mat", "</s>", "the", "dog", "sat", "</s>", "나는", "고양이", "</s>"]


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def test_every_figure_against_the_definition(model):
    report = evaluate(model, Corpus.encode(LINES, model.vocabulary), num_streams=1)
    log_probs = model.text_log_probs(LINES)
    known = np.array([event != "dog" for event in EVENTS])
    num_bytes = sum(len(line.encode()) + 1 for line in LINES)
    num_characters = sum(len(line) + 1 for line in LINES)

    assert (report.num_tokens, report.num_sentences, report.num_words, report.num_unknown) == (14, 3, 11, 1)
    assert (report.num_characters, report.num_bytes) == (num_characters, num_bytes)
    assert report.log_prob == pytest.approx(log_probs.sum())
    assert report.loss == pytest.approx(-log_probs.mean())
    assert report.perplexity == pytest.approx(np.exp(-log_probs.mean()))
    assert report.perplexity_without_unknown == pytest.approx(np.exp(-log_probs[known].mean()))
    assert report.bits_per_character == pytest.approx(-np.log2(np.exp(log_probs)).sum() / num_characters)
    assert report.bits_per_byte == pytest.approx(-np.log2(np.exp(log_probs)).sum() / num_bytes)
    assert report.vocab_size == len(model.vocabulary)
    assert report.normalised


def test_pieces_of_any_size_and_order_give_the_same_report(model, monkeypatch):
    corpus = Corpus.encode(LINES * 20, model.vocabulary)
    whole = evaluate(model, corpus)

    def in_sevens(corpus, *, num_streams, workers):
        log_probs = model.token_log_probs(corpus, num_streams=num_streams)
        places = np.random.default_rng(1).permutation(corpus.num_tokens)
        for begin in range(0, len(places), 7):
            yield places[begin : begin + 7], log_probs[places[begin : begin + 7]]

    monkeypatch.setattr(model, "log_prob_blocks", in_sevens)
    cut = evaluate(model, corpus)
    sums = ("log_prob", "log_prob_without_unknown")
    assert [getattr(cut, name) for name in sums] == pytest.approx([getattr(whole, name) for name in sums], rel=1e-12)
    assert (cut.num_words, cut.num_unknown) == (whole.num_words, whole.num_unknown)


def test_streams_are_said_in_continuous_context_only():
    corpora = {context: TinyModel(context) for context in ("sentence", "continuous")}
    reports = {
        context: evaluate(model, Corpus.encode(LINES * 100, model.vocabulary), num_streams=4)
        for context, model in corpora.items()
    }
    assert reports["sentence"].num_streams is None
    assert reports["continuous"].num_streams == 4
    assert "4 streams" in str(reports["continuous"])
    assert "stream" not in str(reports["sentence"])


def test_streams_reach_the_model_and_one_differs_from_many():
    model = TinyModel("continuous")
    corpus = Corpus.encode(LINES * 100, model.vocabulary)
    assert evaluate(model, corpus, num_streams=1).log_prob == pytest.approx(model.text_log_probs(LINES * 100).sum())
    assert evaluate(model, corpus, num_streams=5).log_prob != evaluate(model, corpus, num_streams=1).log_prob


def test_a_short_text_is_one_stream():
    model = TinyModel("continuous")
    assert evaluate(model, Corpus.encode(LINES, model.vocabulary), num_streams=16).num_streams == 1


def test_ids_without_a_text_have_no_bits_a_character(model):
    report = evaluate(model, Corpus.from_ids(np.array([2, 3, 1, 0]), model.vocabulary))
    assert report.bits_per_character is None
    assert report.bits_per_byte is None
    assert (report.num_tokens, report.num_sentences, report.num_words) == (4, 2, 3)
    assert "bits" not in str(report)


def test_only_unknown_words(model):
    report = evaluate(model, Corpus.from_ids(np.array([0, 0]), model.vocabulary))
    assert math.isnan(report.perplexity_without_unknown)
    assert report.perplexity > 1


def test_a_corpus_of_another_vocabulary_is_refused(model):
    corpus = Corpus.encode(["the cat"], Vocabulary(["the", "cat"]))
    with pytest.raises(ValueError, match=r"another vocabulary \(4 words\).*model's \(9 words\)"):
        evaluate(model, corpus)


def test_an_equal_vocabulary_is_taken(model):
    corpus = Corpus.encode(LINES, TinyModel().vocabulary)
    assert evaluate(model, corpus).num_tokens == 14


@pytest.mark.parametrize("num_streams", [0, -1, 1.5, True, "4"])
def test_the_number_of_streams_is_checked(model, num_streams):
    with pytest.raises(ValueError, match="num_streams must be a whole number of at least 1"):
        evaluate(model, Corpus.encode(LINES, model.vocabulary), num_streams=num_streams)


@pytest.mark.parametrize("corpus", ["valid.txt", LINES, None])
def test_what_is_no_corpus_is_named(model, corpus):
    with pytest.raises(ValueError, match=f"must be a Corpus, got {type(corpus).__name__}; make it with"):
        evaluate(model, corpus)


def test_nan_is_an_error_and_no_figure(model):
    model.near[:] = np.nan
    with pytest.raises(FastLMError, match="NaN"):
        evaluate(model, Corpus.encode(LINES, model.vocabulary))


def test_an_impossible_token_gives_an_infinite_perplexity(model):
    model.near[:, 0] = -np.inf
    report = evaluate(model, Corpus.encode(LINES, model.vocabulary))
    assert report.perplexity == math.inf
    assert report.num_impossible == EVENTS.count("dog")
    known = np.array([event != "dog" for event in EVENTS])
    assert report.perplexity_without_unknown == pytest.approx(np.exp(-model.text_log_probs(LINES)[known].mean()))


def test_the_dictionary_has_every_figure(model):
    report = evaluate(model, Corpus.encode(LINES, model.vocabulary))
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["perplexity"] == report.perplexity
    assert figures.keys() >= {"num_tokens", "num_sentences", "num_unknown", "log_prob", "bits_per_byte", "num_streams"}
    assert all(figures[name] == getattr(report, name) for name in figures)


def test_the_table_says_what_is_counted(model):
    report = evaluate(model, Corpus.encode(LINES, model.vocabulary))
    lines = str(report).splitlines()
    assert f"{report.perplexity:,.2f}" in lines[0]
    assert "over all 14 tokens, </s> and <unk> included" in lines[0]
    assert "over 13 tokens, </s> included" in lines[1]
    assert any("9.09 % of the words" in line for line in lines)
    assert any(line.startswith("sentences") and line.endswith("  1 empty lines left out") for line in lines)
    assert any(line.startswith("context") and model.context in line for line in lines)


def test_progress_goes_to_standard_error_and_only_if_asked(model, capsys, monkeypatch):
    monkeypatch.setattr("fastlm.progress._on_terminal", lambda: True)
    corpus = Corpus.encode(LINES, model.vocabulary)
    evaluate(model, corpus)
    assert capsys.readouterr() == ("", "")
    evaluate(model, corpus, progress=True)
    output, errors = capsys.readouterr()
    assert output == ""
    assert "/14.0" in errors
