"""Splitting, counting and encoding against plain Python, however the text is cut into blocks."""

import collections
import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.errors import DataError
from fastlm.text.scan.counter import Counter
from fastlm.text.scan.scanner import Encoder
from fastlm.text.scan.table import WordTable
from fastlm.text.wordlist import pack, unpack

# Characters between which the scanner has to tell, among others of one to four bytes.
pieces = st.sampled_from(
    [" ", "\t", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\u3000", "!", "<unk>"]
)
words = st.text(st.sampled_from("ab!é가ㅋ😀\x01"), min_size=1, max_size=25)
texts = st.lists(pieces | words | st.sampled_from(["the", " ", "\n"]), max_size=60).map("".join)


def reference_lines(text: str) -> list[list[str]]:
    """Tokens of every line of a text that ends with a line end."""
    lines = [line.removesuffix("\r") for line in text.split("\n")[:-1]]
    return [[token for token in re.split("[ \t]", line) if token] for line in lines]


def blocks(text: bytes, rng: random.Random) -> list[bytes]:
    """Cut text behind some of its blanks."""
    bounds = [0, *(end.end() for end in re.finditer(rb"[ \t\n]", text) if rng.random() < 0.3), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(bounds) if start < stop]


def counted(counter: Counter) -> dict[str, int]:
    data, ends, counts = counter.words()
    return dict(zip((word.decode() for word in unpack(data, ends)), counts.tolist(), strict=True))


@settings(max_examples=300)
@given(texts, st.randoms(use_true_random=False))
def test_words_are_counted_as_python_does(text: str, rng: random.Random) -> None:
    text += "\n"
    counter = Counter("text")
    numbers = [counter.scan(block).tolist() for block in blocks(text.encode(), rng)]
    lines = reference_lines(text)
    expected = collections.Counter(token for line in lines for token in line)
    order = list(counted(counter))
    assert [order[number] for block in numbers for number in block] == [
        token for line in lines if line for token in [*line, "</s>"]
    ]
    sentences = sum(bool(line) for line in lines)
    assert counted(counter) == {"<unk>": 0} | dict(expected) | {"</s>": sentences}
    assert (counter.num_lines, counter.num_sentences) == (len(lines), sentences)
    assert counter.num_empty_lines == len(lines) - sentences
    assert counter.num_unknown == expected["<unk>"]
    assert counter.num_returns == text.count("\r\n")


@settings(max_examples=300)
@given(texts, st.sampled_from([np.uint16, np.int32]), st.randoms(use_true_random=False))
def test_text_is_encoded_as_python_does(text: str, dtype: type, rng: random.Random) -> None:
    text += "\n"
    lines = reference_lines(text)
    known = sorted({token for line in lines for token in line if token != "<unk>"})[::2]
    ids = {word: number for number, word in enumerate(["<unk>", "</s>", *known])}
    encoder = Encoder("text", WordTable(*pack([word.encode() for word in ids])), dtype)
    found = [encoder.scan(block) for block in blocks(text.encode(), rng)]
    expected = [number for line in lines if line for number in [*(ids.get(token, 0) for token in line), 1]]
    assert np.concatenate(found).tolist() == expected
    assert all(part.dtype == dtype for part in found)
    assert encoder.num_unknown == expected.count(0)
    assert encoder.num_sentences == expected.count(1)


@given(st.lists(st.lists(words, max_size=8), max_size=60))
def test_lines_that_are_split_already(lines: list[list[str]]) -> None:
    known = sorted({token for line in lines for token in line})[::2]
    ids = {word: number for number, word in enumerate(["<unk>", "</s>", *known])}
    counter, encoder = Counter("text"), Encoder("text", WordTable(*pack([word.encode() for word in ids])), np.int32)
    counter.scan_tokens(lines)
    expected = [number for line in lines if line for number in [*(ids.get(token, 0) for token in line), 1]]
    assert encoder.scan_tokens(lines).tolist() == expected
    counts = collections.Counter(token for line in lines for token in line)
    assert counted(counter) == {"<unk>": 0, "</s>": expected.count(1)} | counts
    assert counter.num_empty_lines == encoder.num_empty_lines == lines.count([])


def test_words_of_every_length_at_every_place() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz" * 2
    lengths = [*range(1, 40)]
    for shift in range(9):
        counter = Counter("text")
        text = "!" * shift + " " + " ".join(letters[:length] for length in lengths) + "\n"
        counter.scan(text.encode() * 2)
        assert counted(counter) == {"<unk>": 0, "</s>": 2} | collections.Counter(text.split() * 2)


def test_a_hundred_thousand_words() -> None:
    rng = random.Random(1)
    tokens = [f"{rng.getrandbits(rng.randrange(1, 64)):x}" for _ in range(200_000)]
    counter = Counter("text")
    counter.scan((" ".join(tokens) + "\n").encode())
    expected = collections.Counter(tokens)
    assert len(expected) > 50_000
    assert counted(counter) == {"<unk>": 0, "</s>": 1} | expected
    assert list(counted(counter))[2:] == list(expected)  # in the order of their first occurrence


def test_words_alike_in_their_first_bytes() -> None:
    words = [("x" * length + end) * times for length in (7, 8, 15, 16, 30) for end in "abc" for times in (1, 2)]
    counter = Counter("text")
    counter.scan((" ".join(words * 3) + "\n").encode())
    assert counted(counter) == {"<unk>": 0, "</s>": 1} | dict.fromkeys(words, 3)


def test_a_line_of_a_million_tokens_in_small_blocks() -> None:
    encoder = Encoder("text", WordTable(*pack([b"<unk>", b"</s>", b"a", b"b"])), np.uint16)
    ids = [encoder.scan(b"a b c " * 1000) for _ in range(334)] + [encoder.scan(b"\n")]
    assert np.array_equal(np.concatenate(ids), [2, 3, 0] * 334_000 + [1])
    assert encoder.num_sentences == encoder.num_lines == 1


@pytest.mark.parametrize("word", ["<s>", "</s>"])
def test_a_reserved_word_is_an_error_that_names_the_line(word: str) -> None:
    text = f"one\n\ntwo three\nand {word} four\n"
    for scanner in (Counter("news.txt"), Encoder("news.txt", WordTable(*pack([b"<unk>", b"</s>"])), np.int32)):
        with pytest.raises(DataError, match=r"news\.txt, line 4: the text holds a literal <s> or </s>.*remove them"):
            scanner.scan(text.encode())
    with pytest.raises(DataError, match="text, line 3"):
        Counter("text").scan_tokens([["a"], [], ["b", word]])


def test_an_empty_token_is_an_error_that_names_the_line() -> None:
    with pytest.raises(DataError, match="text, line 2: the tokenizer gave an empty token"):
        Counter("text").scan_tokens([["a"], ["b", ""]])


@pytest.mark.parametrize("block", [b"", b"word", b"two words"])
def test_a_block_that_is_cut_inside_a_word_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="ends with a space, a tab or a line feed"):
        Counter("text").scan(block)


