"""Texts of documents: where they end, and what is counted of all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TinyModel

from fastlm.errors import DataError
from fastlm.inference.documents import joined, read_documents, split_documents
from fastlm.inference.evaluation import evaluate
from fastlm.inference.lines import line_batches
from fastlm.inference.tokens import score, score_lines
from fastlm.text.corpus import Corpus
from fastlm.text.source import SkippedLine, TextReader
from fastlm.text.vocabulary import Vocabulary

LINES = ["", "the cat sat", "on the mat", " \t", "", "나는", "", "the dog", "sat"]


def test_empty_lines_end_documents() -> None:
    assert list(split_documents(LINES)) == [LINES[:5], LINES[5:7], LINES[7:]]
    assert list(split_documents(["the cat\n", "\n", "sat\n"])) == [["the cat\n", "\n"], ["sat\n"]]
    assert list(split_documents([])) == []


def test_lines_that_were_left_out_end_and_begin_no_document() -> None:
    left_out = SkippedLine()
    assert list(split_documents(["a", left_out, "b", "", left_out, "c"])) == [["a", "", "b", "", ""], ["c"]]
    assert list(split_documents([left_out, "", "a"])) == [["", "", "a"]]


def test_documents_of_a_text_that_is_not_all_valid() -> None:
    model = TinyModel()
    reader = TextReader(["the cat", "\0", "sat", "", "\0 on", "", "the dog", "\0"], "skip")
    found = [
        (text.num_tokens, text.num_empty_lines, text.num_characters)
        for text in read_documents(reader, model.vocabulary)
    ]
    assert found == [(5, 2, 14), (3, 0, 8)]
    assert reader.num_skipped == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["the cat", "", "\0", "the", "", "the <s>"], "text, line 6: the text holds a literal <s>"),
        (["the cat", "", "the", "\0", "<s>"], "text, line 5: the text holds a literal <s>"),
        (["", "\0"], "no word in 1 lines"),
        ([], "no word in 0 lines"),
    ],
)
def test_what_is_no_document_is_named_by_its_line(lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_documents(TextReader(lines, "skip"), TinyModel().vocabulary))


@given(st.lists(st.sampled_from(["", " ", "a", "b c"])))
def test_nothing_is_lost_and_only_the_first_begins_empty(lines: list[str]) -> None:
    documents = list(split_documents(lines))
    assert [line for document in documents for line in document] == lines
    assert all(document[0].strip() for document in documents[1:])
    assert all(any(line.strip() for line in document) for document in documents) or not any(map(str.strip, lines))


@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_reports_add_up(context: str) -> None:
    model = TinyModel(context)
    corpora = [Corpus.encode(document, model.vocabulary) for document in split_documents(LINES)]
    report = joined(evaluate(model, corpus) for corpus in corpora)
    assert (report.num_tokens, report.num_sentences, report.num_words, report.num_unknown) == (15, 5, 10, 1)
    assert report.num_empty_lines == 4
    assert report.num_characters == sum(len(line) + 1 for line in LINES)
    assert report.log_prob == pytest.approx(sum(evaluate(model, corpus).log_prob for corpus in corpora))
    assert report.num_streams == (1 if context == "continuous" else None)
    assert evaluate(model, Corpus.encode(LINES, model.vocabulary)).num_tokens == report.num_tokens


def test_what_one_does_not_know_all_do_not() -> None:
    model = TinyModel()
    text, ids = Corpus.encode(["the cat"], model.vocabulary), Corpus.from_ids([2, 3, 1], model.vocabulary)
    assert joined([evaluate(model, text), evaluate(model, ids)]).num_bytes is None
    with pytest.raises(ValueError, match="no reports"):
        joined([])


@pytest.mark.parametrize("batch_tokens", [1, 3, 1000])
@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_lines_of_documents_are_scored_afresh(context: str, batch_tokens: int) -> None:
    model = TinyModel(context)
    scores = score_lines(model, LINES, batch_tokens=batch_tokens, documents=True)
    expected = [line_score for document in split_documents(LINES) for line_score in score_lines(model, document)]
    for found, wanted in zip(scores, expected, strict=True):
        assert (found.text, found.num_tokens) == (wanted.text, wanted.num_tokens)
        assert found.log_prob == pytest.approx(wanted.log_prob)
    assert expected[7].log_prob == pytest.approx(score(model, "the dog").log_prob)


@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_lines_that_were_left_out_start_nothing_afresh(batch_tokens: int) -> None:
    model = TinyModel("continuous")
    lines = ["the cat", SkippedLine(), "sat on", "", SkippedLine(), "the mat"]
    scores = list(score_lines(model, lines, batch_tokens=batch_tokens, documents=True))
    expected = list(score_lines(model, ["the cat", "sat on", "", "the mat"], documents=True))
    assert [line.text for line in scores] == lines
    assert [line.log_prob for line in scores if line.tokens] == pytest.approx(
        [line.log_prob for line in expected if line.tokens]
    )


def test_a_line_that_the_tokenizer_makes_nothing_of_ends_no_document() -> None:
    vocabulary = Vocabulary(["the", "cat"], tokenizer="word")
    lines = ["the cat", "\u3000", "the"]
    assert len(list(split_documents(lines))) == 1
    assert not any(line.ends_document for batch in line_batches(vocabulary, lines, 10) for line in batch)
