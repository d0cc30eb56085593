"""A part of a text: written as numbers by whoever counts its words, and turned into ids when all words are counted.

Counting numbers the words in the order of their first occurrence in the part. So the text is read and split once only:
the second pass puts an id in the place of each number. Two files are left between the passes: the numbers, and the
words with their counts, whose presence says that the part is finished.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError, LineError, ModelFileError
from fastlm.storage import TensorRun, TensorWriter, read_tensors, write_tensors
from fastlm.text.counting import PackedWords
from fastlm.text.inputs import Part, Piece, lines_before
from fastlm.text.scan.counter import Counter
from fastlm.text.scan.numbering import renumber
from fastlm.text.scan.table import WordTable
from fastlm.text.source import TextReader
from fastlm.text.tokenizer import Tokenizer

__all__ = ["Pulse", "WorkedPart", "count_part", "encode_part"]

BLOCK = 1 << 18  # numbers that are turned into ids together
TEXT_COUNTS = ("num_lines", "num_empty_lines", "num_characters", "num_bytes", "num_replaced", "num_skipped")

Pulse = Callable[[int], object]
"""Told how much is done; raises an exception when the work is to stop."""


class WorkedPart(NamedTuple):
    """The place of a part's files between the passes."""

    folder: str
    number: int

    @property
    def numbers_path(self) -> Path:
        """Where the numbers are."""
        return Path(self.folder, f"{self.number:06}.numbers")

    @property
    def words_path(self) -> Path:
        """Where the words are; written last."""
        return Path(self.folder, f"{self.number:06}.words")

    def is_counted(self, errors: str) -> bool:
        """Whether an earlier run has finished the part, and invalid text was treated in the same way, if there was any.

        Both files are read once and held to their checksums.
        """
        if not self.words_path.exists():
            return False
        try:
            read_tensors(self.numbers_path)
            metadata = read_tensors(self.words_path).metadata
        except FastLMError:  # cut off by a failure of power, for example
            return False
        is_changed = metadata["num_replaced"] != "0" or metadata["num_skipped"] != "0"
        return metadata["errors"] == errors or not is_changed

    def read_words(self) -> tuple[PackedWords, dict[str, int]]:
        """Return the words, and what was counted beside them."""
        file = read_tensors(self.words_path, verify=False)
        words = (file.tensors["bytes"], file.tensors["ends"], file.tensors["counts"])
        return words, {name: int(file.metadata[name]) for name in TEXT_COUNTS}

    def num_tokens(self) -> int:
        """Count the words and the ends of sentences."""
        return len(read_tensors(self.numbers_path, verify=False).tensors["numbers"])


def count_part(worked: WorkedPart, part: Part, tokenizer: Tokenizer, errors: str, pulse: Pulse) -> None:
    """Read a part of a text and write its files; `pulse` is told of bytes."""
    counter = Counter()
    totals = dict.fromkeys(TEXT_COUNTS, 0)
    with TensorWriter(worked.numbers_path, "numbers", np.int32, sync=False) as writer:
        for piece in part:
            reader = TextReader(piece.path, errors, begin=piece.begin, end=piece.end, progress=pulse)
            try:
                for numbers in reader.scan(counter, tokenizer):
                    writer.append(numbers)
            except LineError as error:
                raise _line_of_file(error, piece) from None
            for name in set(TEXT_COUNTS) - {"num_empty_lines"}:
                totals[name] += getattr(reader, name)
    totals["num_empty_lines"] = counter.num_empty_lines - totals["num_skipped"]
    data, ends, counts = counter.words()
    metadata = {name: str(count) for name, count in totals.items()} | {"errors": errors}
    write_tensors(worked.words_path, metadata, {"bytes": data, "ends": ends, "counts": counts}, sync=False)


def _line_of_file(error: LineError, piece: Piece) -> LineError:
    """Count the line from the beginning of the file, not of the piece."""
    return LineError(error.name, lines_before(piece) + error.line, error.problem) if piece.begin else error


def encode_part(
    worked: WorkedPart, table: WordTable, run: TensorRun, dtype: type[np.integer[Any]], pulse: Pulse
) -> int:
    """Write a part's ids; `pulse` is told of tokens.

    Returns
    -------
    int
        How many of them are unknown words.
    """
    (data, ends, _), _ = worked.read_words()
    numbers = read_tensors(worked.numbers_path, verify=False).tensors["numbers"]
    ids = table.find_packed(data, ends)
    block: NDArray[Any] = np.empty(min(BLOCK, len(numbers)), dtype)
    num_unknown = 0
    for begin in range(0, len(numbers), BLOCK):
        out = block[: min(BLOCK, len(numbers) - begin)]
        try:
            num_unknown += renumber(out, numbers[begin : begin + BLOCK], ids)
        except ValueError as error:
            raise ModelFileError(f"cannot use {str(worked.numbers_path)!r}: {error}; it is damaged") from error
        run.append(out)
        pulse(len(out))
    return num_unknown
