"""`fastlm prepare`, and the verbs that take what it makes."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

SMALL = ["--embedding-dim", "4", "--hidden-size", "6", "--threads", "1", "--epochs", "1", "--quiet"]


@pytest.fixture
def text(tmp_path, english_lines):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in english_lines * 3))
    return str(path)


@pytest.fixture
def corpus(tmp_path, text):
    path = str(tmp_path / "text.fastcorpus")
    assert main(["prepare", text, "-o", path, "--vocab-size", "20", "--quiet"]) == 0
    return path


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        status = main(arguments)
        return status, *capsys.readouterr()

    return run_command


@pytest.fixture
def refuse(capsys):
    """Make a call that is wrong by itself; return what the parser says."""

    def run_command(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        output, errors = capsys.readouterr()
        assert (stop.value.code, output) == (2, "")
        return errors

    return run_command


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("parts_before", [0, 2])
def test_sigterm_says_what_is_kept_and_143(run, text, tmp_path, monkeypatch, parts_before):
    from fastlm.text import preparation

    counted, count_part = [], preparation.count_part

    def terminate(worked, *arguments):
        if len(counted) == parts_before:
            signal.raise_signal(signal.SIGTERM)
        count_part(worked, *arguments)
        counted.append(worked)

    monkeypatch.setattr(preparation, "count_part", terminate)
    monkeypatch.setattr(preparation, "FAST_PARTS", (20, 500))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        status, output, errors = run("prepare", text, "-o", str(tmp_path / "c"), "--quiet", "--workers", "1")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (status, output, len(counted)) == (143, "", parts_before)
    kept = f"; what is counted is kept for the next run, in '{tmp_path / 'c.unfinished'}'" if parts_before else ""
    assert errors == f"fastlm: terminated{kept}\n"
    assert (tmp_path / "c.unfinished").exists() == bool(parts_before)


def test_a_corpus_is_made_and_described(run, text, tmp_path):
    path = tmp_path / "c"
    status, output, errors = run("prepare", text, "-o", str(path))
    words = len(Path(text).read_text().split())
    assert (status, output) == (0, "")
    assert f"{path}: {words} words in 60 sentences, 0.00 % of them unknown; vocabulary of " in errors
    assert "MB of text in" in errors
    status, output, errors = run("prepare", text, "-o", str(path), "--json", "--quiet", "--workers", "1")
    facts = json.loads(output)
    assert (status, errors) == (0, "")
    assert (facts["corpus"], facts["num_tokens"], facts["num_sentences"]) == (str(path), words + 60, 60)
    assert facts["file_size"] == path.stat().st_size


def test_options_reach_the_corpus(run, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes("The cat's HAT, the cat\nthe \xff\n".encode("latin-1"))
    options = ["--tokenizer", "word", "--lower-case", "--errors", "replace", "--min-count", "2"]
    assert run("prepare", str(text), "-o", str(tmp_path / "c"), *options)[0] == 0
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.vocabulary.words == ("<unk>", "</s>", "the")
    assert corpus.vocabulary.tokenizer.spec == {"kind": "word", "lower_case": True}
    assert corpus.num_replaced == 1


def test_files_patterns_folders_and_standard_input(run, text, corpus, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    lines = Path(text).read_bytes().splitlines(keepends=True)
    (tmp_path / "folder" / "a.txt").write_bytes(b"".join(lines[:20]))
    (tmp_path / "folder" / "b.gz").write_bytes(gzip.compress(b"".join(lines[20:50])))
    (tmp_path / "folder" / "c.txt").write_bytes(b"".join(lines[50:]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(lines))))
    folder = str(tmp_path / "folder")
    for files in ([folder], [f"{folder}/*"], [f"{folder}/a.txt", f"{folder}/b.gz", f"{folder}/[cd].txt"], ["-"]):
        assert run("prepare", *files, "-o", str(tmp_path / "c"), "--vocab-size", "20")[0] == 0
        assert (tmp_path / "c").read_bytes() == Path(corpus).read_bytes()


@pytest.mark.parametrize("kind", ["nnlm", "rnnlm"])
def test_training_on_a_corpus_is_training_on_its_text(run, text, corpus, tmp_path, kind):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert run("train", kind, text, "--valid", text, "--vocab-size", "20", "-o", first, *SMALL)[0] == 0
    assert run("train", kind, corpus, "--valid", corpus, "-o", second, *SMALL)[0] == 0
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_evaluation_of_a_corpus_is_that_of_its_text(run, text, corpus, tmp_path):
    model = str(tmp_path / "model")
    assert run("train", "nnlm", corpus, "-o", model, *SMALL)[0] == 0
    reports = [json.loads(run("evaluate", model, file, "--json")[1]) for file in (text, corpus)]
    assert reports[0] == reports[1]


def test_the_vocabulary_of_a_corpus_a_model_or_a_list(run, text, corpus, tmp_path, korean_file):
    model, words = str(tmp_path / "model"), str(tmp_path / "words.txt")
    assert run("train", "nnlm", corpus, "-o", model, *SMALL)[0] == 0
    vocabulary = Corpus.open(corpus).vocabulary
    vocabulary.write(words)
    for file in (corpus, model, words):
        assert run("prepare", str(korean_file), "-o", str(tmp_path / "other"), "--vocab", file)[0] == 0
        assert Corpus.open(tmp_path / "other").vocabulary == vocabulary
        assert run("evaluate", model, str(tmp_path / "other"))[0] == 0
    assert run("train", "nnlm", text, "--vocab", corpus, "-o", model, *SMALL)[0] == 0
    assert fastlm.load(model).vocabulary == vocabulary


def test_another_vocabulary_is_one_line(run, text, corpus, tmp_path):
    other, model = str(tmp_path / "other"), str(tmp_path / "model")
    assert run("prepare", text, "-o", other, "--vocab-size", "10")[0] == 0
    assert run("train", "nnlm", corpus, "-o", model, *SMALL)[0] == 0
    for command in (["evaluate", model, other], ["train", "nnlm", corpus, "--valid", other, "-o", model, *SMALL]):
        status, output, errors = run(*command)
        assert (status, output) == (1, "")
        assert "another vocabulary or tokenizer" in errors.splitlines()[-1]


def test_info(run, corpus):
    facts = json.loads(run("info", corpus, "--json")[1])
    opened = Corpus.open(corpus)
    assert facts["contents"].startswith("a prepared corpus: ")
    assert (facts["vocab_size"], facts["dtype"], facts["checksums"]) == (20, "uint16", "verified")
    assert facts["tokenizer"] == {"kind": "whitespace"}
    assert facts["num_tokens"] == opened.num_tokens
    status, output, errors = run("info", corpus, "--no-verify")
    assert (status, errors) == (0, "")
    assert "not verified" in output
    assert f"num tokens       {opened.num_tokens}" in output


def test_a_model_is_no_text_and_an_old_corpus_says_so(run, corpus, tmp_path):
    model, old = str(tmp_path / "model"), str(tmp_path / "old")
    assert run("train", "nnlm", corpus, "-o", model, *SMALL)[0] == 0
    status, _, errors = run("train", "nnlm", model, "-o", str(tmp_path / "other"), *SMALL)
    assert status == 1
    assert "its format is 'fastlm-model', expected 'fastlm-corpus'" in errors
    metadata = {"format": "fastlm-corpus", "version": "1", "vocabulary": Vocabulary(["a"]).fingerprint()}
    fastlm.storage.write_tensors(old, metadata, {"ids": np.array([2, 1], np.uint16)})
    for command in (["info", old], ["train", "nnlm", old, "-o", model]):
        status, _, errors = run(*command)
        assert status == 1
        assert "version 1 of the format" in errors
        assert "as version 2 does" in errors


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--vocab-size", "2"], "--vocab-size: expected a whole number of at least 3"),
        (["--vocab", "words.txt", "--min-count", "2"], "leave out --vocab-size and --min-count"),
        (["--lower-case"], "the tokenizer whitespace keeps case"),
        (["--vocab", "-"], "standard input (-) can be read for one purpose only"),
        (["-o", "-"], "standard output (-) takes no corpus"),
        (["--workers", "0"], "--workers: expected a whole number of at least 1"),
    ],
)
def test_a_wrong_call_is_status_2_and_touches_nothing(refuse, tmp_path, options, problem, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problem in refuse("prepare", "-", "-o", "corpus", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_has_its_vocabulary(refuse, corpus, tmp_path):
    output = ["-o", str(tmp_path / "x")]
    options = ["--vocab-size", "9", "--tokenizer", "word"]
    errors = refuse("train", "nnlm", corpus, *output, *options)
    assert "with its vocabulary and tokenizer in it; leave out --vocab-size, --tokenizer" in errors
    errors = refuse("prepare", corpus, *output, "--vocab", corpus, "--tokenizer", "char")
    assert "says how text is split as well; leave out --tokenizer" in errors


def test_bad_text_is_one_line_with_file_and_line(run, text, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine\nnot \xff\n")
    status, output, errors = run("prepare", text, str(bad), "-o", str(tmp_path / "c"))
    assert (status, output) == (1, "")
    assert errors.startswith(f"fastlm: {bad}, line 2: invalid UTF-8 (byte 0xff)")
    assert len(errors.splitlines()) == 1
    status, _, errors = run("prepare", str(tmp_path / "none.txt"), "-o", str(tmp_path / "c"))
    assert (status, errors.count("\n")) == (1, 1)
    assert "No such file" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "text.txt"]


@pytest.mark.parametrize("tokenizer", ["whitespace", "word"])
def test_the_command_itself(text, tmp_path, tokenizer):
    """With worker processes, which start this command's own module again."""
    large = tmp_path / "large.txt"
    large.write_text(Path(text).read_text() * 1500)  # more than two of the smallest parts
    command = [sys.executable, "-m", "fastlm", "prepare", str(large), "-o", str(tmp_path / "c"), "--workers", "2"]
    result = subprocess.run([*command, "--tokenizer", tokenizer], capture_output=True, text=True, check=True)
    assert result.stdout == ""
    assert result.stderr.startswith(f"{tmp_path / 'c'}: ")
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.num_sentences == 60 * 1500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "large.txt", "text.txt"]
