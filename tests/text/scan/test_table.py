"""The table of words against a dict."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text.scan.table import WordTable
from fastlm.text.wordlist import pack

SPECIALS = ["<unk>", "</s>"]
encodable = st.characters(exclude_categories=["Cs"])
words = st.lists(st.text(encodable, min_size=1, max_size=20), unique=True).map(
    lambda found: [word for word in found if word not in ("<unk>", "</s>", "<s>")]
)


def make_table(words: list[str]) -> WordTable:
    return WordTable(*pack([word.encode() for word in SPECIALS + words]))


@given(words, words)
def test_words_are_found_and_others_are_unknown(known: list[str], others: list[str]) -> None:
    table = make_table(known)
    numbers = {word: number for number, word in enumerate(SPECIALS + known)} | {"<s>": len(known) + 2}
    asked = [*SPECIALS, "<s>", *known, *others, ""]
    assert table.find(asked).tolist() == [numbers.get(word, 0) for word in asked]
    assert len(table) == len(known) + 2
    assert table.duplicate == -1


@given(words, words)
def test_packed_words_are_found(known: list[str], others: list[str]) -> None:
    table = make_table(known)
    asked = [*SPECIALS, *others, *known]
    assert table.find_packed(*pack([word.encode() for word in asked])).tolist() == table.find(asked).tolist()


def test_words_that_differ_only_in_zero_bytes_are_different() -> None:
    known = ["a" * length + "\0" * zeros for length in (1, 7, 8, 9, 15, 16, 17) for zeros in range(10)]
    assert make_table(known).find(known).tolist() == list(range(2, 2 + len(known)))


def test_many_words() -> None:
    known = [f"{number:x}" * (1 + number % 3) for number in range(16, 60_000)]
    known = list(dict.fromkeys(known))
    table = make_table(known)
    assert np.array_equal(table.find(known), np.arange(2, 2 + len(known)))
    assert not np.any(table.find([word + "!" for word in known]))


def test_a_duplicate_is_told() -> None:
    assert make_table(["one", "two", "three", "two"]).duplicate == 5
    assert make_table(["one", "<s>"]).duplicate == 3
    assert make_table(["a rather long one", "one", "a rather long one"]).duplicate == 4


def test_too_few_words() -> None:
    with pytest.raises(ValueError, match="first two words"):
        WordTable(*pack([b"<unk>"]))


@pytest.mark.parametrize("word", [None, 3, b"bytes"])
def test_what_is_no_string_is_refused(word: object) -> None:
    with pytest.raises(TypeError):
        make_table(["a"]).find([word])  # type: ignore[list-item]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        make_table(["a"]).find(["\ud800"])


def test_read_only_arrays_and_threads() -> None:
    data, ends = pack([b"<unk>", b"</s>", *(str(number).encode() for number in range(1000))])
    ends.flags.writeable = False
    table = WordTable(data, ends)
    asked = [str(number) for number in range(1500)]
    expected = table.find(asked)
    results: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(all(np.array_equal(table.find(asked), expected) for _ in range(20)))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
