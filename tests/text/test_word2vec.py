"""Word vectors as word2vec writes them, read by a few lines written from its description, and by the reader."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.errors import DataError
from fastlm.text.word2vec import match, read_word2vec, write_word2vec

WORDS = ["<unk>", "the", "고양이", "a\u00a0b", "ß"]
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


@pytest.mark.parametrize("word", ["a b", "", "a\n", " ", "a\tb", "\v"])
def test_words_that_have_no_place(tmp_path, word):
    with pytest.raises(DataError, match="cannot hold it"):
        write_word2vec(tmp_path / "vectors", [word, *WORDS[1:]], VECTORS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("binary", [False, True])
def test_blanks_that_are_not_of_ascii_are_letters(tmp_path, binary):
    words = ["a\u00a0b", "\u3000", "\u0085", "\u00a0", "\u2028the"]
    write_word2vec(tmp_path / "vectors", words, VECTORS, binary=binary)
    found = read_word2vec(tmp_path / "vectors", fastlm.Vocabulary(words))
    assert found.words == words
    assert found.vectors.tobytes() == VECTORS.tobytes()


def test_as_many_rows_as_words(tmp_path):
    with pytest.raises(ValueError, match="got 4 words and vectors of shape"):
        write_word2vec(tmp_path / "vectors", WORDS[1:], VECTORS)


WORDS_OF_ANY_LETTERS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters=" "), min_size=1, max_size=4),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(WORDS_OF_ANY_LETTERS, st.integers(2, 4), st.integers(0, 1000), st.booleans(), st.booleans())
def test_the_reader_gives_back_what_was_written(tmp_path_factory, words, size, seed, binary, compressed):
    table = np.random.default_rng(seed).integers(0, 1 << 32, (len(words), size), np.uint32).view(np.float32)
    table[~np.isfinite(table)] = -0.0
    path = tmp_path_factory.getbasetemp() / ("vectors.gz" if compressed else "vectors")
    write_word2vec(path, words, table, binary=binary)
    assert path.read_bytes().startswith(gzip.compress(b"")[:2]) == compressed
    found = read_word2vec(path)
    assert found.words == words
    assert found.vectors.tobytes() == table.tobytes()


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"2 2\n" + data))
def test_any_bytes_are_vectors_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "vectors"
    path.write_bytes(data)
    try:
        words, vectors = read_word2vec(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert len(set(words)) == len(words) == len(vectors)
        assert np.isfinite(vectors).all()


def test_forms_that_others_write(tmp_path):
    rows = list(zip([word.encode() for word in WORDS], VECTORS, strict=True))
    as_text = [word + b" " + " ".join(map(str, row)).encode() for word, row in rows]
    as_bytes = [word + b" " + struct.pack("<3f", *row) for word, row in rows]
    files = {
        "word2vec's C program": b"5 3\n" + b"".join(row + b" \n" for row in as_text),
        "on Windows": b"5 3\r\n" + b"\r\n".join(as_text),
        "gensim, binary": b"5 3\n" + b"".join(as_bytes),
        "GloVe": b"\n".join([*as_text, b"at name@domain.com 1 2 3", b". . 4 5 6"]),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        words, vectors = read_word2vec(tmp_path / name, fastlm.Vocabulary([*WORDS[1:], "at"]))
        assert (name, words, vectors.tobytes()) == (name, WORDS, VECTORS.tobytes())
    assert read_word2vec(tmp_path / "GloVe").words[5:] == ["at name@domain.com", ". ."]


def test_gensim_reads_and_writes_the_same(tmp_path):
    gensim = pytest.importorskip("gensim")
    for binary in (False, True):
        write_word2vec(tmp_path / "ours", WORDS, VECTORS, binary=binary)
        theirs = gensim.models.KeyedVectors.load_word2vec_format(tmp_path / "ours", binary=binary)
        assert theirs.index_to_key == WORDS
        assert theirs.vectors.tobytes() == VECTORS.tobytes()
        theirs.save_word2vec_format(tmp_path / "theirs", binary=binary)
        words, vectors = read_word2vec(tmp_path / "theirs")
        assert words == WORDS
        assert vectors == pytest.approx(VECTORS, rel=1e-6)


def test_what_is_kept(tmp_path):
    write_word2vec(tmp_path / "vectors", WORDS, VECTORS, binary=True)
    words, vectors = read_word2vec(tmp_path / "vectors", fastlm.Vocabulary(["ß", "cat", "the"]))
    assert words == ["<unk>", "the", "ß"]
    assert vectors.tolist() == VECTORS[[0, 1, 4]].tolist()
    (tmp_path / "text").write_bytes(b"3 1\n\xff 1\nthe 2\nthe 3\n")  # what is not UTF-8, and a word that is there twice
    assert read_word2vec(tmp_path / "text").vectors.tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with b'', which no file of word vectors does"),
        (b"the cat sat on the mat\n", "which no file of word vectors does"),
        (b"2 0\nthe\ncat\n", "which no file of word vectors does"),
        (b"3 2\nthe 1 2\ncat 3 4\n", "2 words with 2 numbers each are in it, but its first line says 3"),
        (b"1 2\nthe 1 2\ncat 3 4\n", "2 words with 2 numbers each are in it, but its first line says 1"),
        (b"2 2\nthe 1 2\ncat 3\n", "word 2, 'cat': 1 numbers; expected 2 numbers"),
        (b"2 2\nthe 1 2\ncat 3 4 5\n", "word 2, 'cat': 3 numbers; expected 2 numbers"),
        (b"2 2\nthe 1 2\ncat 3 x\n", "word 2, 'cat': could not convert string to float"),
        (b"2 2\nthe 1 2\ncat 3 nan\n", "word 2, 'cat': nan among its numbers"),
        (b"2 2\nthe 1 2\ncat 3 1e39\n", "word 2, 'cat': inf among its numbers"),
        (b"the 1 2\ncat 3\n", "word 2, 'cat': 1 numbers"),
        (b"1 2\nthe " + struct.pack("<2f", 1, np.inf), "word 1, 'the': inf among its numbers"),
        (b"2 2\nthe " + struct.pack("<2f", 1, 2) + b"\ncat \0\0", "1 words with 2 numbers each"),
    ],
)
def test_damaged_files(tmp_path, data, message):
    (tmp_path / "vectors").write_bytes(data)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_word2vec(tmp_path / "vectors")


def test_any_cut_of_a_binary_file_is_noticed(tmp_path):
    write_word2vec(tmp_path / "vectors", WORDS, VECTORS, binary=True)
    data = (tmp_path / "vectors").read_bytes()
    for size in range(len(data) - 1):  # what follows the last number is a line end
        (tmp_path / "vectors").write_bytes(data[:size])
        with pytest.raises(DataError):
            read_word2vec(tmp_path / "vectors")


def test_pieces_of_words_find_whole_words():
    vocabulary = fastlm.Vocabulary(["▁the", "▁c", "at", "▁", "▁dog"])
    ids, rows = match(["at", "dog", "the", "</s>", "dog"], vocabulary)
    assert dict(zip(ids.tolist(), rows.tolist(), strict=True)) == {1: 3, vocabulary["▁the"]: 2, vocabulary["▁dog"]: 1}
    ids, rows = match(["at", "dog", "▁the", "<s>"], vocabulary)  # a table of pieces
    assert dict(zip(ids.tolist(), rows.tolist(), strict=True)) == {
        vocabulary["at"]: 0,
        vocabulary["▁the"]: 2,
        vocabulary.start_id: 3,
    }


def test_a_word_of_no_letters_is_no_piece(tmp_path):
    vocabulary = fastlm.Vocabulary(["▁the", "▁c", "at", "▁"])
    (tmp_path / "vectors").write_bytes(b"2 1\n " + struct.pack("<f", 1) + b"the " + struct.pack("<f", 2))
    assert read_word2vec(tmp_path / "vectors").words == ["", "the"]
    assert read_word2vec(tmp_path / "vectors", vocabulary).words == ["the"]
    ids, rows = match(["", "the"], vocabulary)
    assert (ids.tolist(), rows.tolist()) == ([vocabulary["▁the"]], [1])
