"""Vocabularies: what is kept, in which order, and how it is stored."""

import collections
import copy
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import DataError, FileError, ModelFileError
from fastlm.text.tokenizer import make_tokenizer
from fastlm.text.vocabulary import Vocabulary

ROSES = ["a rose is a rose", "", "is it a <unk> rose", "장미"]

tokens = st.sampled_from(["a", "b", "é", "가", "가나다라마바사", "<unk>", "B", "aa", "a-rather-long-word"])
texts = st.lists(st.lists(tokens, max_size=6), min_size=1, max_size=10).filter(any)


def reference(lines: list[list[str]], max_size: int | None, min_count: int) -> list[tuple[str, int]]:
    """All words of the vocabulary with their counts."""
    counts = collections.Counter(token for line in lines for token in line if token != "<unk>")
    kept = [item for item in counts.items() if item[1] >= min_count]
    kept.sort(key=lambda item: (-item[1], item[0].encode()))
    kept = kept if max_size is None else kept[: max_size - 2]
    unknown = sum(map(len, lines)) - sum(count for _, count in kept)
    return [("<unk>", unknown), ("</s>", sum(map(bool, lines))), *kept]


@given(texts, st.none() | st.integers(3, 9), st.integers(1, 3), st.sampled_from(["whitespace", "word"]))
def test_the_most_frequent_words_are_kept(
    lines: list[list[str]], max_size: int | None, min_count: int, tokenizer: str
) -> None:
    text = [" ".join(line) for line in lines]
    expected = reference(lines, max_size, min_count)
    if len(expected) == 2:
        with pytest.raises(DataError, match=rf"no word occurs {min_count} times"):
            Vocabulary.build(text, max_size=max_size, min_count=min_count, tokenizer=tokenizer)
        return
    vocabulary = Vocabulary.build(text, max_size=max_size, min_count=min_count, tokenizer=tokenizer)
    assert vocabulary.counts is not None
    assert list(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)) == expected
    assert len(vocabulary) == len(expected)
    encoded = [0 if token not in vocabulary.words else vocabulary.words.index(token) for token in lines[0]]
    assert vocabulary.encode(text[0]).tolist() == encoded


def test_any_source_gives_the_same_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(ROSES), encoding="utf-8")

    def generator() -> Iterator[str]:
        yield from (line + "\n" for line in ROSES)

    vocabularies = [Vocabulary.build(source) for source in (path, str(path), ROSES, generator(), tuple(ROSES))]
    assert len({vocabulary.fingerprint() for vocabulary in vocabularies}) == 1
    assert vocabularies[0].words == ("<unk>", "</s>", "a", "rose", "is", "it", "장미")
    assert vocabularies[0].counts is not None
    assert vocabularies[0].counts.tolist() == [1, 3, 3, 3, 2, 1, 1]


def test_build_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    for text in ([], ["", " \t"]):
        with pytest.raises(DataError, match=f"text: no word in {len(text)} lines; expected text"):
            Vocabulary.build(text)
    for size in (2, 4.0, "5", True):
        with pytest.raises(ValueError, match=f"max_size={size!r}: expected a whole number of at least 3, because"):
            Vocabulary.build(ROSES, max_size=size)  # type: ignore[arg-type]
    for count in (0, 1.5, "2", None, True):
        with pytest.raises(ValueError, match=f"min_count={count!r}: expected a whole number of at least 1"):
            Vocabulary.build(ROSES, min_count=count)  # type: ignore[arg-type]
    assert len(Vocabulary.build(ROSES, max_size=np.int64(4), min_count=np.uint8(1))) == 4
    with pytest.raises(ValueError, match="only 'word' changes case"):
        Vocabulary.build(ROSES, lower_case=True)
    with pytest.raises(FileError):
        Vocabulary.build(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="text, line 2: the text holds a literal <s> or </s>"):
        Vocabulary.build(["a", "b </s>"])
    with pytest.raises(DataError, match="text, line 1: a NUL byte"):
        Vocabulary.build(["a\0"])
    assert Vocabulary.build(["a\0 b"], errors="replace").words[2:] == ("a\ufffd", "b")


