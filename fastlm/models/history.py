"""Histories told apart by a number: what a state that depends on all words before it is known by."""

from collections.abc import Iterable

__all__ = ["longer_history"]

PRIME = (1 << 127) - 1
BASE = 0x1F3D5B79A8C6E4F20D1B3957E6C4A285  # any large number will do


def longer_history(history: int, ids: Iterable[int]) -> int:
    """Return the fingerprint, of 127 bits, of a history and more words (Karp & Rabin 1987); nothing has 0.

    Examples
    --------
    >>> longer_history(longer_history(0, [3]), [4, 5]) == longer_history(0, [3, 4, 5])
    True
    >>> longer_history(0, [3, 4]) == longer_history(0, [4, 3])
    False
    """
    for id in ids:
        history = (history * BASE + id + 1) % PRIME
    return history
