"""A text that is made of documents, with empty lines between them; and the figures of all of them in one report."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fastlm.inference.evaluation import Report

__all__ = ["joined", "split_documents"]

SUMMED = (  # figures of a report that add up
    *("num_tokens", "num_sentences", "num_words", "num_unknown", "num_empty_lines", "num_skipped", "num_replaced"),
    *("num_characters", "num_bytes", "log_prob", "log_prob_without_unknown", "num_impossible"),
)


def split_documents(lines: Iterable[str]) -> Iterator[list[str]]:
    """Put the lines of a text together to documents.

    A document ends at an empty line; of several in a row, all are at its end. Those at the beginning of the text are
    part of the first document.

    Parameters
    ----------
    lines
        With or without their line ends.

    Yields
    ------
    list of str
        The lines of a document, empty ones included, so that they can be counted.

    Examples
    --------
    >>> list(split_documents(["the cat", "sat", "", "the dog"]))
    [['the cat', 'sat', ''], ['the dog']]
    """
    document: list[str] = []
    has_words = ended = False
    for line in lines:
        empty = not line.strip(" \t\r\n")
        if ended and not empty:
            yield document
            document, has_words = [], False
        document.append(line)
        has_words = has_words or not empty
        ended = has_words and empty
    if document:
        yield document


def joined(reports: Iterable[Report]) -> Report:
    """Return one report about several texts, documents for example, each of which was read by itself.

    Parameters
    ----------
    reports : iterable of Report
        Of one model.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> texts = [fastlm.Corpus.encode([line], vocabulary) for line in ("the cat sat", "on the mat")]
    >>> joined(model.evaluate(text) for text in texts).num_tokens
    8
    """
    remaining = iter(reports)
    total = next(remaining, None)
    if total is None:
        raise ValueError("no reports to be joined: expected one or more")
    for report in remaining:
        sums: dict[str, Any] = {name: _sum(getattr(total, name), getattr(report, name)) for name in SUMMED}
        streams = None if report.num_streams is None else max(report.num_streams, total.num_streams or 1)
        total = replace(total, **sums, num_streams=streams, log_norm_mean=None, log_norm_99=None)
    return total


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