def test_lower_case_and_other_tokenizers() -> None:
    vocabulary = Vocabulary.build(["The end.", "THE END!"], tokenizer="word", lower_case=True)
    assert vocabulary.words[2:] == ("end", "the", "!", ".")
    assert vocabulary.encode("The END?").tolist() == [3, 2, 0]
    assert vocabulary.decode([3, 2, 5]) == "the end."
    pairs = Vocabulary.build(["a b,c", "c"], tokenizer=lambda line: line.split(","))
    assert pairs.words[2:] == ("c", "a b")
    characters = Vocabulary.build(["한국 한"], tokenizer="char")
    assert characters.words[2:] == ("한", "▁", "국")
    assert characters.decode(characters.encode("국 한")) == "국 한"


def test_ids() -> None:
    vocabulary = Vocabulary(["the", "고양이", "a-rather-long-word"], tokenizer="whitespace")
    assert (vocabulary.unknown_id, vocabulary.end_id, vocabulary.start_id) == (0, 1, 5)
    for id, word in enumerate(["<unk>", "</s>", "the", "고양이", "a-rather-long-word"]):
        assert vocabulary.words[id] == vocabulary.word(id) == word
        assert vocabulary[word] == id
        assert word in vocabulary
    assert vocabulary["cat"] == 0
    assert "cat" not in vocabulary
    assert 3 not in vocabulary
    assert (vocabulary["<s>"], vocabulary.word(5)) == (5, "<s>")
    assert "<s>" not in vocabulary  # it is never predicted
    for number in (-1, 6, 2.0, "2", None, True):
        with pytest.raises(ValueError, match=f"id {number!r}: expected a whole number from 0 to 5"):
            vocabulary.word(number)  # type: ignore[arg-type]
    assert vocabulary.counts is None


def test_encode_takes_one_line() -> None:
    vocabulary = Vocabulary(["the", "cat"])
    ids = vocabulary.encode("the\tdog <unk>  cat\r\n")
    assert ids.tolist() == [2, 0, 0, 3]
    assert ids.dtype == np.int32
    assert vocabulary.encode("").tolist() == []
    with pytest.raises(ValueError, match="got 2 lines of text, expected one"):
        vocabulary.encode("the\ncat")
    with pytest.raises(ValueError, match="expected a line of text as a str, got bytes"):
        vocabulary.encode(b"the cat")  # type: ignore[arg-type]
    for text in ("the <s>", "</s>"):
        with pytest.raises(DataError, match="a literal <s> or </s>"):
            vocabulary.encode(text)
    for text in ("the\0", "\ud800"):
        with pytest.raises(DataError, match="NUL or a lone surrogate"):
            vocabulary.encode(text)


def test_decode() -> None:
    vocabulary = Vocabulary(["the", "cat"])
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode([4, 2, 3, 1]) == "the cat"
    assert vocabulary.decode(np.array([2, 1, 0, 3, 1], dtype=np.uint16)) == "the\n<unk> cat"
    with pytest.raises(ValueError, match="id 5: expected a whole number from 0 to 4"):
        vocabulary.decode([5])


@pytest.mark.parametrize("counts", [None, [7, 5, 3, 2]])
def test_a_vocabulary_is_kept_as_text_arrays_and_pickle(tmp_path: Path, counts: list[int] | None) -> None:
    vocabulary = Vocabulary(["the", "고양이"], counts, tokenizer="word")
    vocabulary.write(tmp_path / "words.txt")
    ending = ["", "", "", ""] if counts is None else [f"\t{count}" for count in counts]
    words = ["<unk>", "</s>", "the", "고양이"]
    lines = [word + end for word, end in zip(words, ending, strict=True)]
    assert (tmp_path / "words.txt").read_text(encoding="utf-8").splitlines() == lines
    arrays = {name: np.array(array) for name, array in vocabulary.to_arrays().items()}
    assert ("vocabulary.counts" in arrays) == (counts is not None)
    for again in (
        Vocabulary.read(tmp_path / "words.txt", tokenizer="word"),
        Vocabulary.from_arrays(arrays, vocabulary.tokenizer),
        pickle.loads(pickle.dumps(vocabulary)),
        copy.deepcopy(vocabulary),
        copy.copy(vocabulary),
    ):
        assert again == vocabulary
        assert hash(again) == hash(vocabulary)
        assert again.words == tuple(words)
        assert again.tokenizer == vocabulary.tokenizer
        assert again.counts is None if counts is None else again.counts.tolist() == counts
        assert again.encode("the dog").tolist() == [2, 0]


