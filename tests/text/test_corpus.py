"""Corpora: ids and counts against plain Python, in memory and on disk."""

import gzip
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import DataError, FileError, ModelFileError
from fastlm.storage import read_tensors, write_tensors
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "cat", "고양이"])
TEXT = "\ufeffthe cat\r\n\n \t\nthe 고양이 sat\n<unk> cat"
IDS = [2, 3, 1, 2, 4, 0, 1, 0, 3, 1]


def check_text_counts(corpus: Corpus) -> None:
    assert corpus.ids.tolist() == IDS
    assert (corpus.num_tokens, len(corpus), corpus.num_sentences, corpus.num_unknown) == (10, 10, 3, 2)
    assert corpus.num_empty_lines == 2
    read = "the cat\n\n \t\nthe 고양이 sat\n<unk> cat\n"
    assert (corpus.num_characters, corpus.num_bytes) == (len(read), len(read.encode()))
    assert (corpus.num_replaced, corpus.num_skipped) == (0, 0)
    assert corpus.sentence_bounds().tolist() == [3, 7, 10]
    assert corpus.ids.dtype == np.uint16
    assert not corpus.ids.flags.writeable


def test_encode_from_any_source(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    compressed = tmp_path / "text.txt.gz"
    compressed.write_bytes(gzip.compress(TEXT.encode()))
    for source in (path, str(path), compressed, TEXT.split("\n"), (line for line in TEXT.splitlines(keepends=True))):
        check_text_counts(Corpus.encode(source, VOCABULARY))


def test_encode_to_disk_save_and_open(tmp_path: Path) -> None:
    lines = TEXT.split("\n")
    in_memory = Corpus.encode(lines, VOCABULARY)
    in_memory.save(tmp_path / "saved.corpus")
    check_text_counts(Corpus.encode(lines, VOCABULARY, path=tmp_path / "streamed.corpus"))
    for name in ("saved", "streamed"):
        corpus = Corpus.open(tmp_path / f"{name}.corpus", VOCABULARY)
        check_text_counts(corpus)
        check_text_counts(pickle.loads(pickle.dumps(corpus)))
        metadata = read_tensors(tmp_path / f"{name}.corpus").metadata
        assert (metadata["format"], metadata["version"]) == ("fastlm-corpus", "2")


def test_the_vocabulary_is_in_the_file(tmp_path: Path) -> None:
    lines = ["The cat.", "the dog"]
    vocabulary = Vocabulary.build(lines, tokenizer="word", lower_case=True)
    Corpus.encode(lines, vocabulary).save(tmp_path / "saved.corpus")
    Corpus.encode(lines, vocabulary, path=tmp_path / "streamed.corpus")
    for name in ("saved", "streamed"):
        corpus = Corpus.open(tmp_path / f"{name}.corpus")
        assert corpus.vocabulary == vocabulary
        assert corpus.vocabulary.counts is not None
        assert corpus.vocabulary.counts.tolist() == vocabulary.counts.tolist()
        assert corpus.vocabulary.decode(corpus.ids) == "the cat.\nthe dog"
        assert Corpus.open(tmp_path / f"{name}.corpus", vocabulary).vocabulary is vocabulary
        assert set(safetensors.numpy.load_file(tmp_path / f"{name}.corpus")) == {"ids", *vocabulary.to_arrays()}


def test_a_tokenizer_of_the_users_own_is_given_again(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "b"], tokenizer=str.split)
    Corpus.encode(["a b"], vocabulary, path=tmp_path / "text.corpus")
    assert Corpus.open(tmp_path / "text.corpus", tokenizer=str.split).vocabulary.encode("b a").tolist() == [3, 2]
    corpus = Corpus.open(tmp_path / "text.corpus")
    with pytest.raises(ValueError, match=r"split.*give it again"):
        corpus.vocabulary.encode("b a")


def test_a_file_of_version_1_is_opened_with_its_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "old.corpus"
    counts = {"num_sentences": "1", "num_unknown": "0", "num_empty_lines": "0", "num_replaced": "0", "num_skipped": "0"}
    metadata = {"format": "fastlm-corpus", "version": "1", "vocabulary": VOCABULARY.fingerprint(), **counts}
    write_tensors(path, metadata, {"ids": np.array([2, 3, 1], np.uint16)})
    assert Corpus.open(path, VOCABULARY).ids.tolist() == [2, 3, 1]
    with pytest.raises(ModelFileError, match=r"version 1 of the format, .* as version 2 does; give the vocabulary"):
        Corpus.open(path)


words = st.sampled_from(["the", "cat", "dog", "<unk>", "고양이"])
lines = st.lists(st.lists(words, max_size=5).map(" ".join), min_size=1, max_size=20).filter(any)


