"""Lines of ARPA files: every float32 comes back as it was, and what is no n-gram is not read."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastlm.text.scan.arpa import format_ngrams, parse_ngrams
from fastlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "cat", "고양이", "a,b", "-1", "0.5"])
TABLE = VOCABULARY.table
V = len(VOCABULARY)


def parse(text: str | bytes, order: int, rows: int = 10, begin: int = 0) -> tuple[list[tuple], int]:
    """Parse lines; return their numbers and words, and where the reading ended."""
    data = text.encode() if isinstance(text, str) else text
    ids, (probs, backoffs) = np.empty((rows, order), np.int32), np.empty((2, rows), np.float32)
    num_read, at = parse_ngrams(ids, probs, backoffs, data, begin, TABLE)
    rows_read = zip(probs.tolist(), ids.tolist(), backoffs.tolist(), strict=True)
    return [(prob, *row, backoff) for prob, row, backoff in list(rows_read)[:num_read]], at


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-1.5\tthe cat\t-0.25", (-1.5, 2, 3, -0.25)),
        ("-1.5\tthe cat", (-1.5, 2, 3, 0)),
        ("  -1.5 \t the\tcat  -0.25\t ", (-1.5, 2, 3, -0.25)),
        ("0\t<s> </s>\t0.5", (0, V, 1, 0.5)),
        ("-0\t<unk> <UNK>\t-0", (0, 0, 0, 0)),
        ("-99 고양이 a,b", (-99, 4, 5, 0)),
        ("-1 -1 0.5", (-1, 6, 7, 0)),
        ("-1 -1 0.5 0.5", (-1, 6, 7, 0.5)),
        ("-1.5e1 the cat +.5", (-15, 2, 3, 0.5)),
        ("-15E-1 the cat 5.", (-1.5, 2, 3, 5)),
        ("-0000000000000000000000000.25 the cat 1e-400", (-0.25, 2, 3, 0)),
        ("-1.5\tthe cat\r", (-1.5, 2, 3, 0)),
    ],
)
def test_lines(line: str, expected: tuple[float, ...]) -> None:
    text = f"{line}\n"
    assert parse(text, 2) == ([expected], len(text.encode()))


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "\r", "\\end\\", "\\3-grams:", "the cat", "- the cat", "+. the cat", ". the cat", "-1", "-1 the"),
        *("-1 the cat x", "-1 the cat -", "-1 the cat 0 0", "-1 the cat the", "-1e the cat", "-1e- the cat"),
        *("-1.5.5 the cat", "--1 the cat", "nan the cat", "-info the cat", "-1e39 the cat", "-1 the cat 1e39"),
        *("0.1 the cat", "-1 the dog", "-1 the\r cat", "-1,5 the cat", "-1_0 the cat", "0x1 the cat", "-1 the c\0at"),
    ],
)
def test_lines_that_are_no_bigrams_stop_the_reading(line: str) -> None:
    first = "-1 the cat\n"
    assert parse(f"{first}{line}\n-1 the cat\n", 2) == ([(-1, 2, 3, 0)], len(first))


def test_reading_stops_at_the_end_of_room_and_text() -> None:
    text = "-1 the\n-2 cat\n-3 </s>\n"
    assert parse(text, 1, rows=2) == ([(-1, 2, 0), (-2, 3, 0)], 14)
    assert parse(text, 1, begin=14) == ([(-3, 1, 0)], len(text))
    assert parse(text, 1, begin=len(text)) == ([], len(text))


@pytest.mark.parametrize(("text", "begin"), [(b"", 0), (b"-1 the", 0), (b"-1 the\n", 8), (b"-1 the\n", -1)])
def test_text_that_is_no_lines(text: bytes, begin: int) -> None:
    with pytest.raises(ValueError, match="expected text that ends with a line feed"):
        parse(text, 1, begin=begin)


@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(float(np.float32(1e-45)))
@example(-3.4028234663852886e38)
@example(float(np.float32(-4.4621396)))
def test_every_float_comes_back(number: float) -> None:
    data, ends = VOCABULARY.to_arrays()["vocabulary.bytes"], VOCABULARY.to_arrays()["vocabulary.ends"]
    numbers = np.array([-abs(number), number], np.float32)
    text = format_ngrams(np.array([[2, 3]], np.int32), numbers[:1], numbers[1:], data, ends).tobytes()
    assert parse(text, 2) == ([(-abs(number), 2, 3, number)], len(text))


@given(digits=st.from_regex(r"\A-(0|[1-9][0-9]{0,24})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?\Z"))
def test_numbers_are_read_as_python_reads_them(digits: str) -> None:
    read, _ = parse(f"{digits} the\n", 1)
    number = float(digits)
    if abs(number) > 3.4028235e38:
        assert read == []
    else:
        assert read[0][0] == pytest.approx(number, rel=1.2e-7, abs=1e-45)


@given(text=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    rows, at = parse(text + b"\n", 1)
    assert 0 <= at <= len(text) + 1
    assert all(math.isfinite(number) for row in rows for number in row)


def test_lines_are_written() -> None:
    arrays = VOCABULARY.to_arrays()
    packed = arrays["vocabulary.bytes"], arrays["vocabulary.ends"]
    ids = np.array([[2, 4], [0, 1]], np.int32)
    probs, backoffs = np.array([[-1.5, -1 / 3], [0, -2e-5]], np.float32)
    assert format_ngrams(ids, probs, backoffs, *packed).tobytes().decode() == (
        "-1.5\tthe 고양이\t0\n-0.333333343\t<unk> </s>\t-1.99999995e-05\n"
    )
    assert format_ngrams(ids, probs, None, *packed).tobytes().startswith(b"-1.5\tthe \xea")
    assert format_ngrams(ids[:0], probs[:0], None, *packed).tobytes() == b""


@pytest.mark.parametrize("id", [-1, V, 2**31 - 1])
def test_ids_of_no_word_are_refused(id: int) -> None:
    arrays = VOCABULARY.to_arrays()
    ids = np.array([[2, id]], np.int32)
    with pytest.raises(ValueError, match=rf"ids\[0, 1\] is {id}, expected 0 to {V - 1}"):
        format_ngrams(ids, np.zeros(1, np.float32), None, arrays["vocabulary.bytes"], arrays["vocabulary.ends"])


def test_rows_that_do_not_fit() -> None:
    arrays = VOCABULARY.to_arrays()
    ids, one, two = np.zeros((2, 1), np.int32), np.zeros(1, np.float32), np.zeros(2, np.float32)
    for probs, backoffs in ((one, two), (two, one), (one, None)):
        with pytest.raises(ValueError, match="do not fit 2 rows"):
            format_ngrams(ids, probs, backoffs, arrays["vocabulary.bytes"], arrays["vocabulary.ends"])
    for probs, backoffs in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="do not fit 2 rows"):
            parse_ngrams(ids, probs, backoffs, b"-1 the\n", 0, TABLE)
