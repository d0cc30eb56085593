"""From texts of any size to a corpus file, in memory that the vocabulary bounds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastlm.errors import DataError, FastLMError
from fastlm.progress import Progress, announce
from fastlm.storage import Source, check_writable
from fastlm.text.corpusfile import counts_entry, id_type, open_corpus_writer
from fastlm.text.counting import PackedWords
from fastlm.text.inputs import Input, Part, cut_into_parts, find_inputs
from fastlm.text.parts import TEXT_COUNTS, WorkedPart, count_part, encode_part
from fastlm.text.pool import run_jobs
from fastlm.text.scan.counter import Counter
from fastlm.text.source import check_errors, warn_of_changes
from fastlm.text.tokenizer import CallableTokenizer, Tokenizer, WhitespaceTokenizer
from fastlm.text.unfinished import Unfinished
from fastlm.text.vocabulary import Vocabulary

__all__ = ["Preparation"]

logger = logging.getLogger("fastlm")

# Smallest and largest bytes of a part. Each part has a list of its words, so small ones are work; what is done of one
# is lost when the run is stopped, so large ones are, too. A tokenizer in Python is a hundred times slower.
FAST_PARTS = (1 << 26, 1 << 30)
SLOW_PARTS = (1 << 20, 1 << 25)


class Preparation:
    """What `Corpus.prepare` does: count all words, let a vocabulary be made of them, and write the ids.

    Parameters
    ----------
    sources, path, errors, workers, progress
        Those of `Corpus.prepare`.
    tokenizer : Tokenizer
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        path: Source,
        tokenizer: Tokenizer,
        *,
        errors: str,
        workers: int,
        progress: bool,
    ) -> None:
        check_errors(errors)
        check_writable(path)
        self.path = path
        self.tokenizer = tokenizer
        self.errors = errors
        self.progress = progress
        self.unfinished = Unfinished(path)
        self.inputs = _find_texts(sources, path, self.unfinished.folder)
        self.is_stream = any(item.is_stream for item in self.inputs)
        self.workers = 1 if self.is_stream else workers
        self.name = self.inputs[0].path + (" …" if len(self.inputs) > 1 else "")

    def run(self, choose: Callable[[PackedWords, str], Vocabulary]) -> None:
        """Write the corpus; `choose` makes the vocabulary of all words of the text, whose name it is told."""
        try:
            self._run(choose)
        finally:
            self.unfinished.release()

    def _run(self, choose: Callable[[PackedWords, str], Vocabulary]) -> None:
        say = announce if self.progress else logger.info
        parts = self.unfinished.open(self.inputs, self.tokenizer, self._cut, say)
        worked = [self.unfinished.part(number) for number in range(len(parts))]
        with self._keeping_what_is_done():
            totals = self._count(parts, worked, say)
            self._check_unchanged()
            vocabulary = choose(totals.words(), self.name)
            self._encode(worked, vocabulary, totals)
        self.unfinished.clear()

    def _cut(self) -> list[Part]:
        smallest, largest = FAST_PARTS if isinstance(self.tokenizer, WhitespaceTokenizer) else SLOW_PARTS
        total = sum(item.size or 0 for item in self.inputs)
        num_parts = max(1, -(-total // largest), min(self.workers, total // smallest))
        if num_parts > self.workers:  # as many for each, so that none is idle at the end
            num_parts = -(-num_parts // self.workers) * self.workers
        return cut_into_parts(self.inputs, num_parts)

    def _count(self, parts: list[Part], worked: list[WorkedPart], say: Callable[[str], object]) -> "_Totals":
        """Count the parts that no earlier run has counted; what is read is told to the bar."""
        totals = _Totals(worked)
        left = []
        for number, part in enumerate(worked):
            if part.is_counted(self.errors):
                totals.add(number)
            else:
                left.append(number)
        if len(left) < len(parts):
            say(f"going on with {self.unfinished.folder}: {len(parts) - len(left)} of {len(parts)} parts are counted")
        sizes = {item.path: item.size or 0 for item in self.inputs}
        pieces = [piece for number in left for piece in parts[number]]
        size = sum(sizes[piece.path] if piece.end is None else piece.end - piece.begin for piece in pieces)
        with Progress(None if self.is_stream else size, "B", enabled=self.progress, description="count") as bar:
            run_jobs(
                count_part,
                [(worked[number], parts[number], self.tokenizer, self.errors) for number in left],
                finished=lambda job, _: totals.add(left[job]),
                progress=bar.update,
                workers=self.workers,
                processes=not isinstance(self.tokenizer, WhitespaceTokenizer | CallableTokenizer),
            )
        if totals.num_sentences == 0:
            num_lines = totals.counts["num_lines"]
            raise DataError(f"{self.name}: no word in {num_lines} lines; expected text, one sentence a line")
        warn_of_changes(self.name, totals.counts["num_replaced"], totals.counts["num_skipped"])
        return totals

    def _check_unchanged(self) -> None:
        for item in self.inputs:
            if not item.is_stream and Input.of(item.path) != item:
                self.unfinished.clear()  # nobody knows what was read
                raise DataError(f"{item.path} was changed while it was read; begin again when it stays as it is")

    def _encode(self, worked: list[WorkedPart], vocabulary: Vocabulary, totals: "_Totals") -> None:
        """Write the ids, every part at its place."""
        dtype = id_type(vocabulary)
        sizes = [part.num_tokens() for part in worked]
        unknown = [0] * len(worked)
        with (
            open_corpus_writer(self.path, vocabulary, temporary_in=self.unfinished.folder) as writer,
            Progress(sum(sizes), "tok", enabled=self.progress, description="encode") as bar,
        ):
            run_jobs(
                encode_part,
                [(part, vocabulary.table, writer.run(size), dtype) for part, size in zip(worked, sizes, strict=True)],
                finished=unknown.__setitem__,
                progress=bar.update,
                workers=self.workers,
                processes=False,  # compiled code, which leaves the interpreter to others
            )
            counts = {"num_sentences": totals.num_sentences, "num_unknown": sum(unknown)}
            writer.metadata.update(counts_entry(totals.counts | counts))

    @contextmanager
    def _keeping_what_is_done(self) -> Iterator[None]:
        """Let a run that fails or is interrupted say what is kept of it; leave nothing where that is nothing."""
        try:
            yield
        except BaseException as error:
            if self.is_stream or not any(self.unfinished.folder.glob("*.words")):
                self.unfinished.clear()
            elif isinstance(error, FastLMError) or not isinstance(error, Exception):  # Ctrl-C and the like
                reason = str(error) or "interrupted"
                error.args = (
                    f"{reason}; what is counted is kept for the next run, in {str(self.unfinished.folder)!r}",
                )
            raise


class _Totals:
    """Words and counts of the parts, added up in the parts' order whatever the order in which they are finished."""

    def __init__(self, worked: list[WorkedPart]) -> None:
        self.counts = dict.fromkeys(TEXT_COUNTS, 0)
        self.num_sentences = 0
        self._counter = Counter()
        self._worked = worked
        self._finished: set[int] = set()
        self._num_added = 0

    def add(self, number: int) -> None:
        """Take a part that is finished."""
        self._finished.add(number)
        while self._num_added in self._finished:
            words, counts = self._worked[self._num_added].read_words()
            self.num_sentences += int(words[2][Vocabulary.end_id])
            for name, count in counts.items():
                self.counts[name] += count
            if len(self._worked) > 1:
                self._counter.add_counts(*words)
            self._num_added += 1

    def words(self) -> PackedWords:
        """Return all words with their counts."""
        return self._counter.words() if len(self._worked) > 1 else self._worked[0].read_words()[0]


def _find_texts(sources: Source | Sequence[Source], path: Source, unfinished: Path) -> list[Input]:
    """Find the files of the text, among which the corpus must not be."""
    target = Path(path).resolve()
    for source in [sources] if isinstance(sources, str) or not isinstance(sources, Sequence) else sources:
        if Path(source).is_dir() and target.is_relative_to(Path(source).resolve()):
            raise ValueError(f"{str(path)!r} would lie in {str(source)!r}, where all is text; give another place")
    inputs = [item for item in find_inputs(sources) if unfinished not in Path(item.path).resolve().parents]
    for item in inputs:
        if not item.is_stream and Path(item.path).resolve() == target:
            raise ValueError(f"{str(path)!r} is one of the texts, which would be overwritten; give another path")
    if not inputs:
        raise ValueError(f"got {sources!r}: expected the paths of one text or more")
    return inputs