@given(lines, st.sampled_from(["whitespace", "word", "char"]))
def test_every_tokenizer_gives_what_it_gives_line_by_line(text: list[str], tokenizer: str) -> None:
    vocabulary = Vocabulary.build([*text, "a"], max_size=6, tokenizer=tokenizer)
    corpus = Corpus.encode(text, vocabulary)
    expected = [id for line in text if line for id in [*vocabulary.encode(line).tolist(), 1]]
    assert corpus.ids.tolist() == expected
    assert corpus.num_unknown == expected.count(0)
    assert corpus.num_empty_lines == text.count("")


def test_an_empty_line_is_empty_whatever_the_tokenizer_makes_of_it() -> None:
    text = ["a,b", "", " ", "b"]
    for tokenizer in (lambda line: line.split(","), "char"):
        vocabulary = Vocabulary(["a", "b"], tokenizer=tokenizer)
        corpus = Corpus.encode(text, vocabulary)
        assert (corpus.num_empty_lines, corpus.num_sentences, corpus.ids[-2:].tolist()) == (2, 2, [3, 1])
        assert vocabulary.encode("").tolist() == vocabulary.encode(" \n").tolist() == []
    vocabulary = Vocabulary(["a", "b"], tokenizer=lambda line: line.split(","))
    with pytest.raises(DataError, match="text, line 2: the tokenizer gave an empty token"):
        Corpus.encode(["a", "a,,b"], vocabulary)
    with pytest.raises(DataError, match="the tokenizer gave an empty token"):
        vocabulary.encode("a,,b")


def test_errors_replace_and_skip(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"the cat\nthe \xff\xfe cat\n\nthe\0\ncat\n")
    with pytest.raises(DataError, match=r"text\.txt, line 2: invalid UTF-8"):
        Corpus.encode(path, VOCABULARY)
    for tokenizer in ("whitespace", "word"):
        vocabulary = Vocabulary(["the", "cat"], tokenizer=tokenizer)
        corpus = Corpus.encode(path, vocabulary, errors="skip")
        assert corpus.ids.tolist() == [2, 3, 1, 3, 1]
        assert (corpus.num_skipped, corpus.num_replaced, corpus.num_empty_lines) == (2, 0, 1)
        assert corpus.num_characters == corpus.num_bytes == len("the cat\n\ncat\n")
    corpus = Corpus.encode(path, VOCABULARY, errors="replace")
    assert corpus.ids.tolist() == [2, 3, 1, 2, 0, 3, 1, 0, 1, 3, 1]
    assert (corpus.num_skipped, corpus.num_replaced) == (0, 3)
    read = "the cat\nthe \ufffd\ufffd cat\n\nthe\ufffd\ncat\n"
    assert (corpus.num_characters, corpus.num_bytes) == (len(read), len(read.encode()))


def test_an_error_names_the_right_line_behind_skipped_ones() -> None:
    with pytest.raises(DataError, match="text, line 4: the text holds a literal"):
        Corpus.encode(["a", "b\0", "c", "<s>"], VOCABULARY, errors="skip")


def test_a_line_of_a_million_tokens(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat dog " * 400_000)
    for target in (None, tmp_path / "text.corpus"):
        corpus = Corpus.encode(path, VOCABULARY, path=target)
        assert corpus.num_tokens == 1_200_001
        assert np.array_equal(corpus.ids[:-1].reshape(-1, 3), np.tile([2, 3, 0], (400_000, 1)))
        assert (corpus.num_sentences, corpus.ids[-1]) == (1, 1)


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    def text(size: int) -> Iterator[str]:
        return ("the cat sat on the mat, and the dog did not" for _ in range(size))

    peaks = []
    for size in (50_000, 500_000):
        tracemalloc.start()
        Corpus.encode(text(size), VOCABULARY, path=tmp_path / "text.corpus")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_large_vocabulary_needs_wider_ids() -> None:
    for size, dtype in ((65_536, np.uint16), (65_537, np.int32)):
        vocabulary = Vocabulary([f"w{number}" for number in range(size - 2)])
        corpus = Corpus.encode([f"w{size - 3} w0"], vocabulary)
        assert corpus.ids.tolist() == [size - 1, 2, 1]
        assert corpus.ids.dtype == Corpus.from_ids([2], vocabulary).ids.dtype == dtype


def test_a_text_without_words_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "text.corpus"
    path.write_text("the old file")
    for target in (None, path):
        for text in ([], ["", "  "]):
            with pytest.raises(DataError, match=f"text: no word in {len(text)} lines"):
                Corpus.encode(text, VOCABULARY, path=target)
    with pytest.raises(DataError, match="line 2"):
        Corpus.encode(["the", "</s>"], VOCABULARY, path=path)
    assert path.read_text() == "the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_the_text_itself_is_not_overwritten(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat\n")
    (tmp_path / "link").symlink_to(text)
    for path in (text, tmp_path / "link"):
        with pytest.raises(ValueError, match="is the text itself, which would be overwritten"):
            Corpus.encode(text, VOCABULARY, path=path)
    assert text.read_text() == "the cat\n"


