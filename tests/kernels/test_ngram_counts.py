"""Counting n-grams: equal to counting them in a dict."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tries import scrambled

from fastlm.kernels import ngram_counts

V, END = 7, 1


def count(ids: np.ndarray, num_sentences: int, order: int) -> list[dict[tuple[int, ...], tuple[int, tuple[int, ...]]]]:
    """Count with the kernels: for each order from 2 on, n-grams with their counts and suffixes, spelled."""
    text = np.empty(len(ids) + num_sentences, np.int32)
    ngram_counts.open_sentences(text, ids, V, END)
    by_word, places = np.empty((2, len(ids)), np.int32)
    words = np.array(sorted(range(V + 1), key=scrambled), np.int32)
    ngram_counts.sort_places(by_word, np.empty(V + 1, np.int32), text, words, V)
    nodes = text.copy()
    spelled = [(word,) for word in range(V + 1)]
    found = []
    for below in range(1, order):
        contexts = np.empty(len(spelled) + 1, np.int32)
        num_places, num_ngrams = ngram_counts.sort_ngrams(places, contexts, nodes, text, by_word, below, V)
        new, suffixes, counts = np.empty((3, num_ngrams), np.int32)
        ngram_counts.gather_ngrams(new, suffixes, counts, places[:num_places], nodes, text, below)
        ngram_counts.number_ngrams(nodes, places[:num_places])
        assert (contexts[0], contexts[-1]) == (0, num_ngrams)
        longer = []
        for context, (start, stop) in enumerate(pairwise(contexts)):
            here = new[start:stop].tolist()
            assert here == sorted(here, key=scrambled)
            longer += [(*spelled[context], word) for word in here]
        found.append({ngram: (int(counts[i]), spelled[suffixes[i]]) for i, ngram in enumerate(longer)})
        assert len(found[-1]) == num_ngrams
        spelled = longer
    return found


def expected(sentences: list[list[int]], order: int) -> list[dict[tuple[int, ...], tuple[int, tuple[int, ...]]]]:
    found = []
    for n in range(2, order + 1):
        counts: Counter[tuple[int, ...]] = Counter()
        for sentence in sentences:
            padded = (V, *sentence)
            counts.update(padded[i : i + n] for i in range(len(padded) - n + 1))
        found.append({ngram: (number, ngram[1:]) for ngram, number in counts.items()})
    return found


SENTENCES = st.lists(st.lists(st.sampled_from([0, 2, 3, 4, 5, 6]), max_size=8), min_size=1, max_size=20)


@given(
    sentences=SENTENCES, order=st.integers(1, 6), is_open=st.booleans(), dtype=st.sampled_from([np.int32, np.uint16])
)
def test_counts_are_those_of_a_dict(sentences: list[list[int]], order: int, is_open: bool, dtype: type) -> None:
    closed = [[*sentence, END] for sentence in sentences]
    if is_open and sentences[-1]:
        closed[-1].pop()
    ids = np.array([id for sentence in closed for id in sentence], dtype)
    assert count(ids, len(closed), order) == expected(closed, order)


def test_sentences_are_opened() -> None:
    text = np.empty(8, np.int32)
    ngram_counts.open_sentences(text, np.array([2, 3, END, END, 4], np.uint16), V, END)
    assert text.tolist() == [V, 2, 3, END, V, END, V, 4]


@pytest.mark.parametrize("size", [0, 1, 3, 7, 9, 20])
def test_room_that_is_not_right_is_noticed(size: int) -> None:
    with pytest.raises(ValueError, match=rf"text has shape \({size},\), expected .* ids \(5\)"):
        ngram_counts.open_sentences(np.empty(size, np.int32), np.array([2, 3, END, END, 4], np.int32), V, END)


def test_scrambling_is_one_to_one() -> None:
    words = np.arange(1 << 17, dtype=np.int32)
    keys = np.empty(len(words), np.uint32)
    ngram_counts.scramble_words(keys, words)
    assert keys[:9].tolist() == [scrambled(word) for word in range(9)]
    assert len(np.unique(keys)) == len(words)


def test_arguments_that_do_not_fit() -> None:
    text, two, three = np.array([V, 2, END], np.int32), np.empty(2, np.int32), np.empty(3, np.int32)
    words = np.arange(V + 1, dtype=np.int32)
    with pytest.raises(ValueError, match=r"keys has shape \(2,\), expected \(3,\)"):
        ngram_counts.scramble_words(np.empty(2, np.uint32), three)
    with pytest.raises(ValueError, match=r"cursors has shape \(2,\), expected \(8,\)"):
        ngram_counts.sort_places(two, two, text, words, V)
    with pytest.raises(ValueError, match=r"places has shape \(3,\), expected \(2,\)"):
        ngram_counts.sort_places(three, words.copy(), text, words, V)
    for places, nodes in ((three, three), (two, two)):
        with pytest.raises(ValueError, match="do not fit"):
            ngram_counts.sort_ngrams(places, words.copy(), nodes, text, two, 1, V)
    with pytest.raises(ValueError, match="do not fit"):
        ngram_counts.gather_ngrams(two, three, two, two, text, text, 1)
    for size in (1, 3):  # there are two
        new = np.empty((3, size), np.int32)
        with pytest.raises(ValueError, match=rf"words has shape \({size},\)"):
            ngram_counts.gather_ngrams(*new, np.array([-1, -2], np.int32), text, text, 1)
