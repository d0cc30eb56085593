"""Text made by rule: words as frequent as in a language, p(k) ~ 1 / k, frequent ones short, in lines of twenty."""

from pathlib import Path

import numpy as np

LINE = 20  # words
BLOCK = 50_000  # lines that are made at a time


def word(number: int) -> str:
    """Spell a number with letters: the larger, the longer."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return letters


def write_text(path: Path, num_tokens: int, *, num_words: int, seed: int = 1) -> None:
    """Write so many words, drawn from `num_words` different ones."""
    words = np.array([word(number) for number in range(num_words)], dtype=object)
    shares = np.cumsum(1.0 / np.arange(1, num_words + 1))
    rng = np.random.default_rng(seed)
    num_lines = -(-num_tokens // LINE)
    with path.open("w") as file:
        for begin in range(0, num_lines, BLOCK):
            count = min(BLOCK, num_lines - begin)
            drawn = np.searchsorted(shares, rng.random((count, LINE)) * shares[-1])
            file.writelines(" ".join(line) + "\n" for line in words[drawn].tolist())
