import gzip
import re
from pathlib import Path

import pytest

import fastlm
from fastlm.cli import main


@pytest.fixture
def model(english_lines):
    vocabulary = fastlm.Vocabulary.build(english_lines)
    return fastlm.NGramLM(vocabulary, order=3).fit(fastlm.Corpus.encode(english_lines, vocabulary))


@pytest.fixture
def stored(model, tmp_path):
    model.save(tmp_path / "model.fastlm")
    return tmp_path / "model.fastlm"


@pytest.fixture
def convert(capsys):
    """Convert; return status and standard error. Nothing goes to standard output."""

    def run_convert(*arguments):
        status = main(["convert", *map(str, arguments)])
        output, errors = capsys.readouterr()
        assert output == ""
        return status, errors

    return run_convert


@pytest.mark.parametrize("name", ["a.arpa", "a.arpa.gz", "A.ARPA", "A.Arpa.GZ"])
def test_there_and_back(convert, model, stored, tmp_path, name):
    arpa, back = tmp_path / name, tmp_path / "back"
    counts = ", ".join(map(str, model.info["training"]["num_ngrams"]))
    assert convert(stored, arpa) == (0, f"{arpa}: {counts} n-grams of order 1 to 3\n")
    data = arpa.read_bytes()
    assert (gzip.decompress(data) if name.lower().endswith(".gz") else data).startswith(b"\\data\\\nngram 1=")
    assert convert(arpa, back) == (0, f"{back}: {counts} n-grams of order 1 to 3\n")
    assert fastlm.load(back).score("the cat sat on the bird") == model.score("the cat sat on the bird")


def test_an_arpa_file_of_any_name(convert, stored, tmp_path):
    convert(stored, tmp_path / "a.arpa")
    (tmp_path / "a.arpa").rename(tmp_path / "a.lm")
    assert convert(tmp_path / "a.lm", tmp_path / "b")[0] == 0


def test_the_tokenizer_is_kept_in_the_model(convert, stored, tmp_path):
    convert(stored, tmp_path / "a.arpa")
    assert convert(tmp_path / "a.arpa", tmp_path / "b", "--tokenizer", "word")[0] == 0
    assert fastlm.load(tmp_path / "b").vocabulary.tokenizer.spec["kind"] == "word"


def test_without_smoothing_zeros_stay_zeros(convert, model, tmp_path):
    unsmoothed = fastlm.NGramLM(model.vocabulary, order=2, smoothing="none")
    unsmoothed.fit(fastlm.Corpus.encode(["the cat"], model.vocabulary)).save(tmp_path / "a")
    for source, target in (("a", "a.arpa"), ("a.arpa", "b")):
        assert convert(tmp_path / source, tmp_path / target)[0] == 0
    scores = [fastlm.load(tmp_path / "b").score(text).log_prob for text in ("the cat", "the the")]
    assert scores == [0, float("-inf")]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("model.fastlm", "b.fastlm", "would be of one kind, .* ends in .arpa or .arpa.gz"),
        ("a.arpa", "b.arpa", "would be of one kind, .* ends in other than .arpa"),
        ("model.fastlm", "no/b.arpa", "does not exist; create it first"),
        ("none.arpa", "b.fastlm", "none.arpa': No such file"),
        ("text", "b.fastlm", r"no line \\data\\ in it"),
        ("network.fastlm", "b.arpa", "architecture 'nnlm'; only n-gram models become ARPA files"),
        ("cut.fastlm", "b.arpa", "cut off"),
    ],
)
def test_failures(convert, model, stored, tmp_path, monkeypatch, source, target, message):
    monkeypatch.chdir(tmp_path)
    convert(stored, "a.arpa")
    Path("text").write_text("the cat\n")
    Path("cut.fastlm").write_bytes(stored.read_bytes()[:-9])
    fastlm.NNLM(model.vocabulary, context_size=1, embedding_dim=2, hidden_size=2).save("network.fastlm")
    status, errors = convert(source, target)
    assert (status, errors.count("\n")) == (1, 1)
    assert re.search(message, errors)
    assert not Path(target).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "the following arguments are required: B"),
        (["-", "b.arpa"], "cannot be converted; give names of files"),
        (["a.arpa", "-"], "cannot be converted; give names of files"),
        (["a.arpa", "./a.arpa"], "would be overwritten"),
        (["a.arpa", "b", "--tokenizer", "none"], "expected whitespace, word, char"),
    ],
)
def test_wrong_calls(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(["convert", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
