"""N-best lists: all hypotheses of an utterance scored together, each of their common beginnings once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.inference.arguments import one_line
from fastlm.inference.evaluation import check_no_nan
from fastlm.inference.interface import Model, State
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

__all__ = ["has_followers", "score_nbest", "score_sentences", "tree_levels", "tree_log_probs"]

PART_SIZE = 1 << 16  # tokens of a list that are scored together: each may have a state of its own


def score_nbest(model: Model, hypotheses: Sequence[str]) -> NDArray[np.float64]:
    """Score the hypotheses of one utterance, or any sentences that have much in common.

    They stand in a prefix tree, whose nodes of one depth are one batch for the model. With a window model hypotheses
    that part also meet again, where they have the same words in the window.

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
        If a hypothesis has several lines, or the hypotheses are one string.
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
    if isinstance(hypotheses, str):
        raise ValueError(f"the hypotheses are the string {hypotheses!r:.80}, expected a list of them")
    return score_sentences(model, _encoded(model.vocabulary, list(hypotheses)))


def score_sentences(model: Model, sentences: Sequence[NDArray[np.integer[Any]]]) -> NDArray[np.float64]:
    """Score sentences of ids, `</s>` at the end of each, as `score_nbest` does: each at a fresh start."""
    scores = [_score_tree(model, sentences[start:stop]) for start, stop in _parts(sentences)]
    return np.concatenate([np.empty(0), *scores])


def _encoded(vocabulary: Vocabulary, hypotheses: Sequence[str]) -> list[NDArray[np.integer[Any]]]:
    """Return the ids of each hypothesis, `</s>` at the end: all at once, or, if not all are sentences, one by one."""
    lines = [one_line(text) for text in hypotheses]
    with suppress(DataError):  # for which it does not say the hypothesis
        # The empty line stands there because a byte-order mark at the very beginning of a text is not read.
        corpus = Corpus.encode(["", *lines], vocabulary)
        if corpus.num_sentences == len(lines):
            return np.split(corpus.ids, corpus.sentence_bounds()[:-1])
    return [_encoded_one(vocabulary, number, line) for number, line in enumerate(lines, start=1)]


def _encoded_one(vocabulary: Vocabulary, number: int, line: str) -> NDArray[np.integer[Any]]:
    try:
        return np.append(vocabulary.encode(line), np.int32(vocabulary.end_id))
    except DataError as error:
        raise DataError(f"hypothesis {number}: {error}") from error


def _parts(sentences: Sequence[NDArray[np.integer[Any]]]) -> Iterator[tuple[int, int]]:
    """Cut a list into parts, tables of sentences and places, of at most PART_SIZE, or of one sentence."""
    start = longest = 0
    for stop, sentence in enumerate(sentences):
        longest = max(longest, len(sentence))
        if stop > start and (stop + 1 - start) * longest > PART_SIZE:
            yield start, stop
            start, longest = stop, len(sentence)
    if sentences:
        yield start, len(sentences)


def _score_tree(model: Model, sentences: Sequence[NDArray[np.integer[Any]]]) -> NDArray[np.float64]:
    """Score sentences of ids, `</s>` at their ends, each edge of their prefix tree once."""
    lengths = np.array([len(sentence) for sentence in sentences])
    is_word = np.arange(lengths.max()) < lengths[:, np.newaxis]
    words = np.full(is_word.shape, -1, np.int32)
    words[is_word] = np.concatenate(sentences)
    order = np.lexsort(words.T[::-1])
    words, is_word = words[order], is_word[order]
    is_edge = is_word.copy()  # where a sentence leaves the one before it, and from there on
    is_edge[1:] &= np.logical_or.accumulate(words[1:] != words[:-1], axis=1)
    edges = np.where(is_edge, np.cumsum(is_edge).reshape(is_edge.shape) - 1, -1)
    edges = np.maximum.accumulate(edges, axis=0).astype(np.int32)  # all others are those of the sentence before
    parents = np.pad(edges[:, :-1], [(0, 0), (1, 0)], constant_values=-1)[is_edge]
    log_probs = model.tree_log_probs(parents, words[is_edge])
    check_no_nan(log_probs)
    totals = np.empty(len(sentences))
    totals[order] = np.where(is_word, log_probs[edges], 0.0).sum(axis=1)
    return totals


def tree_levels(parents: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """Return the edges of a tree by their depth, of which each comes after the edge before it, -1 at the root.

    Examples
    --------
    >>> [level.tolist() for level in tree_levels(np.array([-1, 0, 0, 1, -1], np.int32))]
    [[0, 4], [1, 2], [3]]
    """
    depths, above = (parents >= 0).astype(np.intp), parents.copy()  # what is above is 1, 2, 4 ... edges away
    while (below := np.flatnonzero(above >= 0)).size:
        depths[below] += depths[above[below]]
        above[below] = above[above[below]]
    return np.split(np.argsort(depths, kind="stable"), np.cumsum(np.bincount(depths))[:-1])


def has_followers(parents: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether something comes after an edge of a tree, for each of them."""
    followed = np.zeros(len(parents), bool)
    followed[parents[parents >= 0]] = True
    return followed


def tree_log_probs(model: Model, parents: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Score the edges of a prefix tree by states, which are batches for the model; see `Model.tree_log_probs`.

    What leads from equal states by one word is taken once, so branches that part meet again where the model allows.
    """
    states = [model.start()]
    nodes: dict[State, int] = {states[0]: 0}
    steps = [(0, word) for word in ids.tolist()]  # of each edge: the node that it begins at, and its word
    before, has_next = parents.tolist(), has_followers(parents).tolist()
    targets: dict[tuple[int, int], int] = {}
    for level in map(np.ndarray.tolist, tree_levels(parents)):
        for edge in level:
            if before[edge] >= 0:
                steps[edge] = targets[steps[before[edge]]], steps[edge][1]
        new = dict.fromkeys(steps[edge] for edge in level if has_next[edge] and steps[edge] not in targets)
        for step, state in zip(new, model.advance([states[node] for node, _ in new], _words(new)), strict=True):
            targets[step] = nodes.setdefault(state, len(nodes))
            if len(nodes) > len(states):
                states.append(state)
    events = {step: place for place, step in enumerate(dict.fromkeys(steps))}
    log_probs = model.log_prob([states[node] for node, _ in events], _words(events))
    return np.asarray(log_probs)[[events[step] for step in steps]]


def _words(steps: Iterable[tuple[int, int]]) -> NDArray[np.int32]:
    return np.array([word for _, word in steps], np.int32)
