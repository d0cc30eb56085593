"""ARPA files: what is written is read; what others write is read, too; what is damaged is refused with its line."""

import gzip
import io
import lzma
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import DataError, FileError
from fastlm.text.arpa import MAX_LINE, ArpaReader, NGrams, write_arpa
from fastlm.text.vocabulary import Vocabulary

ARPA = """\
\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-2\t<unk>\t0
0\t<s>\t-0.5
-1\t</s>\t0
-0.5\tthe\t-0.25
-0.75\tcat\t-0.125

\\2-grams:
-0.25\t<s> the\t-0.5
-0.5\tthe cat\t0
-1.5\tcat </s>\t0

\\3-grams:
-0.125\t<s> the cat

\\end\\
"""


def read(text: str | bytes, path: Path) -> tuple[Vocabulary, list[dict[tuple[int, ...], tuple[float, float]]]]:
    """Read a file; return its words, and its n-grams by order."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    reader = ArpaReader(path)
    orders = [ngrams_of([reader.unigrams])]
    orders += [ngrams_of(list(section)) for section in reader.sections()]
    return reader.vocabulary, orders


def ngrams_of(blocks: list[NGrams]) -> dict[tuple[int, ...], tuple[float, float]]:
    found = {}
    for ids, probs, backoffs, _ in blocks:
        weights = zip(probs.tolist(), [0] * len(ids) if backoffs is None else backoffs.tolist(), strict=True)
        found |= dict(zip(map(tuple, ids.tolist()), weights, strict=True))
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.arpa"


def test_what_is_in_a_file(path: Path) -> None:
    vocabulary, orders = read(ARPA, path)
    assert vocabulary == Vocabulary(["the", "cat"])
    assert orders == [
        {(0,): (-2, 0), (1,): (-1, 0), (2,): (-0.5, -0.25), (3,): (-0.75, -0.125), (4,): (-99, -0.5)},
        {(4, 2): (-0.25, -0.5), (2, 3): (-0.5, 0), (3, 1): (-1.5, 0)},
        {(4, 2, 3): (-0.125, 0)},
    ]


def test_lines_are_known(path: Path) -> None:
    path.write_text(ARPA)
    lines = [[block.line for block in section] for section in ArpaReader(path).sections()]
    assert lines == [[14], [19]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"Made by hand\n\\data\\ stands below\nngram 1=99\n\n{text}",
        lambda text: text.replace("ngram 1=5", "ngram  1 =\t     5").replace("ngram 2=", "ngram 2= "),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n\n", "\n\n \n\t\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\t", " "),
        lambda text: re.sub(r"[ \t]", " \t ", text.replace("ngram ", "ngram")),
        lambda text: text.replace("\t0\n", "\n"),
        lambda text: text.replace("grams:\n", "grams:\n\n").replace("\t0\n", "\t0\n \n\n"),
        lambda text: text.replace("<unk>", "<UNK>"),
        lambda text: text.replace("0\t<s>", "-99\t<s>"),
        lambda text: text.replace("0\t<s>", "1.5\t<s>"),
        lambda text: text.removesuffix("\n"),
        lambda text: f"{text}\n\n  \n",
        lambda text: text.replace("ngram 3=1\n", "ngram 3=1\nngram 4=0\nngram 5=0\n"),
        lambda text: text.replace("ngram 3=1\n", "ngram 3=1\nngram 4=0\n").replace("\\end", "\\4-grams:\n\n\\end"),
    ],
)
def test_what_other_programs_write(path: Path, change: Callable[[str], str]) -> None:
    assert change(ARPA) != ARPA
    assert read(change(ARPA), path) == read(ARPA, path)


@pytest.mark.parametrize("zero", ["-99", "-99.0", "-100", "-1e30", "-inf", "-INF", "-Inf"])
def test_zeros(path: Path, zero: str) -> None:
    """What is not above -99 stands for the logarithm of zero; of <s> it says nothing."""
    text = ARPA.replace("-2\t<unk>\t0", f"{zero}\t<unk>\t{zero}").replace("0\t<s>", f"{zero}\t<s>")
    text = text.replace("-0.25\t<s> the\t-0.5", f"{zero}\t<s> the\t{zero}")
    _, (words, pairs, _) = read(text, path)
    assert words[0,] == pairs[4, 2] == (-math.inf, -math.inf)
    assert words[4,] == (-99, -0.5)
    above = read(ARPA.replace("-2\t<unk>", "-98.5\t<unk>"), path)[1][0]
    assert above[0,] == (-98.5, 0)


@pytest.mark.parametrize("number", ["inf", "+inf", "--inf", "-infinity", "-inf.0", "-in", "nan", "-i", "-1e999"])
def test_what_is_no_number(path: Path, number: str) -> None:
    for old, new in (("-2\t<unk>", f"{number}\t<unk>"), ("-0.25\t<s> the", f"{number}\t<s> the")):
        assert old in ARPA
        with pytest.raises(DataError, match="expected a number, a logarithm to base 10, got"):
            read(ARPA.replace(old, new), path)


def test_compressed_files(tmp_path: Path) -> None:
    expected = read(ARPA, tmp_path / "plain")
    assert read(gzip.compress(ARPA.encode()), tmp_path / "a.gz") == expected
    assert read(lzma.compress(ARPA.encode()), tmp_path / "a.xz") == expected


def test_a_model_of_words_alone(path: Path) -> None:
    text = "\\data\\\nngram 1=2\n\\1-grams:\n-1 </s>\n-2 a\n\\end\\\n"
    vocabulary, orders = read(text, path)
    assert vocabulary.words == ("<unk>", "</s>", "a")
    assert orders == [{(0,): (-math.inf, 0), (1,): (-1, 0), (2,): (-2, 0), (3,): (-99, 0)}]


def test_a_missing_unknown_word_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(ARPA.replace("-2\t<unk>", "-2\tdog"), path)
    assert "no <unk> among the 1-grams, so unknown words have no probability" in caplog.text


@pytest.mark.parametrize("tokenizer", ["word", "char"])
def test_the_tokenizer_is_the_callers(path: Path, tokenizer: str) -> None:
    path.write_text(ARPA)
    assert ArpaReader(path, tokenizer).vocabulary == Vocabulary(["the", "cat"], tokenizer=tokenizer)


# What is not right


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("ngram 2=3", "ngram 3=3", 3, r"expected 'ngram 2=' and a number up to 2,147,483,647, got 'ngram 3=3'"),
        ("ngram 2=3", "ngram 2=-3", 3, "expected 'ngram 2='"),
        ("ngram 2=3", "ngram 2=3000000000", 3, "expected 'ngram 2='"),
        ("ngram 2=3", "bigrams: 3", 3, "got 'bigrams: 3'"),
        ("ngram 1=5", "ngram 1=0", 6, "a model has words"),
        ("ngram 2=3", "ngram 2=0", 6, "no 2-grams, but 3-grams; expected their contexts among them"),
        ("ngram 3=1", "ngram 3=0\nngram 4=0\nngram 5=1", 8, "no 4-grams, but 5-grams; expected their contexts"),
        ("\\1-grams:", "\\2-grams:", 6, r"expected \\1-grams:, got '\\\\2-grams:'"),
        ("\\2-grams:", "\\3-grams:", 13, r"expected \\2-grams:, got"),
        ("\\2-grams:", "-1 the end", 13, r"expected \\2-grams:, got '-1 the end'"),
        ("ngram 1=5", "ngram 1=6", 13, r"expected 6 1-grams, .* before so many there is '\\\\2-grams:'"),
        ("ngram 1=5", "ngram 1=4", 11, r"expected \\2-grams:, got '-0.75\\tcat\\t-0.125'"),
        ("ngram 2=3", "ngram 2=4", 18, r"expected 4 2-grams, .* before so many there is '\\\\3-grams:'"),
        ("ngram 2=3", "ngram 2=2", 16, r"expected \\3-grams:, got '-1.5\\tcat </s>\\t0'"),
        ("ngram 3=1", "ngram 3=2", 21, "expected 2 3-grams"),
        ("ngram 3=1", "ngram 3=0", 14, "a back-off weight at the highest order, 2"),
        ("-2\t<unk>", "two\t<unk>", 7, "expected a number, a logarithm to base 10, got 'two'"),
        ("-2\t<unk>", "nan\t<unk>", 7, "expected a number, .* got 'nan'"),
        ("-2\t<unk>", "-1e99\t<unk>", 7, "expected a number, .* got '-1e99'"),
        ("-2\t<unk>", "-2_0\t<unk>", 7, "expected a number"),
        ("-2\t<unk>", "0.5\t<unk>", 7, "the log-probability of '<unk>' is 0.5, expected 0 or less"),
        ("-2\t<unk>\t0", "-2\t<unk>\tx", 7, "expected a number, .* got 'x'"),
        (
            "-2\t<unk>\t0",
            "-2\t<unk>\t0\t0",
            7,
            r"expected a number, 1 words and perhaps another number, got '-2\\t<unk>",
        ),
        ("-2\t<unk>\t0", "-2", 7, "expected a number, 1 words"),
        ("-1\t</s>", "-1\tend", 12, "no </s> among the 1-grams"),
        ("-0.75\tcat", "-0.75\tthe", 11, "the word 'the' is there twice"),
        ("-0.75\tcat", "-0.75\tc\0t", 11, r"the word 'c\\x00t': NUL"),
        ("-0.5\tthe cat", "-0.5\tthe dog", 15, "the word 'dog' is not among the 1-grams"),
        ("-0.5\tthe cat", "0.5\tthe cat", 15, "the log-probability of 'the cat' is 0.5, expected 0 or less"),
        ("-0.5\tthe cat", "-0.5\tthe", 15, "the word '0' is not among the 1-grams"),
        ("-0.5\tthe cat\t0", "-0.5\tthe", 15, "expected a number, 2 words and perhaps another number"),
        ("-0.5\tthe cat\t0", "-0.5\tthe cat\t0\t0", 15, "expected a number, 2 words"),
        ("-0.5\tthe cat\t0", "-0.5\tthe cat\tcat", 15, "expected a number, .* got 'cat'"),
        ("-0.5\tthe cat", "\\2-grams:", 15, "expected 3 2-grams, .* before so many there is"),
        ("<s> the cat", "<s> the cat\t-0.5", 19, "a back-off weight at the highest order, 3"),
        ("\\end\\", "\\4-grams:", 21, r"expected \\end\\ behind the 3-grams, got '\\\\4-grams:'"),
        ("\\end\\\n", "\\end\\\nmore\n", 22, r"expected nothing behind \\end\\, got 'more'"),
    ],
)
def test_errors_name_the_line(path: Path, old: str, new: str, line: int, message: str) -> None:
    assert ARPA.count(old) == 1
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}, line {line}: .*{message}"):
        read(ARPA.replace(old, new), path)


def test_a_positive_number_is_named_behind_a_capital_unknown_word(path: Path) -> None:
    """As others write <unk>: it is a word of the file, so the fault is the number."""
    text = ARPA.replace("<unk>", "<UNK>").replace("-0.5\tthe cat", "0.5\t<UNK> cat")
    with pytest.raises(DataError, match=r"line 15: the log-probability of '<UNK> cat' is 0.5, expected 0 or less"):
        read(text, path)


@pytest.mark.parametrize("counts", ["", "ngram 2=0\n"])
@pytest.mark.parametrize("weight", ["-0.5", "0.25", "-99", "-inf"])
def test_words_alone_have_no_backoff_weights(path: Path, counts: str, weight: str) -> None:
    line = 6 if counts else 5
    with pytest.raises(DataError, match=f"line {line}: a back-off weight at the highest order, 1; expected none there"):
        read(f"\\data\\\nngram 1=2\n{counts}\n\\1-grams:\n-1 </s> {weight}\n-2 a\n\\end\\\n", path)
    read(f"\\data\\\nngram 1=2\n{counts}\n\\1-grams:\n-1 </s> 0\n-2 a\n\\end\\\n", path)


def test_words_that_are_not_utf8(path: Path) -> None:
    with pytest.raises(DataError, match=r"line 11: expected words in UTF-8, got .*\\xff"):
        read(ARPA.encode().replace(b"-0.75\tcat", b"-0.75\tc\xfft"), path)
    with pytest.raises(DataError, match=r"line 15: expected words in UTF-8"):
        read(ARPA.encode().replace(b"\tthe cat", b"\tthe c\xfft"), path)


@pytest.mark.parametrize("text", ["", "\n", "the cat sat\n", "ngram 1=5\n", "x" * 1000])
def test_other_files(path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"no line \\data\\ in it; expected an ARPA file"):
        read(text, path)


def test_a_file_without_lines_is_given_up(path: Path) -> None:
    with pytest.raises(DataError, match="line 2: more than 1,048,576 bytes; expected an ARPA file"):
        read(b"a comment\n" + b"x" * (3 * MAX_LINE), path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="check the spelling"):
        ArpaReader(tmp_path / "none.arpa")


@given(end=st.integers(0, len(ARPA) - 2))
def test_files_that_are_cut_off_are_refused(end: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.arpa"
    if ARPA[:end].endswith("\\end\\"):
        return
    with pytest.raises(DataError, match=r"cut\.arpa"):
        read(ARPA[:end], path)


@given(data=st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.arpa"
    damaged = bytearray(ARPA.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        _, orders = read(bytes(damaged), path)
    except DataError as error:
        assert "damaged.arpa" in str(error)
    else:
        assert not any(math.isnan(number) for order in orders for weights in order.values() for number in weights)


# Writing


def test_a_file_is_written(path: Path) -> None:
    vocabulary = Vocabulary(["the", "고양이"])
    probs, backoffs = np.array([[-1, -2, -3, -4, -99], [0, 0, -0.5, 0.25, 0]], np.float32)
    unigrams = NGrams(np.arange(5, dtype=np.int32)[:, None], probs, backoffs)
    bigrams = [NGrams(np.array([[4, k]], np.int32), np.array([-k / 4], np.float32), None) for k in (2, 3)]
    write_arpa(path, vocabulary, [5, 2], [[unigrams], bigrams])
    assert path.read_text(encoding="utf-8").splitlines() == [
        *("\\data\\", "ngram 1=5", "ngram 2=2", ""),
        *("\\1-grams:", "-1\t<unk>\t0", "-2\t</s>\t0", "-3\tthe\t-0.5", "-4\t고양이\t0.25", "-99\t<s>\t0", ""),
        *("\\2-grams:", "-0.5\t<s> the", "-0.75\t<s> 고양이", "", "\\end\\"),
    ]
    assert read(path.read_bytes(), path)[0] == vocabulary


def test_equal_models_are_equal_compressed_bytes(tmp_path: Path) -> None:
    unigrams = NGrams(np.arange(3, dtype=np.int32)[:, None], np.zeros(3, np.float32), None)
    for name in ("a.gz", "b.GZ"):
        write_arpa(tmp_path / name, Vocabulary(["x"]), [3], [[unigrams]])
    first, second = ((tmp_path / name).read_bytes() for name in ("a.gz", "b.GZ"))
    assert first == second
    assert gzip.GzipFile(fileobj=io.BytesIO(first)).read().startswith(b"\\data\\\nngram 1=3\n")


@pytest.mark.parametrize("word", ["new york", "a\tb", "a\nb", "a\rb"])
def test_words_with_blanks_cannot_be_written(path: Path, word: str) -> None:
    path.write_text("as it was")
    vocabulary = Vocabulary(["x", word, "y"], tokenizer="char")
    with pytest.raises(DataError, match=re.escape(f"the word {word!r} has a blank in it")):
        write_arpa(path, vocabulary, [5], [])
    assert path.read_text() == "as it was"