def test_a_plain_list_of_words_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("the\n</s>\ncat\n<s>\n", encoding="utf-8")
    assert Vocabulary.read(str(path)).words == ("<unk>", "</s>", "the", "cat")
    path.write_text("the\t3\n</s>\t2\ncat\t0\n", encoding="utf-8")
    counts = Vocabulary.read(path).counts
    assert counts is not None
    assert counts.tolist() == [0, 2, 3, 0]
    for text in ("", "<unk>\n</s>\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="no word in it"):
            Vocabulary.read(path)


def test_equal_is_what_gives_equal_ids() -> None:
    vocabulary = Vocabulary(["a", "b"], [1, 2, 3, 4])
    assert vocabulary == Vocabulary(["a", "b"])
    assert vocabulary.fingerprint() == Vocabulary(["a", "b"]).fingerprint()
    for other in (Vocabulary(["b", "a"]), Vocabulary(["ab"]), Vocabulary(["a", "b"], tokenizer="word"), "a"):
        assert vocabulary != other
    # Stored in corpus files: it must never change.
    assert vocabulary.fingerprint() == "24bf687506137ea470ef8bb3429d8d16300f4293a0c0d80614271cf15d2e2a03"


def test_wrong_counts_and_words() -> None:
    for counts in ([1, 2], [1, 2, 3, -4], [1.0, 2.0, 3.0, 4.0], [[1, 2, 3, 4]]):
        with pytest.raises(ValueError, match=r"counts of shape .* expected 4 integers"):
            Vocabulary(["a", "b"], counts)
    with pytest.raises(ValueError, match=r"words\[1\] is 'a b': a blank inside"):
        Vocabulary(["a", "a b"])


def test_a_vocabulary_does_not_change() -> None:
    counts = np.array([1, 2, 3])
    vocabulary = Vocabulary(["a"], counts)
    counts[:] = 9
    assert vocabulary.counts is not None
    assert vocabulary.counts.tolist() == [1, 2, 3]
    for array in vocabulary.to_arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        vocabulary.counts = None  # type: ignore[misc]


def test_damaged_arrays() -> None:
    arrays = Vocabulary(["a", "bc"], [1, 2, 3, 4]).to_arrays()
    data, ends, counts = arrays.values()
    whitespace = make_tokenizer("whitespace")
    for bad in (
        {"vocabulary.bytes": data},
        arrays | {"vocabulary.ends": ends[:-1]},
        arrays | {"vocabulary.counts": counts[:-1]},
        arrays | {"vocabulary.counts": -counts},
        arrays | {"vocabulary.counts": counts.astype(np.float64)},
    ):
        with pytest.raises(ModelFileError, match="damaged vocabulary"):
            Vocabulary.from_arrays(bad, whitespace)
    twice = Vocabulary.from_arrays(Vocabulary(["ab", "cd"]).to_arrays(), whitespace).to_arrays()
    twice["vocabulary.bytes"] = np.frombuffer(b"<unk></s>abab", dtype=np.uint8)
    with pytest.raises(ModelFileError, match="'ab' is there twice"):
        Vocabulary.from_arrays(twice, whitespace).encode("ab")
    twice["vocabulary.bytes"] = np.frombuffer(b"<unk></s>ab\xffb", dtype=np.uint8)
    with pytest.raises(ModelFileError, match="is not UTF-8"):
        len(Vocabulary.from_arrays(twice, whitespace).words)


def test_threads_share_a_vocabulary() -> None:
    built = Vocabulary([f"w{number}" for number in range(5000)])
    vocabulary = Vocabulary.from_arrays(built.to_arrays(), built.tokenizer)  # nothing is made yet
    text = " ".join(f"w{number}" for number in range(0, 10_000, 7))
    expected = built.encode(text)
    results: list[bool] = []

    def work() -> None:
        results.append(np.array_equal(vocabulary.encode(text), expected) and vocabulary.words == built.words)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
