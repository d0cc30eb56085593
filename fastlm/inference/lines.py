"""Lines of text as models take them: split, looked up, and many at a time."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import DataError
from fastlm.inference.arguments import one_line
from fastlm.text.source import SkippedLine
from fastlm.text.vocabulary import Vocabulary

__all__ = ["BATCH_TOKENS", "Line", "line_batches", "read_line"]

BATCH_TOKENS = 8192


class Line(NamedTuple):
    """A line of text, split and looked up.

    Attributes
    ----------
    text : str
        Without its line end.
    words : list of str
    ids : (N,) int32
        One more than words: `</s>` closes them; none if there are no words.
    """

    text: str
    words: list[str]
    ids: NDArray[np.int32]

    @property
    def ends_document(self) -> bool:
        """Whether it is empty, but for spaces; a line that was left out of the text as invalid ends nothing."""
        return not self.text.strip(" \t") and not isinstance(self.text, SkippedLine)


def read_line(vocabulary: Vocabulary, text: str) -> Line:
    """Split a line and look its words up."""
    text = text if isinstance(text, SkippedLine) else one_line(text)
    words, ids = vocabulary.tokens_and_ids(text)
    return Line(text, words, np.append(ids, np.int32(vocabulary.end_id)) if words else ids)


def line_batches(vocabulary: Vocabulary, lines: Iterable[str], batch_tokens: int) -> Iterator[list[Line]]:
    """Yield lists of lines of about `batch_tokens` tokens together, so that short lines are fast too."""
    batch: list[Line] = []
    num_tokens = 0
    for number, text in enumerate(lines, start=1):
        try:
            line = read_line(vocabulary, text)
        except DataError as error:
            raise DataError(f"line {number}: {error}") from error
        batch.append(line)
        num_tokens += len(line.ids)
        if num_tokens >= batch_tokens or len(batch) >= batch_tokens:
            yield batch
            batch, num_tokens = [], 0
    if batch:
        yield batch
