"""N-gram models as dicts, and the levels of a trie made of them, slowly: what look-ups are held to."""

import math
from collections.abc import Mapping

import numpy as np

Weights = tuple[float, float]  # log10-probability, log10 of the back-off weight
Ngrams = Mapping[tuple[int, ...], Weights]
Levels = list[tuple[np.ndarray | None, ...]]


def scrambled(word: int) -> int:
    return word * 2654435769 % 2**32


def draw_ngrams(
    rng: np.random.Generator, vocab_size: int, order: int, num_ngrams: int
) -> dict[tuple[int, ...], Weights]:
    """Draw a model: all words and `<s>`, then random n-grams that go on from others, none from `</s>`."""

    def weights() -> Weights:
        drawn = rng.uniform(-5, 0), rng.uniform(-2, 0.5)
        return float(np.float32(drawn[0])), float(np.float32(drawn[1]))

    ngrams = {(word,): weights() for word in range(vocab_size + 1)}
    contexts = [(word,) for word in range(vocab_size + 1) if word != 1]
    for n in range(2, order + 1):
        longer = {}
        for _ in range(num_ngrams):
            longer[*contexts[rng.integers(len(contexts))], int(rng.integers(vocab_size))] = weights()
        ngrams |= longer
        contexts = [ngram for ngram in longer if ngram[-1] != 1] or contexts
        if len(contexts[0]) < n:
            break
    return ngrams


def make_levels(ngrams: Ngrams, vocab_size: int, order: int, *, smoothed: bool = True) -> Levels:
    """Put n-grams in the order that a trie has, with the arrays that go with it."""
    levels: Levels = []
    above = [(word,) for word in range(vocab_size + 1)]
    for n in range(1, order + 1):
        here, starts = above, [0]
        above = []
        for context in here:
            words = [ngram[-1] for ngram in ngrams if len(ngram) == n + 1 and ngram[:-1] == context]
            above += [(*context, word) for word in sorted(words, key=scrambled)]
            starts.append(len(above))
        words = np.array([ngram[-1] for ngram in here], np.int32) if n > 1 else None
        log10_probs, log10_backoffs = np.array([ngrams[ngram] for ngram in here], np.float32).reshape(-1, 2).T.copy()
        highest = n == order
        levels.append(
            (
                words,
                log10_probs,
                log10_backoffs if smoothed and not highest else None,
                None if highest else np.array(starts, np.int32),
            )
        )
    return levels


def log10_prob(ngrams: Ngrams, context: tuple[int, ...], word: int, *, smoothed: bool = True) -> float:
    """Return the log10-probability of a word after a context that is not too long, by the definition."""
    if (*context, word) in ngrams:
        return ngrams[*context, word][0]
    if not smoothed:
        return -math.inf
    _, log10_backoff = ngrams.get(context, (0.0, 0.0))
    return log10_backoff + log10_prob(ngrams, context[1:], word)
