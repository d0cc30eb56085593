"""The trie of an n-gram model: equal to look-ups in dicts, and safe whatever its arrays hold."""

import math
import pickle
import threading
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tries import Levels, draw_ngrams, log10_prob, make_levels, scrambled

from fastlm.kernels.ngram import Trie

V, END = 9, 1
LN10 = math.log(10)


@pytest.fixture(params=[1, 2, 3, 5])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=[True, False], ids=["smoothed", "unsmoothed"])
def smoothed(request: pytest.FixtureRequest) -> bool:
    return request.param


def draw_text(rng: np.random.Generator, num_sentences: int, max_words: int) -> np.ndarray:
    sentences = [[*rng.choice([0, *range(2, V)], rng.integers(max_words + 1)), END] for _ in range(num_sentences)]
    return np.array([*chain.from_iterable(sentences), 3, 4], np.int32)  # the last one is open


def expected_scores(ngrams: dict, ids: np.ndarray, order: int, *, smoothed: bool) -> list[float]:
    scores, history = [], (V,)
    for id in ids.tolist():
        context = history[max(0, len(history) - order + 1) :]
        scores.append(LN10 * log10_prob(ngrams, context, id, smoothed=smoothed or order == 1))
        history = (V,) if id == END else (*history, id)
    return scores


def score(trie: Trie, ids: np.ndarray, context: tuple[int, ...]) -> np.ndarray:
    log_probs = np.full(len(ids), np.nan)
    trie.score(log_probs, ids, context)
    return log_probs


@pytest.mark.parametrize(("num_sentences", "max_words"), [(1, 3), (300, 4), (3, 600), (1, 1000)])
@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_scores_are_those_of_the_definition(
    order: int, smoothed: bool, num_sentences: int, max_words: int, dtype: type
) -> None:
    rng = np.random.default_rng(order)
    ngrams = draw_ngrams(rng, V, order, 60)
    ids = draw_text(rng, num_sentences, max_words)
    trie = Trie(make_levels(ngrams, V, order, smoothed=smoothed), END)
    expected = expected_scores(ngrams, ids, order, smoothed=smoothed)
    assert any(len(ngram) == order for ngram in ngrams)
    np.testing.assert_allclose(score(trie, ids.astype(dtype), (V,)), expected, rtol=1e-12)


def test_scores_go_on_from_any_context(order: int, smoothed: bool) -> None:
    rng = np.random.default_rng(3)
    ngrams = draw_ngrams(rng, V, order, 60)
    trie = Trie(make_levels(ngrams, V, order, smoothed=smoothed), END)
    ids = rng.choice([0, *range(2, V)], 40).astype(np.int32)
    whole = score(trie, ids, (V,))
    for split in (1, 2, 7, 39, 40):
        rest = score(trie, ids[split:], (V, *ids[:split].tolist()))
        np.testing.assert_array_equal(rest, whole[split:])


def test_the_next_word(order: int, smoothed: bool) -> None:
    rng = np.random.default_rng(4)
    ngrams = draw_ngrams(rng, V, order, 60)
    trie = Trie(make_levels(ngrams, V, order, smoothed=smoothed), END)
    assert (trie.order, trie.vocab_size, trie.smoothed) == (order, V, smoothed or order == 1)
    for length in range(6):
        for _ in range(20):
            context = (V, *rng.choice([0, *range(2, V)], length).tolist())
            log_probs = np.full(V, np.nan)
            trie.next_log_probs(log_probs, context)
            known = context[max(0, len(context) - order + 1) :]
            expected = [log10_prob(ngrams, known, word, smoothed=trie.smoothed) for word in range(V)]
            np.testing.assert_allclose(log_probs, LN10 * np.array(expected), rtol=1e-12)


def test_the_context_that_matters(order: int) -> None:
    rng = np.random.default_rng(5)
    ngrams = draw_ngrams(rng, V, order, 60)
    trie = Trie(make_levels(ngrams, V, order), END)
    for _ in range(200):
        context = tuple(rng.integers(2, V + 1, rng.integers(7)).tolist())
        lengths = [
            n
            for n in range(1, min(len(context), order - 1) + 1)
            if any(ngram[:-1] == context[-n:] for ngram in ngrams) or ngrams.get(context[-n:], (0, 0))[1] != 0
        ]
        length = trie.context_length(context)
        assert length == max(lengths, default=0)
        # What is left out changes nothing.
        both = np.empty((2, V))
        trie.next_log_probs(both[0], context)
        trie.next_log_probs(both[1], context[len(context) - length :])
        assert both[0].tobytes() == both[1].tobytes()


