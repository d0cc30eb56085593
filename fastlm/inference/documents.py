"""A text that is made of documents, with empty lines between them; and the figures of all of them in one report."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from fastlm.errors import DataError, LineError
from fastlm.inference.evaluation import Report
from fastlm.text.corpus import Corpus
from fastlm.text.source import SkippedLine, TextReader
from fastlm.text.vocabulary import Vocabulary

__all__ = ["joined", "read_documents", "split_documents"]

SUMMED = (  # figures of a report that add up
    *("num_tokens", "num_sentences", "num_words", "num_unknown", "num_empty_lines", "num_skipped", "num_replaced"),
    *("num_characters", "num_bytes", "log_prob", "log_prob_without_unknown", "num_impossible"),
)


def split_documents(lines: Iterable[str]) -> Iterator[list[str]]:
    """Put the lines of a text together to documents.

    A document ends at an empty line; of several in a row, all are at its end. Those at the beginning of the text are
    part of the first document. A `SkippedLine` ends and begins none.

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
        if isinstance(line, SkippedLine):
            document.append(line)
            continue
        empty = not line.strip(" \t\r\n")
        if ended and not empty:
            yield document
            document, has_words = [], False
        document.append(line)
        has_words = has_words or not empty
        ended = has_words and empty
    if document:
        yield document


def read_documents(reader: TextReader, vocabulary: Vocabulary) -> Iterator[Corpus]:
    """Read a text document by document.

    Parameters
    ----------
    reader
        What it replaces or leaves out as invalid, it counts alone, and tells of at the end; no document knows of that.
    vocabulary
        That the words are looked up in.

    Yields
    ------
    Corpus

    Raises
    ------
    DataError
        If the text cannot be used, or there is no word in it; the message names the line of the text.

    Examples
    --------
    >>> lines = ["the cat", "sat", "", "the dog"]
    >>> [corpus.num_tokens for corpus in read_documents(TextReader(lines), Vocabulary(["the", "cat", "sat"]))]
    [5, 3]
    """
    documents = split_documents(reader.lines())
    first = next(documents, [])  # an empty text is read, too: that says what is wrong
    num_before = 0
    for document in chain([first], documents):
        numbered = [(n, line) for n, line in enumerate(document, num_before + 1) if not isinstance(line, SkippedLine)]
        yield _encoded(numbered, vocabulary, reader.name)
        num_before += len(document)


def _encoded(numbered: list[tuple[int, str]], vocabulary: Vocabulary, name: str) -> Corpus:
    """Encode lines that stand in a text at these numbers."""
    try:
        return Corpus.encode([line for _, line in numbered], vocabulary)
    except LineError as error:
        raise LineError(name, numbered[error.line - 1][0], error.problem) from error
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


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
