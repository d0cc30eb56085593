"""What validation is done on, how long it takes, and what it says."""

import math
from time import perf_counter

from fastlm.inference.evaluation import evaluate
from fastlm.models import NeuralModel
from fastlm.nn.parallel import Workers
from fastlm.text.corpus import Corpus
from fastlm.training.history import History

__all__ = ["beginning", "guesses_better", "seconds_a_token"]

FIRST_TOKENS, ENOUGH_SECONDS = 256, 0.2  # of a validation that only measures how long one takes


def beginning(corpus: Corpus, num_tokens: int | None) -> Corpus:
    """Return the first tokens of a corpus, or the corpus itself if that is all of it.

    Examples
    --------
    >>> from fastlm.text.vocabulary import Vocabulary
    >>> corpus = Corpus.from_ids([2, 3, 1, 3], Vocabulary(["the", "cat"]))
    >>> beginning(corpus, 3), beginning(corpus, None) is corpus
    (<Corpus of 3 tokens in 1 sentences>, True)
    """
    if num_tokens is None or num_tokens >= corpus.num_tokens:
        return corpus
    return Corpus.from_ids(corpus.ids[:num_tokens], corpus.vocabulary)


def seconds_a_token(model: NeuralModel, corpus: Corpus, workers: Workers) -> float:
    """Measure how long validation takes, on as little of the corpus as shows it."""
    num_tokens = FIRST_TOKENS
    while True:
        part = beginning(corpus, num_tokens)
        began = perf_counter()
        evaluate(model, part, workers=workers)
        seconds = perf_counter() - began
        if seconds >= ENOUGH_SECONDS or part is corpus:
            return seconds / part.num_tokens
        num_tokens *= 4


def guesses_better(history: History, vocab_size: int) -> bool:
    """Whether the best epoch predicts its validation text worse than one who guesses among all words."""
    best = history.best
    return best is not None and best.valid_loss is not None and best.valid_loss > math.log(vocab_size)