def test_a_vocabulary_that_is_none(tmp_path: Path) -> None:
    for make in (
        lambda words: Corpus.encode(["the cat"], words),
        lambda words: Corpus.from_ids([1], words),
        lambda words: Corpus.open(tmp_path / "corpus", words),
    ):
        with pytest.raises(ValueError, match="vocabulary is a list, expected a Vocabulary"):
            make(["the", "cat"])


def test_from_ids() -> None:
    corpus = Corpus.from_ids([2, 0, 1, 3], VOCABULARY)
    assert (corpus.num_tokens, corpus.num_sentences, corpus.num_unknown) == (4, 2, 1)
    assert (corpus.num_characters, corpus.num_bytes, corpus.num_empty_lines) == (None, None, 0)
    assert corpus.sentence_bounds().tolist() == [3, 4]
    with pytest.raises(DataError, match="no ids"):
        Corpus.from_ids([], VOCABULARY)
    for bad in (-1, 5, 2**40):
        with pytest.raises(ValueError, match=rf"ids\[2\] is {bad}: expected 0 to 4"):
            Corpus.from_ids([2, 3, bad], VOCABULARY)
    for bad_ids in ([[1, 2]], [0.5], ["the"], [True], 3):
        with pytest.raises(ValueError, match="expected one dimension of integers"):
            Corpus.from_ids(bad_ids, VOCABULARY)


def test_from_ids_copies_what_could_change() -> None:
    ids = np.array([2, 3, 1], dtype=np.uint16)
    corpus = Corpus.from_ids(ids, VOCABULARY)
    ids[0] = 60_000
    assert corpus.ids.tolist() == [2, 3, 1]
    ids = np.array([2, 3, 1], dtype=np.uint16)
    ids.flags.writeable = False
    assert np.shares_memory(Corpus.from_ids(ids, VOCABULARY).ids, ids)
    assert Corpus.from_ids(np.array([2, 9, 3, 9, 1])[::2], VOCABULARY).ids.flags.c_contiguous


def test_from_ids_is_saved_without_a_text(tmp_path: Path) -> None:
    Corpus.from_ids([2, 0, 1, 3], VOCABULARY).save(tmp_path / "ids.corpus")
    corpus = Corpus.open(tmp_path / "ids.corpus", VOCABULARY)
    assert corpus.ids.tolist() == [2, 0, 1, 3]
    assert (corpus.num_sentences, corpus.num_characters, corpus.num_bytes) == (2, None, None)


def test_open_refuses_other_files(tmp_path: Path) -> None:
    path = tmp_path / "text.corpus"
    Corpus.from_ids([2, 3, 1], VOCABULARY).save(path)
    with pytest.raises(DataError, match="was encoded with another vocabulary or tokenizer"):
        Corpus.open(path, Vocabulary(["the", "cat"]))
    with pytest.raises(DataError, match="was encoded with another vocabulary or tokenizer"):
        Corpus.open(path, Vocabulary(list(VOCABULARY.words[2:]), tokenizer="word"))
    with pytest.raises(FileError):
        Corpus.open(tmp_path / "nothing.corpus", VOCABULARY)
    good = read_tensors(path)
    metadata, ids = dict(good.metadata), np.array(good.tensors["ids"])
    for change, tensors, problem in [
        ({"format": "fastlm-model"}, {"ids": ids}, "its format is 'fastlm-model', expected 'fastlm-corpus'"),
        ({"version": "3"}, {"ids": ids}, "version '3' of the format, this fastlm reads versions up to 2; install a"),
        ({"version": "x"}, {"ids": ids}, "version 'x' of the format"),
        ({"num_sentences": "many"}, {"ids": ids}, "is damaged"),
        ({"num_unknown": ""}, {"ids": ids}, "is damaged"),
        ({}, {"ids": ids[None]}, "is damaged"),
        ({}, {"ids": ids[:0]}, "is damaged"),
        ({}, {"ids": ids.astype(np.int32)}, "is damaged"),
        ({}, {"ids": ids + np.uint16(2)}, "is damaged"),  # out of range
        ({}, {"words": ids}, "is damaged"),
    ]:
        write_tensors(path, metadata | change, tensors)
        with pytest.raises(ModelFileError, match=problem):
            Corpus.open(path, VOCABULARY)
    words = {name: array for name, array in good.tensors.items() if name != "ids"}
    for change, tensors, problem in [
        ({}, {"ids": ids}, "expected the arrays vocabulary.bytes and vocabulary.ends"),
        ({"tokenizer": "none"}, words | {"ids": ids}, "tokenizer is not JSON"),
        ({"tokenizer": '{"kind": "char"}'}, words | {"ids": ids}, "another vocabulary or tokenizer"),
    ]:
        write_tensors(path, metadata | change, tensors)
        with pytest.raises((ModelFileError, DataError), match=problem):
            Corpus.open(path)
    path.write_bytes(b"not a container at all")
    with pytest.raises(ModelFileError):
        Corpus.open(path, VOCABULARY)
