import gzip
import io
import json
import logging
import math
import re
import sys
from pathlib import Path

import pytest

import fastlm
from fastlm.cli import main

NUM_WORDS = 375  # of the text below, which has 60 lines


@pytest.fixture
def text(tmp_path, english_lines):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in english_lines * 3), encoding="utf-8")
    return str(path)


@pytest.fixture
def output(tmp_path):
    return str(tmp_path / "model.fastlm")


@pytest.fixture
def run(capsys):
    """Train an n-gram model; return status, standard output and standard error."""

    def run_train(*arguments):
        status = main(["train", "ngram", *arguments])
        return status, *capsys.readouterr()

    return run_train


@pytest.fixture
def refuse(capsys):
    """Make a call that is wrong by itself; return what the parser says."""

    def run_train(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["train", "ngram", *arguments])
        output, errors = capsys.readouterr()
        assert (stop.value.code, output) == (2, "")
        return errors

    return run_train


def test_training_prints_the_report_of_the_model_that_it_leaves(run, text, output):
    status, printed, errors = run(text, "--valid", text, "-o", output)
    model = fastlm.load(output)
    assert status == 0
    assert model.config == {"order": 5, "smoothing": "kneser-ney"}
    assert printed == f"{model.evaluate(fastlm.Corpus.encode(text, model.vocabulary), threads=1)}\n"
    assert f"{text}: {NUM_WORDS} words in 60 sentences" in errors
    assert re.search(r"estimating takes at most \d+ MB of memory\n", errors)
    counts = ", ".join(map(str, model.info["training"]["num_ngrams"]))
    assert re.search(
        rf"ngram: {counts} n-grams of order 1 to 5, \d\.\d MB\nthe model is in {re.escape(output)}\n$", errors
    )


def test_the_model_is_the_one_that_python_makes(run, text, output, tmp_path):
    options = ["--order", "3", "--min-count", "7", "--vocab-size", "20", "--quiet"]
    assert run(text, "-o", output, *options) == (0, "", "")
    vocabulary = fastlm.Vocabulary.build(text, min_count=7, max_size=20)
    fastlm.NGramLM(vocabulary, order=3).fit(fastlm.Corpus.encode(text, vocabulary)).save(tmp_path / "same")
    assert Path(output).read_bytes() == (tmp_path / "same").read_bytes()


def test_json(run, text, output):
    status, printed, _ = run(text, "--valid", text, "-o", output, "--json")
    result = json.loads(printed)
    model = fastlm.load(output)
    assert status == 0
    assert result["model"] == output
    assert result["report"]["perplexity"] > 1
    assert result["training"] == model.info["training"]
    _, printed, _ = run(text, "-o", output, "--json")
    assert json.loads(printed)["report"] is None


def test_without_smoothing_what_was_not_seen_is_infinite(run, text, output, tmp_path, capsys):
    other = tmp_path / "other.txt"
    other.write_text("the mat sat on the cat\n")
    status, printed, _ = run(text, "--valid", str(other), "-o", output, "--smoothing", "none")
    assert status == 0
    assert printed.splitlines()[0].split()[:2] == ["perplexity", "inf"]
    assert main(["evaluate", output, str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] is None
    assert main(["score", output, str(other)]) == 0
    assert capsys.readouterr().out == "-inf\t7\t0\tthe mat sat on the cat\n"


@pytest.mark.parametrize("smoothing", ["kneser-ney", "none"])
def test_unknown_words_need_no_training(run, text, output, smoothing):
    """Those that the text does not have are like any word never seen; a network knows nothing of them, and says so."""
    warning = "<unk> stays untrained"
    assert warning not in run(text, "-o", output, "--smoothing", smoothing)[2]
    model = fastlm.load(output)
    assert (model.score("zebra").log_prob > -math.inf) == (smoothing == "kneser-ney")


def test_a_network_says_that_unknown_words_stay_untrained(text, output, capsys):
    assert main(["train", "nnlm", text, "-o", output, "--epochs", "1", "--hidden-size", "2"]) == 0
    assert "no word of the text is outside of the vocabulary: <unk> stays untrained" in capsys.readouterr().err


def test_what_cannot_be_estimated_is_said(run, output, tmp_path, caplog):
    (tmp_path / "text.txt").write_text("a b\n")
    with caplog.at_level(logging.WARNING):
        assert run(str(tmp_path / "text.txt"), "-o", output)[0] == 0
    assert "no discounts can be estimated for 2-grams" in caplog.text
    assert fastlm.load(output).info["training"]["fallback_orders"] == [1, 2, 3, 4]


def test_standard_input_and_compressed_files(run, text, tmp_path, monkeypatch):
    data = Path(text).read_bytes()
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(data))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    models = []
    for number, source in enumerate([text, "-", str(packed)]):
        output = tmp_path / f"{number}.fastlm"
        assert run(source, "-o", str(output), "--quiet") == (0, "", "")
        models.append(output.read_bytes())
    assert set(models) == {models[0]}


def test_other_tokenizers(run, output, tmp_path, korean_lines):
    path = tmp_path / "korean.txt"
    path.write_text("\n".join(korean_lines), encoding="utf-8")
    assert run(str(path), "-o", output, "--tokenizer", "word", "--order", "2", "--quiet")[0] == 0
    assert fastlm.load(output).score("영화가 정말 재미있었다.").num_unknown == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--order", "0"], "expected a whole number of at least 1, got '0'"),
        (["--order", "17"], "expected a whole number of at most 16, got '17'"),
        (["--smoothing", "katz"], "invalid choice: 'katz'"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["--learning-rate", "0.1"], "unrecognized arguments: --learning-rate"),
        (["--log", "x"], "unrecognized arguments: --log"),
        (["--valid", "-", "--vocab", "-"], "standard input (-) can be read for one purpose only"),
        (["--vocab", "words", "--min-count", "2"], "a list of words is taken as it is"),
        (["--lower-case"], "the tokenizer whitespace keeps case"),
    ],
)
def test_wrong_calls(refuse, text, output, arguments, message):
    assert message in refuse(text, "-o", output, *arguments)
    assert not Path(output).exists()


def test_nothing_is_overwritten_that_is_read(refuse, text):
    assert "would be overwritten" in refuse(text, "-o", text)
    assert "takes no model" in refuse(text, "-o", "-")


def test_outputs_are_checked_before_the_work(run, text, tmp_path):
    status, _, errors = run(text, "-o", str(tmp_path / "none" / "model"))
    assert status == 1
    assert "does not exist; create it first" in errors
    assert "words in" not in errors
