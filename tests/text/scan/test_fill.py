"""Compiled loops over ids against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastlm.text.scan.fill import ngram_windows, sentence_begin, sentence_ends

END, START = 1, 6
dtypes = st.sampled_from([np.uint16, np.int32])
some_ids = st.lists(st.integers(0, 5), min_size=1, max_size=40)


def read_only(values: list[int], dtype: type) -> NDArray[np.int32]:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


@given(st.lists(st.integers(0, 3), max_size=40), dtypes)
def test_sentence_ends(ids: list[int], dtype: type) -> None:
    ends = [n + 1 for n, number in enumerate(ids) if number == END]
    if ids and ids[-1] != END:
        ends.append(len(ids))
    found = sentence_ends(read_only(ids, dtype), END)
    assert found.tolist() == ends
    assert found.dtype == np.int64


@given(st.lists(st.integers(0, 3), max_size=40), dtypes, st.integers(0, 45))
def test_sentence_begin(ids: list[int], dtype: type, at: int) -> None:
    begins = [n for n in range(at, len(ids)) if n == 0 or ids[n - 1] == END]
    assert sentence_begin(read_only(ids, dtype), at, END) == min([*begins, len(ids)])


def reference_window(ids: list[int], position: int, context_size: int, sentence: bool) -> list[int]:
    before = ids[:position]
    if sentence:
        before = before[len(before) - before[::-1].index(END) :] if END in before else before
        before = [START] * context_size + before
    else:
        before = [END] * context_size + before
    return before[-context_size:]


@given(some_ids, dtypes, st.integers(1, 6), st.booleans(), st.data())
def test_windows(ids: list[int], dtype: type, context_size: int, sentence: bool, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=30))
    out = np.full((len(positions), context_size), -7, dtype=np.int32)
    ngram_windows(out, read_only(ids, dtype), read_only(positions, np.int64), START, END, sentence)
    assert out.tolist() == [reference_window(ids, position, context_size, sentence) for position in positions]


def test_sentence_begin_refuses_what_is_before_the_text() -> None:
    with pytest.raises(ValueError, match="place -1: expected 0 or more"):
        sentence_begin(read_only([2, 1], np.uint16), -1, END)


def test_windows_refuse_what_does_not_fit() -> None:
    ids = read_only([2, 3, 1], np.uint16)
    for position in (-1, 3):
        with pytest.raises(ValueError, match=rf"positions\[1\] is {position}, expected 0 to 2"):
            ngram_windows(np.empty((2, 2), np.int32), ids, np.array([0, position]), START, END, True)
    with pytest.raises(ValueError, match="out has 3 rows, expected one for each of the 2 positions"):
        ngram_windows(np.empty((3, 2), np.int32), ids, np.array([0, 1]), START, END, True)
