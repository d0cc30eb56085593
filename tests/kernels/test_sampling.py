"""Alias sampling: exact probabilities in the table, draws that follow them, and the rows that a batch needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm import kernels


def make_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    V = len(weights)
    thresholds, aliases = np.full(V, np.nan), np.full(V, -9, np.int32)
    kernels.alias_table(thresholds, aliases, np.asarray(weights, np.float64), np.full(V, -9, np.int32))
    return thresholds, aliases


def probabilities(thresholds: np.ndarray, aliases: np.ndarray) -> np.ndarray:
    """Return with what probability each word is drawn: a bucket gives its own word below the threshold."""
    V = len(thresholds)
    own = np.minimum(thresholds, 1) / V
    return own + np.bincount(aliases, (1 - np.minimum(thresholds, 1)) / V, V)


def draw(
    table: tuple[np.ndarray, np.ndarray], num_samples: int, key: int, targets: list[int] | None = None
) -> tuple[list[int], list[int], np.ndarray]:
    """Return the words that were drawn, the other rows, and the targets' places."""
    wanted, slots = np.array(targets or [], np.int32), np.full(len(table[0]), -1, np.int32)
    ids, places = np.full(num_samples + len(wanted), -9, np.int32), np.full(len(wanted), -9, np.int32)
    sampled, rows = kernels.draw_rows(ids, places, wanted, *table, slots, key, num_samples)
    assert (slots == -1).all()
    assert (ids[rows:] == -9).all()
    return ids[:sampled].tolist(), ids[sampled:rows].tolist(), places


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60).filter(lambda weights: sum(weights) > 1e-3))
def test_the_table_has_the_probabilities_of_its_weights(weights: list[float]) -> None:
    expected = np.array(weights) / sum(weights)
    np.testing.assert_allclose(probabilities(*make_table(np.array(weights))), expected, rtol=1e-9, atol=1e-12)


def test_a_large_table() -> None:
    weights = 1 / np.arange(1, 100_001)
    np.testing.assert_allclose(probabilities(*make_table(weights)), weights / weights.sum(), rtol=1e-7)


def test_draws_follow_the_weights() -> None:
    weights, num_draws = np.array([5, 0, 1, 30, 14.0]), 20_000
    table = make_table(weights)
    counts = np.bincount([draw(table, 1, key)[0][0] for key in range(num_draws)], minlength=5)
    expected = num_draws * weights / weights.sum()
    assert counts[1] == 0
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_how_often_a_word_is_among_the_samples() -> None:
    weights, num_samples, rounds = np.array([50, 20, 10, 10, 5, 4, 1.0]), 3, 20_000
    table, found = make_table(weights), np.zeros(7)
    for key in range(rounds):
        found[draw(table, num_samples, key)[0]] += 1
    expected = rounds * (1 - (1 - weights / weights.sum()) ** num_samples)
    assert (abs(found - expected) <= 5 * np.sqrt(expected)).all()


def test_rows_are_listed_once_and_targets_find_theirs() -> None:
    table = make_table(np.arange(1.0, 41.0))
    targets = [39, 0, -1, 7, 0, -5, 38]
    sampled, others, places = draw(table, 25, key=4, targets=targets)
    rows = sampled + others
    assert len(set(rows)) == len(rows)
    assert len(sampled) < 25
    assert set(targets) - {-1, -5} <= set(rows)
    assert [rows[place] if place >= 0 else -1 for place in places] == [max(target, -1) for target in targets]
    assert set(others).isdisjoint(sampled)


def test_the_samples_depend_on_the_key_and_not_on_the_targets() -> None:
    table = make_table(1 / np.arange(1.0, 1001.0))
    first = draw(table, 50, key=1)[0]
    assert draw(table, 50, key=1, targets=[5, 900, -1])[0] == first
    assert draw(table, 50, key=2)[0] != first
    longer = draw(table, 80, key=1)[0]
    assert longer[: len(first)] == first


@pytest.mark.parametrize("weights", [[1.0, -1e-9, 2.0], [0.0, np.nan, 1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"weights\[1\] is .*, expected at least 0"):
        make_table(np.array(weights))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [np.inf, 1.0]])
def test_weights_without_a_sum_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"weights sum up to .*, expected a positive number"):
        make_table(np.array(weights))
