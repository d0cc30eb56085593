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


@pytest.fixture
def refuse(capsys):
    """Make a call that is wrong by itself; return what the parser says."""

    def run_convert(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["convert", *map(str, arguments)])
        output, errors = capsys.readouterr()
        assert (stop.value.code, output) == (2, "")
        return errors

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


@pytest.fixture
def trained(tmp_path, capsys):
    """Train a model on text with capitals and points, by the command line; return its path."""

    def run_train(*arguments):
        text = tmp_path / "text.txt"
        text.write_text("The cat sat on the mat. The dog sat on the rug.\nA cat and a dog slept.\n" * 3)
        assert main(["train", "ngram", str(text), "-o", str(tmp_path / "trained"), "--quiet", *arguments]) == 0
        capsys.readouterr()
        return tmp_path / "trained"

    return run_train


@pytest.mark.parametrize(
    "options",
    [
        ["--tokenizer", "word", "--lower-case"],
        ["--tokenizer", "word"],
        ["--tokenizer", "char"],
        ["--tokenizer", "subword", "--vocab-size", "60"],
    ],
)
def test_tokenizers_come_back_from_the_model(convert, trained, tmp_path, options):
    if "subword" in options:
        pytest.importorskip("tokenizers")
    first = trained(*options)
    text = "The cat slept on THE rug."
    expected = fastlm.load(first).score(text)
    assert convert(first, tmp_path / "a.arpa")[0] == 0
    ways = [["--vocab", first], options] if "subword" not in options else [["--vocab", first]]
    for way in ways:
        assert convert(tmp_path / "a.arpa", tmp_path / "b", *way)[0] == 0
        assert fastlm.load(tmp_path / "b").score(text) == expected
        assert fastlm.load(tmp_path / "b").vocabulary == fastlm.load(first).vocabulary


def test_a_corpus_knows_the_tokenizer_too(convert, trained, tmp_path, capsys):
    first, corpus = trained("--tokenizer", "word", "--lower-case"), str(tmp_path / "corpus")
    assert main(["prepare", str(tmp_path / "text.txt"), "-o", corpus, "--vocab", str(first), "--quiet"]) == 0
    convert(first, tmp_path / "a.arpa")
    assert convert(tmp_path / "a.arpa", tmp_path / "b", "--vocab", corpus)[0] == 0
    assert fastlm.load(tmp_path / "b").score("THE CAT") == fastlm.load(first).score("THE CAT")


def test_the_counts_are_those_of_the_file(convert, model, tmp_path):
    """Without smoothing an unknown word that was never seen has no line."""
    unsmoothed = fastlm.NGramLM(model.vocabulary, order=2, smoothing="none")
    unsmoothed.fit(fastlm.Corpus.encode(["the cat"], model.vocabulary)).save(tmp_path / "a")
    lines = len(model.vocabulary)  # <s> is one more, <unk> one less
    assert convert(tmp_path / "a", tmp_path / "a.arpa")[1].endswith(f"a.arpa: {lines}, 3 n-grams of order 1 to 2\n")
    assert f"ngram 1={lines}\nngram 2=3\n" in (tmp_path / "a.arpa").read_text()


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
        ("a.arpa", "b.arpa.xz", "would be of one kind, .* ends in other than .arpa"),
        ("a.arpa", "b.Arpa.ZST", "would be of one kind, .* ends in other than .arpa"),
        ("model.fastlm", "b.arpa.xz", "ends in .xz, which is read but not written; take .gz"),
        ("model.fastlm", "b.arpa.zst", "ends in .zst, which is read but not written; take .gz"),
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
        (["a.arpa", "b", "--vocab", "-"], "cannot be converted; give names of files"),
        (["a.arpa", "b", "--vocab", "./b"], "b would be overwritten"),
        (["a.arpa", "b", "--tokenizer", "none"], "expected whitespace, word, char"),
        (["a.arpa", "b", "--tokenizer", "subword"], "give the model or corpus that has them by --vocab"),
        (["a.arpa", "b", "--lower-case"], "the tokenizer whitespace keeps case; give --tokenizer word"),
        (["a.arpa", "b", "--lower-case", "--tokenizer", "char"], "the tokenizer char keeps case"),
        (["a.arpa", "b", "--vocab", "c", "--tokenizer", "word"], "leave out --tokenizer and --lower-case"),
        (["a.arpa", "b", "--vocab", "c", "--lower-case"], "leave out --tokenizer and --lower-case"),
    ],
)
def test_wrong_calls(refuse, arguments, message):
    assert message in refuse(*arguments)


@pytest.mark.parametrize("target", ["b.arpa", "b"])
def test_a_model_says_itself_how_text_is_split(refuse, stored, tmp_path, target):
    for options, named in (
        (["--tokenizer", "whitespace"], "--tokenizer"),
        (["--tokenizer", "word", "--lower-case"], "--tokenizer, --lower-case"),
        (["--vocab", stored], "--vocab"),
    ):
        assert f"has no place for it; leave out {named}\n" in refuse(stored, tmp_path / target, *options)
    assert not (tmp_path / target).exists()


def test_a_list_of_words_has_no_tokenizer(convert, stored, tmp_path):
    (tmp_path / "words.txt").write_text("the\ncat\n" * 100)
    convert(stored, tmp_path / "a.arpa")
    status, errors = convert(tmp_path / "a.arpa", tmp_path / "b", "--vocab", tmp_path / "words.txt")
    assert (status, errors.count("\n")) == (1, 1)
    assert "words.txt" in errors
    assert not (tmp_path / "b").exists()
