"""Word lists as plain text and as packed arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import DataError, ModelFileError
from fastlm.text.tokenizer import make_tokenizer
from fastlm.text.wordlist import check_packed, check_words, most_frequent, pack, read_words, unpack, write_words

WHITESPACE = make_tokenizer("whitespace")


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=20))
def test_words_are_packed_and_unpacked(words: list[bytes]) -> None:
    data, ends = pack(words)
    assert (data.dtype, ends.dtype) == (np.uint8, np.int64)
    assert unpack(data, ends) == words
    assert unpack(data, ends, [-1, 0]) == [words[-1], words[0]]


@given(
    st.lists(
        st.tuples(st.text("ab가é\U0001f600", min_size=1, max_size=3), st.integers(1, 4)),
        min_size=1,
        unique_by=lambda x: x[0],
    ),
    st.integers(3, 30) | st.none(),
    st.integers(1, 3),
)
def test_the_most_frequent_words_then_by_bytes(found: list[tuple[str, int]], max_size: int | None, least: int) -> None:
    data, ends = pack([b"<unk>", b"</s>", *(word.encode() for word, _ in found)])
    kept = most_frequent(data, ends, np.array([100, 100, *(count for _, count in found)]), max_size, least)
    expected = sorted((-count, word.encode()) for word, count in found if count >= least)
    expected = expected if max_size is None else expected[: max_size - 2]
    assert unpack(data, ends, kept) == [word for _, word in expected]


@pytest.mark.parametrize("counts", [None, np.array([5, 0, 7, 2**62])])
def test_a_list_is_read_as_it_was_written(tmp_path: Path, counts: np.ndarray | None) -> None:
    words = ["<unk>", "가나다", "\r", "\u3000x\r"] if counts is not None else ["<unk>", "가나다", "#", "\u3000x"]
    write_words(tmp_path / "words.txt", words, counts)
    expected = dict.fromkeys(words) if counts is None else dict(zip(words, counts.tolist(), strict=True))
    assert read_words(tmp_path / "words.txt", WHITESPACE) == expected


def test_a_list_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffthe\r\n<s>\r\n가".encode())
    assert read_words(path, WHITESPACE) == {"the": None, "가": None}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"the\n\ncat\n", "line 2: got '': expected a string of one character or more"),
        (b"the\ncat\nthe\n", "line 3: 'the' is there twice"),
        (b"the 12\n", "line 1: got 'the 12': a blank inside.*a count follows a tab"),
        (b"the\t12\ncat\t-1\n", "line 2: '-1' behind the tab; expected the word's count"),
        (b"the\tcat\t3\n", "line 1: 'cat.t3' behind the tab"),
        (b"the\t9223372036854775808\n", "behind the tab"),
        (b"the\t1\ncat\n", "line 2: some words have counts, others not"),
        (b"the\ncat\t1\n", "line 2: some words have counts, others not"),
        (b"the\n\xff\n", "line 2: invalid UTF-8"),
    ],
)
def test_lists_with_mistakes(tmp_path: Path, text: bytes, problem: str) -> None:
    (tmp_path / "words.txt").write_bytes(text)
    with pytest.raises(DataError, match=r"words\.txt, line \d: ") as failure:
        read_words(tmp_path / "words.txt", WHITESPACE)
    assert failure.match(problem)


@pytest.mark.parametrize("word", ["a\tb", "a\nb", "a\r"])
def test_words_that_do_not_fit_in_a_line(tmp_path: Path, word: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text("the old one\n")
    with pytest.raises(DataError, match="does not fit in a line of text"):
        write_words(path, ["fine", word], None)
    assert path.read_text() == "the old one\n"


@pytest.mark.parametrize("word", ["", "a b", "a\tb", "\ud800", "a\0", "<s>", "<unk>", "</s>", 3, None])
def test_words_that_a_caller_may_not_give(word: str) -> None:
    with pytest.raises(ValueError, match=r"words\[1\] is"):
        check_words(["fine", word], WHITESPACE)


@pytest.mark.parametrize("words", ["words.txt", b"ab", iter(["a"]), {"a", "b"}, None])
def test_what_is_no_sequence_of_words(words: object) -> None:
    with pytest.raises(ValueError, match=f"words is a {type(words).__name__}, expected a sequence of strings"):
        check_words(words, WHITESPACE)  # type: ignore[arg-type]


def test_words_of_other_tokenizers_may_have_blanks() -> None:
    check_words(["New York", "a\tb"], make_tokenizer(str.split))
    with pytest.raises(ValueError, match="there twice"):
        check_words(["New York", "New York"], make_tokenizer(str.split))


def test_damaged_arrays() -> None:
    data, ends = pack([b"<unk>", b"</s>", b"a", b"bc"])
    check_packed(data, ends)
    for bad_data, bad_ends in [
        (data.astype(np.int8), ends),
        (data, ends.astype(np.int32)),
        (data[None], ends),
        (data, ends[:-1]),
        (data, ends[:1]),
        (data, ends[:0]),
        (data[:-1], ends),
        (data, ends[[0, 1, 1, 3]]),
        (data, np.array([5, 9, 11, 10, 12])),
        (data, np.array([4, 9, 10, 12])),
        (data[::-1], ends),
    ]:
        with pytest.raises(ModelFileError, match="damaged vocabulary"):
            check_packed(bad_data, bad_ends)
