"""From numbers to ids, against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text.scan.numbering import pick_words, renumber, sort_words
from fastlm.text.wordlist import pack, unpack

# Prefixes of each other, and bytes above 127, around the eight that are compared as a number.
words = st.binary(max_size=2).map(lambda end: b"\xea\xb0\x80word" + end) | st.binary(min_size=1, max_size=20)
counted = st.lists(st.tuples(words, st.integers(0, 3)), min_size=1, max_size=40, unique_by=lambda x: x[0])


@given(counted, st.data())
def test_words_are_sorted_by_count_then_by_bytes(found: list[tuple[bytes, int]], data: st.DataObject) -> None:
    packed, ends = pack([word for word, _ in found])
    counts = np.array([count for _, count in found])
    numbers = data.draw(st.lists(st.integers(0, len(found) - 1), unique=True))
    ordered = sort_words(packed, ends, counts, np.array(numbers, dtype=np.int64))
    assert ordered.tolist() == sorted(numbers, key=lambda number: (-found[number][1], found[number][0]))


@given(counted, st.data())
def test_words_are_picked(found: list[tuple[bytes, int]], data: st.DataObject) -> None:
    packed, ends = pack([word for word, _ in found])
    numbers = data.draw(st.lists(st.integers(0, len(found) - 1), min_size=1))
    picked = pick_words(packed, ends, np.array(numbers))
    assert unpack(*picked) == [found[number][0] for number in numbers]
    assert (picked[0].dtype, picked[1].dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_numbers_become_ids(dtype: type) -> None:
    numbers = np.array([3, 0, 1, 3, 2], dtype=np.int32)
    ids = np.array([0, 1, 0, 65_535], dtype=np.int32)
    numbers.flags.writeable = ids.flags.writeable = False
    out = np.empty(5, dtype)
    assert renumber(out, numbers, ids) == 2
    assert out.tolist() == [65_535, 0, 1, 65_535, 0]


def test_what_does_not_fit_is_refused() -> None:
    ids = np.array([0, 1], dtype=np.int32)
    for number in (-1, 2):
        with pytest.raises(ValueError, match=rf"numbers\[1\] is {number}: expected 0 to 1"):
            renumber(np.empty(2, np.uint16), np.array([1, number], dtype=np.int32), ids)
    with pytest.raises(ValueError, match="out has room for 3 ids, expected it for 1"):
        renumber(np.empty(3, np.uint16), np.array([1], dtype=np.int32), ids)
