"""Prepared corpora: the same as text that is encoded at once, whatever happens on the way."""

import gzip
import io
import json
import logging
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm.text.preparation
from fastlm.errors import DataError, FileError
from fastlm.text.corpus import Corpus
from fastlm.text.parts import WorkedPart
from fastlm.text.vocabulary import Vocabulary

COUNTS = (
    "num_sentences",
    "num_unknown",
    "num_empty_lines",
    "num_characters",
    "num_bytes",
    "num_replaced",
    "num_skipped",
)


NUM_PARTS = 8


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastlm.text.preparation, "FAST_PARTS", (20, 2000))
    monkeypatch.setattr(fastlm.text.preparation, "SLOW_PARTS", (20, 2000))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text of `NUM_PARTS` parts."""
    rng = random.Random(1)
    lines = (" ".join(f"w{int(rng.paretovariate(0.7)) % 500}" for _ in range(rng.randrange(9))) for _ in range(1200))
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def assert_same(corpus: Corpus, expected: Corpus) -> None:
    assert corpus.vocabulary == expected.vocabulary
    assert np.array_equal(corpus.vocabulary.counts, expected.vocabulary.counts)
    assert np.array_equal(corpus.ids, expected.ids)
    assert corpus.ids.dtype == expected.ids.dtype
    assert {name: getattr(corpus, name) for name in COUNTS} == {name: getattr(expected, name) for name in COUNTS}


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".unfinished" in path.name or path.suffix == ".tmp")


words = st.sampled_from(["the", "cat", "Sat", "고양이", "don't", "<unk>", "x" * 20, "e\u0301"])
blanks = st.sampled_from([" ", "  ", "\t", "\n", "\r\n", "\n\n"])
some_texts = st.lists(st.lists(words | blanks, max_size=40).map("".join), min_size=1, max_size=4).filter(
    lambda texts: "".join(texts).replace("<unk>", "").strip()  # there is a word, whichever tokenizer splits it
)


@settings(max_examples=60)
@given(some_texts, st.sampled_from(["whitespace", "word", "char"]), st.integers(1, 3), st.booleans(), st.data())
def test_it_is_the_text_encoded_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    tokenizer: str,
    workers: int,
    compressed: bool,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "texts").mkdir()
    for number, text in enumerate(texts):
        if compressed and number % 2:
            (folder / "texts" / f"{number}.txt.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / "texts" / f"{number}.txt").write_bytes(text.encode())
    whole = [line for text in texts for line in io.StringIO(text, newline="\n")]
    limit = data.draw(st.sampled_from([None, 4]))
    vocabulary = Vocabulary.build(whole, max_size=limit, tokenizer=tokenizer)
    workers = workers if tokenizer == "whitespace" else 1  # processes take their time: see below
    corpus = Corpus.prepare(folder / "texts", folder / "c", max_size=limit, tokenizer=tokenizer, workers=workers)
    assert_same(corpus, Corpus.encode(whole, vocabulary))
    assert_same(Corpus.open(folder / "c"), Corpus.encode(whole, vocabulary))  # verified
    assert left_behind(folder) == []


@pytest.mark.parametrize("tokenizer", ["whitespace", "word"])
def test_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, text: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = set()
    for workers in (1, 2, 3):
        for size in (300, 5000):
            monkeypatch.setattr(fastlm.text.preparation, "SLOW_PARTS", (20, size))
            monkeypatch.setattr(fastlm.text.preparation, "FAST_PARTS", (20, size))
            if tokenizer == "whitespace" or (workers, size) in ((1, 5000), (2, 5000)):
                Corpus.prepare(text, tmp_path / "c", tokenizer=tokenizer, min_count=2, workers=workers)
                contents.add((tmp_path / "c").read_bytes())
    assert len(contents) == 1


def test_a_vocabulary_that_is_given(tmp_path: Path, text: Path) -> None:
    vocabulary = Vocabulary(["w1", "w2", "never"], tokenizer="word")
    corpus = Corpus.prepare(text, tmp_path / "c", vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary
    expected = Corpus.encode(text, vocabulary)
    assert np.array_equal(corpus.ids, expected.ids)
    assert corpus.num_unknown == expected.num_unknown
    assert Corpus.open(tmp_path / "c").vocabulary.words == vocabulary.words


def test_a_large_vocabulary(tmp_path: Path, text: Path) -> None:
    vocabulary = Vocabulary([f"w{number}" for number in range(1 << 16)])
    corpus = Corpus.prepare(text, tmp_path / "c", vocabulary=vocabulary, workers=2)
    assert corpus.ids.dtype == np.int32
    assert np.array_equal(corpus.ids, Corpus.encode(text, vocabulary).ids)


def test_standard_input_and_pipes(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Corpus.prepare(text, tmp_path / "expected")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    Corpus.prepare("-", tmp_path / "c", workers=2)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "expected").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(text.read_bytes(),))
    writer.start()
    Corpus.prepare(pipe, tmp_path / "c")
    writer.join()
    assert (tmp_path / "c").read_bytes() == (tmp_path / "expected").read_bytes()


# Stopped and gone on with


class Stop:
    """Takes the place of `count_part`: counts some parts, then does something else."""

    def __init__(self, after: int, action: Callable[[], object]) -> None:
        self.left = after
        self.action = action
        self.counted: list[int] = []
        self.count_part = fastlm.text.preparation.count_part

    def __call__(self, worked: WorkedPart, *arguments: Any) -> None:
        if self.left == 0:
            self.action()
        self.left -= 1
        self.count_part(worked, *arguments)
        self.counted.append(worked.number)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stop]:
    def begin(after: int = -1, action: Callable[[], object] = interrupt) -> Stop:
        stop = Stop(after, action)
        stop.count_part = original
        monkeypatch.setattr(fastlm.text.preparation, "count_part", stop)
        return stop

    original = fastlm.text.preparation.count_part
    return begin


@pytest.fixture
def interrupted(tmp_path: Path, text: Path, watch: Callable[..., Stop]) -> Stop:
    """Let Ctrl-C stop a run after three of its parts, and watch what comes next."""
    Corpus.prepare(text, tmp_path / "expected")
    watch(3)
    with pytest.raises(
        KeyboardInterrupt, match=r"^interrupted; what is counted is kept for the next run, in '.*c\.unfinished'"
    ):
        Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == ["c.unfinished"]
    return watch()


def test_an_interrupted_run_is_gone_on_with(tmp_path: Path, text: Path, interrupted: Stop) -> None:
    Corpus.prepare(text, tmp_path / "c", workers=3)
    assert sorted(interrupted.counted) == list(range(3, NUM_PARTS))
    assert (tmp_path / "c").read_bytes() == (tmp_path / "expected").read_bytes()
    assert left_behind(tmp_path) == []


def test_other_vocabularies_go_on_too(tmp_path: Path, text: Path, interrupted: Stop) -> None:
    corpus = Corpus.prepare(text, tmp_path / "c", max_size=9)
    assert len(interrupted.counted) == NUM_PARTS - 3
    assert_same(corpus, Corpus.encode(text, Vocabulary.build(text, max_size=9)))


@pytest.mark.parametrize("change", ["text", "tokenizer", "order"])
def test_changed_texts_begin_afresh_and_say_so(
    tmp_path: Path, text: Path, interrupted: Stop, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    sources, options = [text], {}
    if change == "text":
        text.write_text(text.read_text().replace("w1 ", "v1 "))
    elif change == "tokenizer":
        options = {"tokenizer": "char"}
    else:
        sources = [text, text]
    with caplog.at_level(logging.INFO, "fastlm"):
        corpus = Corpus.prepare(sources, tmp_path / "c", **options)
    assert "have changed since" in caplog.text
    assert "all is counted afresh" in caplog.text
    lines = [line for source in sources for line in source.read_text().splitlines()]
    assert_same(corpus, Corpus.encode(lines, Vocabulary.build(lines, **options)))
    assert left_behind(tmp_path) == []


def test_a_damaged_part_is_counted_again(tmp_path: Path, text: Path, interrupted: Stop) -> None:
    numbers, wordlist = (
        tmp_path / "c.unfinished" / f"00000{part}.{kind}" for part, kind in [(1, "numbers"), (2, "words")]
    )
    numbers.write_bytes(numbers.read_bytes()[:-4] + bytes(4))
    wordlist.write_bytes(wordlist.read_bytes()[:-1])
    Corpus.prepare(text, tmp_path / "c")
    assert interrupted.counted == [1, 2, *range(3, NUM_PARTS)]
    assert (tmp_path / "c").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_run_that_is_stopped_at_once_leaves_nothing(tmp_path: Path, text: Path, watch: Callable[..., Stop]) -> None:
    watch(0)
    with pytest.raises(KeyboardInterrupt):
        Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == []


def test_standard_input_leaves_nothing(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes() + b"\xff\n")))
    with pytest.raises(DataError, match="standard input, line 1201: invalid UTF-8"):
        Corpus.prepare([text, "-"], tmp_path / "c")
    assert left_behind(tmp_path) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "c.unfinished"
    folder.mkdir()
    for name, content in [("diary.txt", "dear diary"), ("plan.json", "{}")]:
        (folder / name).write_text(content)
        with pytest.raises(FileError, match=r"c\.unfinished'.*not left by this version.*another name"):
            Corpus.prepare(text, tmp_path / "c")
    assert sorted(path.name for path in folder.iterdir()) == ["diary.txt", "plan.json"]


def test_a_folder_that_cannot_be_read_is_not_taken_for_somebody_elses(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.unfinished").mkdir()

    def closed(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(FileError, match=r"cannot read '.*plan\.json': Permission denied; check the permissions"):
        Corpus.prepare(text, tmp_path / "c")


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_only_one_process_prepares_a_corpus(tmp_path: Path, text: Path, watch: Callable[..., Stop]) -> None:
    problems = []

    def prepare_too() -> None:
        with pytest.raises(FileError) as failure:
            Corpus.prepare(text, tmp_path / "c")
        problems.append(str(failure.value))

    watch(2, prepare_too)
    Corpus.prepare(text, tmp_path / "c")
    assert problems == [f"another process is preparing '{tmp_path / 'c'}'; wait for its end, or give another name"]
    assert left_behind(tmp_path) == []
    Corpus.prepare(text, tmp_path / "c")


@pytest.mark.parametrize("name", [".fastlm-0123.tmp", "000001.words"])
def test_a_run_that_was_killed_before_its_plan_or_after_its_end(tmp_path: Path, text: Path, name: str) -> None:
    (tmp_path / "c.unfinished").mkdir()
    (tmp_path / "c.unfinished" / name).touch()
    Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == []


RUN = """
import sys, fastlm.text.preparation
from fastlm.text.corpus import Corpus
fastlm.text.preparation.FAST_PARTS = (20, 2000)
Corpus.prepare(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))
"""


def test_kills_at_random_moments(tmp_path: Path, text: Path) -> None:
    Corpus.prepare(text, tmp_path / "expected")
    rng = random.Random(time.time_ns())
    kills = 0
    for attempt in range(30):
        command = [sys.executable, "-c", RUN, str(text), str(tmp_path / "c"), str(1 + attempt % 2)]
        process = subprocess.Popen(command)
        if kills < 3:
            while not (tmp_path / "c.unfinished").exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.05)
            process.kill()
        code = process.wait()
        kills += code != 0
        if code == 0 and kills == 3:
            break
        if code == 0:  # it was quicker than the kill
            (tmp_path / "c").unlink()
    assert kills == 3
    assert (tmp_path / "c").read_bytes() == (tmp_path / "expected").read_bytes()
    assert left_behind(tmp_path) == []


# What goes wrong


def test_a_bad_byte_is_named_by_file_and_line_and_the_rest_is_kept(
    tmp_path: Path, text: Path, watch: Callable[..., Stop]
) -> None:
    good = text.read_bytes()
    lines = good.split(b"\n")
    lines[900] = b"w1 \xff w2"
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\n".join(lines))
    for workers in (1, 2):
        with pytest.raises(DataError) as failure:
            Corpus.prepare([text, bad], tmp_path / "c", workers=workers)
        assert f"{bad}, line 901: invalid UTF-8 (byte 0xff)" in str(failure.value)
        assert str(failure.value).endswith(f"; what is counted is kept for the next run, in '{tmp_path}/c.unfinished'")
    counted = {int(path.stem) for path in (tmp_path / "c.unfinished").glob("*.words")}
    for errors in ("replace", "skip"):
        stop = watch()
        corpus = Corpus.prepare([text, bad], tmp_path / "c", errors=errors)
        assert set(stop.counted) == set(range(2 * NUM_PARTS)) - counted  # what was valid is valid
        counted = set()
        assert (corpus.num_replaced, corpus.num_skipped) == ((1, 0) if errors == "replace" else (0, 1))


def test_parts_with_invalid_text_are_counted_again_when_it_is_treated_otherwise(
    tmp_path: Path, text: Path, watch: Callable[..., Stop]
) -> None:
    text.write_bytes(b"w1 \xff w2\n" + text.read_bytes())
    watch(3)
    with pytest.raises(KeyboardInterrupt):
        Corpus.prepare(text, tmp_path / "c", errors="replace")
    stop = watch()
    corpus = Corpus.prepare(text, tmp_path / "c", errors="skip")
    assert stop.counted == [0, *range(3, NUM_PARTS)]
    assert (corpus.num_replaced, corpus.num_skipped) == (0, 1)


def test_a_reserved_word_is_named_by_file_and_line(tmp_path: Path, text: Path) -> None:
    text.write_text(text.read_text() + "and </s>\n")
    with pytest.raises(DataError, match=r"text\.txt, line 1201: the text holds a literal"):
        Corpus.prepare(text, tmp_path / "c")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(tmp_path: Path, text: Path) -> None:
    with pytest.raises(FileError, match=r"c\.unfinished/000000\.numbers'"), full_disk(1000):
        Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == []
    with (
        pytest.raises(FileError, match=r"cannot write '.*/c': .*; what is counted is kept for the next run"),
        full_disk(18_000),
    ):
        Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == ["c.unfinished"]
    assert not (tmp_path / "c").exists()
    assert_same(Corpus.prepare(text, tmp_path / "c"), Corpus.encode(text, Vocabulary.build(text)))
    assert left_behind(tmp_path) == []


def test_a_text_that_changes_while_it_is_read(tmp_path: Path, text: Path, watch: Callable[..., Stop]) -> None:
    watch(3, lambda: os.utime(text, ns=(1, 1)))
    with pytest.raises(DataError, match=r"text\.txt was changed while it was read; begin again"):
        Corpus.prepare(text, tmp_path / "c")
    assert left_behind(tmp_path) == []
    assert_same(Corpus.prepare(text, tmp_path / "c"), Corpus.encode(text, Vocabulary.build(text)))


def test_a_text_without_words(tmp_path: Path) -> None:
    for content in ("", "\n \n"):
        (tmp_path / "empty.txt").write_text(content)
        with pytest.raises(DataError, match=rf"empty\.txt: no word in {content.count(chr(10))} lines"):
            Corpus.prepare(tmp_path / "empty.txt", tmp_path / "c")
    (tmp_path / "text.txt").write_text("a b\n")
    with pytest.raises(DataError, match="no word occurs 2 times or more"):
        Corpus.prepare(tmp_path / "text.txt", tmp_path / "c", min_count=2)


def test_the_corpus_is_not_among_the_texts(tmp_path: Path, text: Path) -> None:
    with pytest.raises(ValueError, match="is one of the texts, which would be overwritten"):
        Corpus.prepare([text], text)
    with pytest.raises(ValueError, match=r"c' would lie in .*, where all is text"):
        Corpus.prepare(tmp_path, tmp_path / "c")


def test_wrong_arguments(tmp_path: Path, text: Path) -> None:
    vocabulary = Vocabulary(["w1"])
    for options, problem in [
        ({"workers": 0}, "workers=0: expected a whole number of at least 1"),
        ({"errors": "ignore"}, "errors='ignore'"),
        ({"max_size": 2}, "max_size=2"),
        ({"vocabulary": ["w1"]}, "expected a Vocabulary"),
        ({"vocabulary": vocabulary, "min_count": 2}, "leave them out where one is given"),
        ({"vocabulary": vocabulary, "tokenizer": "char"}, "leave them out where one is given"),
    ]:
        with pytest.raises(ValueError, match=problem):
            Corpus.prepare(text, tmp_path / "c", **options)
    with pytest.raises(FileError, match="does not exist; create it first"):
        Corpus.prepare(text, tmp_path / "nowhere" / "c")
    assert left_behind(tmp_path) == []


MEMORY = """
import json, sys
from pathlib import Path
import fastlm.text.preparation
from fastlm.text.corpus import Corpus
fastlm.text.preparation.FAST_PARTS = (1 << 18, 1 << 19)
def peak():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0])
peaks = []
for path in sys.argv[1:]:
    most = 0
    def look(self, done, _update=fastlm.text.preparation.Progress.update):
        global most
        most = max(most, peak())
        _update(self, done)
    fastlm.text.preparation.Progress.update, kept = look, fastlm.text.preparation.Progress.update
    Corpus.prepare(path, path + ".c")
    fastlm.text.preparation.Progress.update = kept
    peaks.append(most)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("warm", "short", "long")]
    line = " ".join(f"word{number}" for number in range(50)) + "\n"
    for path, size in zip(paths, (1000, 2000, 30_000), strict=True):
        Path(path).write_text(line * size)
    result = subprocess.run([sys.executable, "-c", MEMORY, *paths], capture_output=True, text=True, check=True)
    _, short, long = json.loads(result.stdout)
    assert long < 1.05 * short