def test_nothing_is_kept_between_scanners() -> None:
    first, second = Counter("text"), Counter("text")
    first.scan(b"a a b\n")
    assert counted(second) == {"<unk>": 0, "</s>": 0}
    assert first.words()[2].tolist() == [0, 1, 2, 1]


def test_counts_of_two_texts_are_those_of_both() -> None:
    first, second, both = Counter("first"), Counter("second"), Counter("both")
    rng = random.Random(2)
    for counter in (first, second):
        text = "".join(f"{rng.getrandbits(9):x}{' ' if rng.random() < 0.9 else chr(10)}" for _ in range(9000)) + "\n"
        counter.scan(text.encode())
        both.scan(text.encode())
    first.add_counts(*second.words())
    assert list(counted(first).items()) == list(counted(both).items())  # in the same order, too
    assert (first.num_sentences, first.num_unknown) == (both.num_sentences, both.num_unknown)


def test_lines_are_counted_afresh_in_the_next_text() -> None:
    counter = Counter("one.txt")
    counter.scan(b"a\n\nb\n")
    counter.begin_text("two.txt")
    with pytest.raises(DataError, match=r"two\.txt, line 2: the text holds a literal"):
        counter.scan(b"c\n</s>\n")
    assert (counter.num_lines, counter.num_sentences, counter.num_empty_lines) == (1, 3, 1)
