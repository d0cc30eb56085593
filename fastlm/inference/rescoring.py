"""N-best lists: all hypotheses of an utterance scored together, each of their common beginnings once."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.inference.arguments import one_line
from fastlm.inference.evaluation import check_no_nan
from fastlm.inference.interface import Model, State

__all__ = ["score_nbest", "score_sentences"]

PART_TOKENS = 1 << 15  # of a list that are scored together: each may have a state of its own


def score_nbest(model: Model, hypotheses: Sequence[str]) -> NDArray[np.float64]:
    """Score the hypotheses of one utterance, or any sentences that have much in common.

    They stand in a prefix tree, whose nodes of one depth are one batch for the model; nodes whose states are equal are
    one node, so with a window or n-gram model hypotheses that part also meet again.

    Parameters
    ----------
    model
        Any language model.
    hypotheses
        One sentence each; the model's own tokenizer splits it.

    Returns
    -------
    NDArray
        The natural log-probability of each, `</s>` included, at a fresh start, shape (N,): what `score` gives. Of one
        without words, where `score` sees no sentence, it is that of a sentence that ends at once, since a decoder has
        to compare it with others.

    Raises
    ------
    ValueError
        If a hypothesis has several lines.
    DataError
        If one holds a literal `<s>` or `</s>`.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> scores = score_nbest(model, ["the cat sat", "the cat sat on", "the mat"])
    >>> bool(abs(scores[0] - model.score("the cat sat").log_prob) < 1e-5)
    True
    """
    return score_sentences(model, [_ids(model, number, text) for number, text in enumerate(hypotheses, start=1)])


def score_sentences(model: Model, sentences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Score sentences of ids, `</s>` at the end of each, as `score_nbest` does: each at a fresh start."""
    scores = [_score_tree(model, sentences[start:stop]) for start, stop in _parts(sentences)]
    return np.concatenate([np.empty(0), *scores])


def _ids(model: Model, number: int, text: str) -> list[int]:
    try:
        return [*model.vocabulary.encode(one_line(text)).tolist(), model.vocabulary.end_id]
    except DataError as error:
        raise DataError(f"hypothesis {number}: {error}") from error


def _parts(sentences: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Cut a list into parts of about PART_TOKENS tokens."""
    start = num_tokens = 0
    for stop, sentence in enumerate(sentences, start=1):
        num_tokens += len(sentence)
        if num_tokens >= PART_TOKENS or stop == len(sentences):
            yield start, stop
            start, num_tokens = stop, 0


def _score_tree(model: Model, sentences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Score sentences of ids, `</s>` at their ends; what leads from one depth to the next is a batch."""
    states = [model.start()]  # of the nodes
    nodes: dict[State, int] = {states[0]: 0}
    numbers: dict[tuple[int, int], int] = {}  # of the edges: node and word
    edges: list[tuple[int, int]] = []
    targets: list[int] = []  # the nodes that they lead to
    paths: list[list[int]] = [[] for _ in sentences]  # edges
    for depth in range(max(map(len, sentences))):
        for sentence, path in zip(sentences, paths, strict=True):
            if depth < len(sentence):
                edge = (targets[path[-1]] if path else 0, sentence[depth])
                path.append(numbers.setdefault(edge, len(edges)))
                if path[-1] == len(edges):
                    edges.append(edge)
        new = [(node, word) for node, word in edges[len(targets) :] if word != model.vocabulary.end_id]
        reached = iter(model.advance([states[node] for node, _ in new], _words(new)))
        for _, word in edges[len(targets) :]:
            if word == model.vocabulary.end_id:
                targets.append(0)  # nothing comes after it
                continue
            state = next(reached)
            targets.append(nodes.setdefault(state, len(nodes)))
            if len(nodes) > len(states):
                states.append(state)
    log_probs = model.log_prob([states[node] for node, _ in edges], _words(edges))
    check_no_nan(log_probs)
    return np.array([log_probs[path].sum() for path in paths])


def _words(edges: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    return np.array([word for _, word in edges], np.int32)