def test_without_smoothing_every_word_matters() -> None:
    trie = Trie(make_levels(draw_ngrams(np.random.default_rng(6), V, 3, 60), V, 3, smoothed=False), END)
    assert [trie.context_length((5,) * n) for n in range(5)] == [0, 1, 2, 2, 2]


def test_spelling_and_finding(order: int) -> None:
    ngrams = draw_ngrams(np.random.default_rng(7), V, order, 60)
    trie = Trie(make_levels(ngrams, V, order), END)
    for n in range(1, order + 1):
        of_order = {ngram for ngram in ngrams if len(ngram) == n}
        spelled = np.empty((len(of_order), n), np.int32)
        trie.spell(spelled, 0)
        assert {tuple(row) for row in spelled.tolist()} == of_order
        for begin in (1, len(of_order) // 2, len(of_order)):
            part = np.empty((len(of_order) - begin, n), np.int32)
            trie.spell(part, begin)
            np.testing.assert_array_equal(part, spelled[begin:])
        nodes = np.empty(len(of_order), np.int32)
        trie.find(nodes, spelled)
        assert nodes.tolist() == list(range(len(of_order)))
    strangers = np.array([[V + 1] * order, [-1] * order, [0] * (order - 1) + [V + 7]], np.int32)
    nodes = np.zeros(3, np.int32)
    trie.find(nodes, strangers)
    assert nodes.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("words", [range(2, 20_000, 2), range(2, 20_000, 377), [2], [19_000, 3, 4, 5]])
def test_words_are_found_among_few_and_many(words: range) -> None:
    vocab_size = 20_000
    ordered = np.array(sorted(words, key=scrambled), np.int32)
    log10_probs = -ordered.astype(np.float32)
    starts = np.full(vocab_size + 2, len(ordered), np.int32)
    starts[: vocab_size + 1] = 0  # all go on from <s>
    unigrams = (None, np.full(vocab_size + 1, 1, np.float32), np.zeros(vocab_size + 1, np.float32), starts)
    trie = Trie([unigrams, (ordered, log10_probs, None, None)], END)
    ids = np.arange(2, vocab_size, dtype=np.int32)
    ends = np.stack([ids, np.full_like(ids, END)], axis=1).reshape(-1)
    expected = np.where(np.isin(ids, ordered), -ids, 1)
    np.testing.assert_allclose(score(trie, ends, (vocab_size,))[::2] / LN10, expected, rtol=1e-12)


def test_no_text() -> None:
    trie = Trie(make_levels(draw_ngrams(np.random.default_rng(1), V, 2, 9), V, 2), END)
    assert score(trie, np.empty(0, np.int32), (V,)).shape == (0,)


@pytest.mark.parametrize("id", [-1, V + 1, 2**31 - 1])
def test_ids_of_no_vocabulary_are_no_numbers(id: int) -> None:
    trie = Trie(make_levels(draw_ngrams(np.random.default_rng(1), V, 3, 9), V, 3), END)
    scores = score(trie, np.array([3, id, 3], np.int32), (V,))
    assert np.isnan(scores).tolist() == [False, True, False]


def test_copies_and_threads() -> None:
    rng = np.random.default_rng(8)
    levels = make_levels(draw_ngrams(rng, V, 4, 60), V, 4)
    for level in levels:
        for array in level:
            if array is not None:
                array.flags.writeable = False  # as they are in a mapped file
    trie = Trie(levels, END)
    ids = draw_text(rng, 2000, 5)
    expected = score(trie, ids, (V,)).tobytes()
    assert score(pickle.loads(pickle.dumps(trie)), ids, (V,)).tobytes() == expected
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(score(trie, ids, (V,)).tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


# Arrays that are not what they should be


@given(data=st.data())
def test_damaged_arrays_are_looked_up_in_without_harm(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    levels = make_levels(draw_ngrams(rng, V, 4, 40), V, 4)
    for words, _, _, first_children in levels:
        for array in (words, first_children):
            if array is not None:
                # The ends of first_children are checked, and may not change.
                for place in data.draw(st.lists(st.integers(1, max(1, len(array) - 2)), max_size=8)):
                    array[place] = data.draw(st.sampled_from([-(2**31), -1, 0, 1, 5, 40, 41, 1000, 2**31 - 1]))
    trie = Trie(levels, END)
    score(trie, draw_text(rng, 20, 8), (V,))
    for n in range(1, 5):
        trie.spell(np.empty((len(levels[n - 1][1]), n), np.int32), 0)
        trie.find(np.empty(50, np.int32), rng.integers(-1, V + 2, (50, n), np.int32))
    for _ in range(20):
        context = tuple(rng.integers(0, V + 1, 4).tolist())
        trie.context_length(context)
        trie.next_log_probs(np.empty(V), context)


def replaced(levels: Levels, order: int, place: int, array: np.ndarray | None) -> Levels:
    level = list(levels[order - 1])
    level[place] = array
    return [*levels[: order - 1], tuple(level), *levels[order:]]


@pytest.mark.parametrize(
    ("order", "place", "change", "message"),
    [
        (2, 0, lambda array: array[:-1], r"2-grams have lengths \(\d+, \d+, \d+\), expected"),
        (2, 0, lambda array: None, r"2-grams have lengths \(None"),
        (1, 0, lambda array: np.zeros(V + 1, np.int32), r"1-grams have lengths \(10"),
        (3, 1, lambda array: array[:-1], "first_children of the 2-grams go from 0"),
        (2, 1, lambda array: array[:-1], "first_children of the 1-grams go from 0"),
        (1, 2, lambda array: array[:-1], "1-grams have lengths"),
        (2, 2, lambda array: None, "2-grams have lengths"),
        (3, 2, lambda array: np.zeros(30, np.float32), "3-grams have lengths"),
        (1, 3, lambda array: array[:-1], "1-grams have lengths"),
        (1, 3, lambda array: None, "1-grams have lengths"),
        (3, 3, lambda array: np.zeros(31, np.int32), "3-grams have lengths"),
        (1, 3, lambda array: array + 1, r"first_children of the 1-grams go from 1 to \d+, expected 0 to"),
        (2, 3, lambda array: array // 2, r"first_children of the 2-grams go from 0 to \d+, expected 0 to"),
        (2, 0, lambda array: array.astype(np.int64), "Buffer dtype mismatch"),
        (3, 1, lambda array: array.astype(np.float64), "Buffer dtype mismatch"),
    ],
)
def test_arrays_that_do_not_fit(order: int, place: int, change: object, message: str) -> None:
    levels = make_levels(draw_ngrams(np.random.default_rng(2), V, 3, 40), V, 3)
    with pytest.raises(ValueError, match=message):
        Trie(replaced(levels, order, place, change(levels[order - 1][place])), END)


def test_orders_and_vocabularies_that_cannot_be() -> None:
    tiny = (None, np.zeros(2, np.float32), None, None)
    for levels, message in (([], "0 orders"), ([tiny], "at least 3 words"), ([tiny] * 17, "17 orders")):
        with pytest.raises(ValueError, match=message):
            Trie(levels, END)


def test_arguments_that_do_not_fit() -> None:
    trie = Trie(make_levels(draw_ngrams(np.random.default_rng(2), V, 3, 40), V, 3), END)
    with pytest.raises(ValueError, match=r"\(4,\), expected \(3,\)"):
        trie.score(np.empty(4), np.zeros(3, np.int32), ())
    with pytest.raises(ValueError, match=r"\(8,\), expected \(9,\)"):
        trie.next_log_probs(np.empty(8), ())
    for nodes, ngrams in ((3, (2, 2)), (2, (2, 4)), (2, (2, 0))):
        with pytest.raises(ValueError, match="do not fit"):
            trie.find(np.empty(nodes, np.int32), np.zeros(ngrams, np.int32))
    for begin, shape in ((-1, (1, 2)), (V + 1, (1, 1)), (0, (V + 2, 1)), (0, (1, 4)), (0, (1, 0))):
        with pytest.raises(ValueError, match=r"no \d-grams"):
            trie.spell(np.empty(shape, np.int32), begin)
