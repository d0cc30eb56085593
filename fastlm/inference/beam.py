"""The most probable continuations of a text, by beam search."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastlm.inference.arguments import whole_number
from fastlm.inference.continuation import Generated, candidates, closing_ids, dead_end, read_prompt
from fastlm.inference.interface import Model, State

__all__ = ["beam_search"]


class _Beam(NamedTuple):
    log_prob: float
    ids: tuple[int, ...]
    state: State


def beam_search(
    model: Model,
    prompt: str = "",
    num_results: int = 1,
    *,
    beam_size: int = 10,
    max_tokens: int = 100,
    unknown: bool = False,
    stop: Sequence[str] = (),
) -> list[Generated]:
    """Search for the most probable continuations of a prompt.

    Parameters
    ----------
    model
        Any language model.
    prompt
        The beginning of a line, all of it used as context; "" to begin a sentence.
    num_results
        How many are wanted.
    beam_size
        How many hypotheses are followed; at least `num_results`.
    max_tokens
        A text is cut off after so many tokens.
    unknown
        Let `<unk>` be in it.
    stop
        Words of the vocabulary at which a text ends, as it does at the end of the sentence; they are not in it.

    Returns
    -------
    list of Generated
        By their log-probabilities, the greatest first: those of the whole continuation, what ends it included, so
        that short texts come before long ones. Fewer than `num_results` if no more are found.

    Raises
    ------
    ValueError
        If an argument is out of its range, the prompt has several lines, or a stop word is not in the vocabulary.
    FastLMError
        If no hypothesis can go on, as no word that may follow has a probability, and none has ended.

    Notes
    -----
    All hypotheses are taken one word further in one batch. What no beam of this size loses is found: the search goes
    on until nothing that is still followed can become one of the results.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> best, second = beam_search(model, "the cat", 2, max_tokens=5)
    >>> best.text.startswith("the cat"), best.log_prob >= second.log_prob
    (True, True)
    """
    num_results = whole_number("num_results", num_results, minimum=1)
    beam_size = max(whole_number("beam_size", beam_size, minimum=1), num_results)
    max_tokens = whole_number("max_tokens", max_tokens, minimum=1)
    closing = closing_ids(model, stop)
    words, state = read_prompt(model, prompt)
    beams, ended = [_Beam(0.0, (), state)], list[_Beam]()
    for _ in range(max_tokens):
        longer = _extended(model, beams, beam_size + len(closing) * len(beams), unknown)
        if not longer and not ended:
            raise dead_end(model, model.log_probs(beams[0].state))
        ended = _best([*ended, *(beam for beam in longer if beam.ids[-1] in closing)], num_results)
        beams = [beam for beam in longer if beam.ids[-1] not in closing][:beam_size]
        if not beams or (len(ended) == num_results and beams[0].log_prob <= ended[-1].log_prob):
            break
        states = model.advance([beam.state for beam in beams], [beam.ids[-1] for beam in beams])
        beams = [beam._replace(state=state) for beam, state in zip(beams, states, strict=True)]
    results = _best([*ended, *beams], num_results)
    return [_text(model, words, beam, closed=beam.ids[-1] in closing) for beam in results]


def _extended(model: Model, beams: list[_Beam], count: int, unknown: bool) -> list[_Beam]:
    """Return the best hypotheses that are one word longer, with the states before it; none of what cannot go on."""
    allowed = candidates(model, model.log_probs([beam.state for beam in beams]), unknown)
    totals = (allowed + np.array([beam.log_prob for beam in beams])[:, np.newaxis]).reshape(-1)
    chosen = np.argpartition(-totals, count - 1)[:count] if count < len(totals) else np.arange(len(totals))
    chosen = np.sort(chosen)  # of equals the earlier beam and the lower id comes first
    longer = []
    for place in chosen[np.argsort(-totals[chosen], kind="stable")].tolist():
        if totals[place] > -np.inf:
            beam, id = beams[place // allowed.shape[1]], place % allowed.shape[1]
            longer.append(_Beam(float(totals[place]), (*beam.ids, id), beam.state))
    return longer


def _best(beams: list[_Beam], count: int) -> list[_Beam]:
    return sorted(beams, key=lambda beam: -beam.log_prob)[:count]


def _text(model: Model, words: list[str], beam: _Beam, *, closed: bool) -> Generated:
    vocabulary = model.vocabulary
    new = [vocabulary.word(id) for id in (beam.ids[:-1] if closed else beam.ids)]
    text = vocabulary.tokenizer.detokenize([*words, *new])
    return Generated(text, beam.log_prob, len(beam.ids), vocabulary.word(beam.ids[-1]) if closed else None)
