"""Word vectors as word2vec writes them, read by a few lines written from its description."""

import numpy as np
import pytest

from fastlm.errors import DataError
from fastlm.text.word2vec import write_word2vec

WORDS = ["<unk>", "the", "고양이", "a_b", "ß"]
VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def read_text(path):
    header, *lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    rows = [line.split(" ") for line in lines]
    return [int(number) for number in header.split()], [row[0] for row in rows], np.array(
        [[float(number) for number in row[1:]] for row in rows]
    ).astype(np.float32)  # fmt: skip


def read_binary(path):
    data = path.read_bytes()
    header, _, data = data.partition(b"\n")
    num_words, size = map(int, header.split())
    words, rows = [], []
    for _ in range(num_words):
        word, _, data = data.partition(b" ")
        words.append(word.decode())
        rows.append(np.frombuffer(data[: 4 * size], "<f4"))
        assert data[4 * size : 4 * size + 1] == b"\n"
        data = data[4 * size + 1 :]
    assert data == b""
    return [num_words, size], words, np.array(rows)


@pytest.mark.parametrize(("binary", "read"), [(False, read_text), (True, read_binary)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_come_back_bit_by_bit(tmp_path, binary, read, dtype):
    write_word2vec(tmp_path / "vectors", WORDS, VECTORS.astype(dtype), binary=binary)
    header, words, vectors = read(tmp_path / "vectors")
    assert header == [5, 3]
    assert words == WORDS
    assert vectors.tobytes() == VECTORS.tobytes()


@pytest.mark.parametrize("word", ["a b", "", "a\n", "\u3000", "a\tb"])
def test_words_that_have_no_place(tmp_path, word):
    with pytest.raises(DataError, match="cannot hold it"):
        write_word2vec(tmp_path / "vectors", [word, *WORDS[1:]], VECTORS)
    assert not list(tmp_path.iterdir())


def test_as_many_rows_as_words(tmp_path):
    with pytest.raises(ValueError, match="got 4 words and vectors of shape"):
        write_word2vec(tmp_path / "vectors", WORDS[1:], VECTORS)
