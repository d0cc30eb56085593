import numpy as np
import pytest
from tiny_model import TinyModel

from fastlm.inference.similarity import analogy, similar
from fastlm.text.tokenizer import make_tokenizer


@pytest.fixture
def model():
    return TinyModel()


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_neighbours_by_cosine(model):
    neighbours = similar(model, "cat", k=100)
    table = model.embeddings.astype(np.float64)
    words = model.vocabulary.words
    expected = {word: cosine(table[3], table[id]) for id, word in enumerate(words) if word not in (*words[:2], "cat")}
    assert [neighbour.word for neighbour in neighbours] == sorted(expected, key=expected.get, reverse=True)
    assert [n.similarity for n in neighbours] == pytest.approx([expected[n.word] for n in neighbours], abs=1e-5)
    assert similar(model, "cat", k=2) == neighbours[:2]


def test_length_does_not_matter(model):
    model.embeddings[4] = 100 * model.embeddings[3]
    best = similar(model, "cat", k=1)[0]
    assert best.word == "sat"
    assert best.similarity == pytest.approx(1)
    assert best.similarity <= 1


def test_rows_of_zeros(model):
    model.embeddings[5] = 0
    assert "on" not in {neighbour.word for neighbour in similar(model, "cat", k=100)}
    with pytest.raises(ValueError, match="'on' is all zeros"):
        similar(model, "on")


def test_an_unknown_word_gets_suggestions(model):
    with pytest.raises(ValueError, match="'catt' is not in the model's vocabulary; did you mean 'cat'"):
        similar(model, "catt")
    with pytest.raises(ValueError, match="did you mean 'the'"):
        similar(model, "THE")
    with pytest.raises(ValueError, match=r"'고양' is not .* did you mean '고양이'"):
        similar(model, "고양")
    with pytest.raises(ValueError, match="'xylophone' is not in the model's vocabulary; give a word"):
        similar(model, "xylophone")


def test_the_tokenizer_may_change_the_form_of_a_word():
    model = TinyModel(tokenizer=make_tokenizer("word", lower_case=True))
    assert similar(model, "CAT") == similar(model, "cat")
    assert similar(model, "\u1100\u1169\u110b\u1163\u11bc\u110b\u1175") == similar(model, "고양이")


@pytest.mark.parametrize("word", ["<unk>", "</s>", "<s>", "", "the cat"])
def test_what_is_no_word(model, word):
    with pytest.raises(ValueError, match=r"special token|not in the model's vocabulary"):
        similar(model, word)


@pytest.mark.parametrize("k", [0, 1.5])
def test_k_is_checked(model, k):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        similar(model, "cat", k)


@pytest.mark.parametrize("word", [None, 3, b"cat"])
def test_what_is_no_text(model, word):
    with pytest.raises(ValueError, match=f"as a str, got {type(word).__name__}"):
        similar(model, word)


def test_an_analogy_is_the_neighbourhood_of_a_sum(model):
    table = model.embeddings.astype(np.float64)
    table /= np.sqrt((table * table).sum(axis=1))[:, np.newaxis]
    the, cat, sat = (model.vocabulary[word] for word in ("the", "cat", "sat"))
    query = table[cat] - table[the] + table[sat]
    words = [word for word in model.vocabulary.words[2:] if word not in ("the", "cat", "sat")]
    expected = {word: cosine(query, table[model.vocabulary[word]]) for word in words}
    answers = analogy(model, "the", "cat", "sat")
    assert [answer.word for answer in answers] == sorted(expected, key=expected.get, reverse=True)
    assert [answer.similarity for answer in answers] == pytest.approx([expected[a.word] for a in answers], abs=1e-5)
    assert analogy(model, "the", "cat", "sat", k=2) == answers[:2]


def test_an_analogy_by_rule():
    model = TinyModel()
    random = np.random.default_rng(2)
    step = random.normal(size=5)
    for word, other in (("cat", "mat"), ("the", "on")):
        row = random.normal(size=5)
        model.embeddings[model.vocabulary[word]] = row / np.sqrt(row @ row)
        model.embeddings[model.vocabulary[other]] = model.embeddings[model.vocabulary[word]] + 0.1 * step
    assert analogy(model, "cat", "mat", "the", k=1)[0].word == "on"


def test_an_analogy_of_words_that_are_not_there(model):
    for words in (("cats", "cat", "the"), ("cat", "cats", "the"), ("cat", "the", "</s>")):
        with pytest.raises(ValueError, match=r"not in the model's vocabulary|special token"):
            analogy(model, *words)
    model.embeddings[model.vocabulary["sat"]] = 0
    with pytest.raises(ValueError, match="'sat' is all zeros"):
        analogy(model, "the", "cat", "sat")
