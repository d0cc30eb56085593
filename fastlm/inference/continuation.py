"""What all ways to continue a text have in common: where it begins, which words may come, and how it ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError
from fastlm.inference.arguments import known_id, one_line
from fastlm.inference.interface import Model, State

__all__ = ["Generated", "candidates", "closing_ids", "dead_end", "most_likely", "read_context", "read_prompt"]


class Generated(NamedTuple):
    """A text that a model made up.

    Attributes
    ----------
    text : str
        The prompt and what follows it.
    log_prob : float
        The natural log-probability, by the model itself, of all that was generated, with what ended it.
    num_tokens : int
        How many tokens that are.
    ended_by : str or None
        `</s>` or the stop word at which it ends, which is not in the text; None if it was cut off: at the most tokens,
        or where no word that may follow has a probability.
    """

    text: str
    log_prob: float
    num_tokens: int
    ended_by: str | None


def read_prompt(model: Model, prompt: str) -> tuple[list[str], State]:
    """Return the words of the beginning of a line, and the state after them."""
    prompt = one_line(prompt)
    return list(model.vocabulary.tokenizer.tokenize(prompt)), read_context(model, prompt)


def closing_ids(model: Model, stop: Sequence[str]) -> set[int]:
    """Return the ids at which a text ends: `</s>` and stop words."""
    if isinstance(stop, str):
        raise ValueError(f"stop is the str {stop!r}, expected a list of words")
    ids = {model.vocabulary.end_id}
    for word in stop:
        id = known_id(model.vocabulary, word)
        if id is None:
            raise ValueError(f"the stop word {word!r} is not in the model's vocabulary, as one token: it never comes")
        ids.add(id)
    return ids


def read_context(model: Model, text: str) -> State:
    """Return the state after the beginning of a line."""
    state = model.start()
    for id in model.vocabulary.encode(text).tolist():
        state = model.advance(state, id)
    return state


def candidates(model: Model, log_probs: NDArray[np.floating[Any]], unknown: bool) -> NDArray[np.float64]:
    """Return a copy of log-probabilities, (V,) or (N, V), with `<unk>` excluded unless it is wanted.

    Where all of them are -inf the text cannot go on: see `dead_end`.
    """
    allowed = np.array(log_probs, dtype=np.float64)
    if not allowed.max() < np.inf:  # of NaN, too
        raise FastLMError(
            "the model gives NaN or infinity as a log-probability: its parameters are not finite; train it again"
        )
    if not unknown:
        allowed[..., model.vocabulary.unknown_id] = -np.inf
    return allowed


def dead_end(model: Model, log_probs: NDArray[np.floating[Any]]) -> FastLMError:
    """Return the error that says why no text goes on here: what follows has these log-probabilities, shape (V,)."""
    if log_probs[model.vocabulary.unknown_id] > -np.inf:
        return FastLMError(
            "every word but <unk> has probability zero here; allow unknown words (unknown=True, --unknown)"
        )
    return FastLMError(
        "the model gives no word a probability: an n-gram model without smoothing has never seen these words "
        "together; of any other model the parameters are not finite, and it must be trained again"
    )


def most_likely(log_probs: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Return the ids of the k greatest, in falling order; of equals the lower id first."""
    if k < len(log_probs):
        threshold = np.partition(log_probs, -k)[-k]
        above = np.flatnonzero(log_probs > threshold)
        ids = np.sort(np.concatenate([above, np.flatnonzero(log_probs == threshold)[: k - len(above)]]))
    else:
        ids = np.arange(len(log_probs))
    return ids[np.argsort(-log_probs[ids], kind="stable")]
