"""Texts drawn from a model, token by token, any number of them side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import real_number, whole_number
from fastlm.inference.continuation import Generated, candidates, closing_ids, dead_end, most_likely, read_prompt
from fastlm.inference.interface import Model, State

__all__ = ["Draws", "next_token_distribution"]

MOST_VALUES = 1 << 22  # of all distributions that are made together


class Draws:
    """Texts that are drawn side by side; for the arguments see `fastlm.inference.generation.sample`."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        *,
        max_tokens: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        unknown: bool,
        stop_at_end: bool,
        stop: Sequence[str],
    ) -> None:
        self.max_tokens = whole_number("max_tokens", max_tokens, minimum=1)
        _check_sampling(temperature, top_k, top_p)
        self.model, self.unknown, self.options = model, unknown, (temperature, top_k, top_p)
        self.words, self.state = read_prompt(model, prompt)
        self.closing = closing_ids(model, stop) - (set() if stop_at_end else {model.vocabulary.end_id})

    def run(self, randoms: Sequence[np.random.Generator]) -> list[Generated]:
        """Draw one text from each generator."""
        at_once = max(1, MOST_VALUES // len(self.model.vocabulary))
        parts = [randoms[start : start + at_once] for start in range(0, len(randoms), at_once)]
        return [text for part in parts for text in self._side_by_side(part)]

    def _side_by_side(self, randoms: Sequence[np.random.Generator]) -> list[Generated]:
        drawn: list[list[int]] = [[] for _ in randoms]
        totals = [0.0] * len(randoms)
        active, states = list(range(len(randoms))), [self.state] * len(randoms)
        for _ in range(self.max_tokens):
            going_on = []
            for place, (number, log_probs) in enumerate(zip(active, self._log_probs(states), strict=True)):
                id = self._draw(log_probs, randoms[number])
                if id is None and not drawn[number]:
                    raise dead_end(self.model, log_probs)
                if id is None:
                    continue
                drawn[number].append(id)
                totals[number] += float(log_probs[id])
                if id not in self.closing:
                    going_on.append(place)
            active = [active[place] for place in going_on]
            if not active:
                break
            states = self._advanced([states[place] for place in going_on], [drawn[number][-1] for number in active])
        return [self._text(ids, total) for ids, total in zip(drawn, totals, strict=True)]

    def _draw(self, log_probs: NDArray[np.floating[Any]], random: np.random.Generator) -> int | None:
        """Draw the next token; None where none has a probability, so that the text is cut off."""
        allowed = candidates(self.model, log_probs, self.unknown)
        if allowed.max() == -np.inf:
            return None
        ids, probabilities = next_token_distribution(allowed, *self.options)
        return int(ids[_draw(probabilities, random)])

    # Also a single state is a batch below: by itself it is rounded otherwise, and a text must not depend on how many
    # others are still being drawn.

    def _log_probs(self, states: list[State]) -> list[NDArray[np.floating[Any]]]:
        """Return the distribution after each state; of equal ones, as they all are in the beginning, once."""
        distinct = list(dict.fromkeys(states))
        found = dict(zip(distinct, self.model.log_probs(distinct), strict=True))
        return [found[state] for state in states]

    def _advanced(self, states: list[State], ids: list[int]) -> list[State]:
        after = self.model.advance(states, ids)
        if self.model.context == "continuous":
            return after
        end, start = self.model.vocabulary.end_id, self.model.start()
        return [start if id == end else state for id, state in zip(ids, after, strict=True)]

    def _text(self, ids: list[int], log_prob: float) -> Generated:
        vocabulary = self.model.vocabulary
        closed = bool(ids) and ids[-1] in self.closing
        sentences = [list(self.words)]
        for id in ids[:-1] if closed else ids:
            if id == vocabulary.end_id:
                sentences.append([])
            else:
                sentences[-1].append(vocabulary.word(id))
        text = "\n".join(vocabulary.tokenizer.detokenize(words) for words in sentences)
        return Generated(text, log_prob, len(ids), vocabulary.word(ids[-1]) if closed else None)


def next_token_distribution(
    log_probs: NDArray[np.floating[Any]],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the distribution that `generate` draws the next token from.

    Parameters
    ----------
    log_probs
        Log-probabilities by id, shape (V,); -inf excludes a token. They need not be normalised.
    temperature, top_k, top_p
        As for `generate`, in this order.

    Returns
    -------
    tuple
        The ids that are left and their probabilities, which sum to one. With `top_k` or `top_p` the most likely
        comes first; of equals, the lower id.

    Examples
    --------
    >>> ids, probabilities = next_token_distribution(np.log([0.1, 0.6, 0.3]), top_k=2)
    >>> ids.tolist(), probabilities.round(3).tolist()
    ([1, 2], [0.667, 0.333])
    """
    logits = np.asarray(log_probs, dtype=np.float64)
    if temperature == 0:
        return np.array([np.argmax(logits)], dtype=np.intp), np.ones(1)
    limit = len(logits) if top_k is None else min(top_k, len(logits))
    sort = top_k is not None or top_p is not None
    ids = most_likely(logits, limit) if sort else np.arange(len(logits))
    with np.errstate(over="ignore"):  # a very low temperature: -inf is right
        weights = np.exp((logits[ids] - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    if top_p is not None:
        # The token that reaches top_p is the last one in; rounding must not push it out of a sum of 1.
        kept = int(np.searchsorted(np.cumsum(probabilities), top_p)) + 1
        ids, probabilities = ids[:kept], probabilities[:kept] / probabilities[:kept].sum()
    return ids, probabilities


def _draw(probabilities: NDArray[np.float64], random: np.random.Generator) -> int:
    sums = np.cumsum(probabilities)
    last = np.searchsorted(sums, sums[-1])  # the last token with a probability; rounding must not lead beyond it
    return int(min(np.searchsorted(sums, random.random() * sums[-1], side="right"), last))


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if real_number("temperature", temperature) < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature!r}")
    if top_k is not None:
        whole_number("top_k", top_k, minimum=1)
    if top_p is not None and not 0 < real_number("top_p", top_p) <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p!r}")
