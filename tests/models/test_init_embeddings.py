"""Models that begin with word vectors from elsewhere."""

import numpy as np
import pytest

import fastlm
from fastlm.text.subwords import build_vocabulary
from fastlm.text.word2vec import read_word2vec, write_word2vec

VOCABULARY = fastlm.Vocabulary(["the", "cat", "sat", "고양이"])
RANDOM = np.random.default_rng(0)
WORDS = ["dog", "cat", "</s>", "고양이", "cat"]
VECTORS = RANDOM.normal(scale=0.4, size=(5, 6)).astype(np.float32)
MODELS = {
    "nnlm": lambda vocabulary: fastlm.NNLM(vocabulary, embedding_dim=6, hidden_size=4),
    "rnnlm": lambda vocabulary: fastlm.RNNLM(vocabulary, embedding_dim=6, hidden_size=4, dtype="float64"),
    "tied": lambda vocabulary: fastlm.RNNLM(vocabulary, embedding_dim=6, hidden_size=4, tied=True),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_found_is_taken_and_the_rest_stays_random(kind):
    model, random = MODELS[kind](VOCABULARY), MODELS[kind](VOCABULARY).embeddings
    assert model.init_embeddings(WORDS, VECTORS) == 3
    ids = [VOCABULARY[word] for word in ("cat", "</s>", "고양이")]
    assert np.array_equal(model.embeddings[ids], VECTORS[1:4])
    others = np.delete(np.arange(len(VOCABULARY) + 1), ids)
    factors = model.embeddings[others] / random[others]
    assert factors == pytest.approx(VECTORS[1:4].std() / random.std(), rel=1e-5)
    corpus = fastlm.Corpus.encode(["the cat sat", "고양이 sat"] * 10, VOCABULARY)
    before = model.evaluate(corpus, threads=1).loss
    fastlm.Trainer(model, threads=1).fit(corpus, corpus, epochs=3)
    assert model.evaluate(corpus, threads=1).loss < before
    assert not np.array_equal(model.embeddings[ids], VECTORS[1:4])  # they are learned further


def test_a_model_of_a_file(tmp_path):
    model = MODELS["nnlm"](VOCABULARY)
    model.save(tmp_path / "model.fastlm")
    opened = fastlm.load(tmp_path / "model.fastlm")
    assert opened.init_embeddings(WORDS, VECTORS) == 3
    assert np.array_equal(opened.embeddings[VOCABULARY["cat"]], VECTORS[1])
    assert np.array_equal(fastlm.load(tmp_path / "model.fastlm").embeddings, model.embeddings)


@pytest.mark.parametrize("binary", [False, True])
def test_what_a_model_has_written_another_begins_with(tmp_path, binary):
    model, other = MODELS["nnlm"](VOCABULARY), MODELS["tied"](VOCABULARY)
    model.write_word2vec(tmp_path / "vectors", binary=binary)
    assert other.init_embeddings(*read_word2vec(tmp_path / "vectors", other.vocabulary)) == len(VOCABULARY)
    assert np.array_equal(other.embeddings[:-1], model.embeddings[:-1])


def test_subwords_that_are_words_take_their_vectors(tmp_path):
    vocabulary = build_vocabulary(["low lower", "new newer", "slow slower"] * 3, vocab_size=22, tokenizer="subword")
    write_word2vec(tmp_path / "vectors", ["low", "er", "none"], VECTORS[:3])
    model = MODELS["tied"](vocabulary)
    table = read_word2vec(tmp_path / "vectors", vocabulary)
    assert model.init_embeddings(*table) == 1  # "er" in the table is a word, in the vocabulary the end of one
    assert np.array_equal(model.embeddings[vocabulary["▁low"]], VECTORS[0])


@pytest.mark.parametrize(
    ("words", "vectors", "message"),
    [
        (WORDS, VECTORS[:, :5], r"shape \(5, 5\), expected \(5, 6\), as the model's embedding_dim is 6"),
        (WORDS[1:], VECTORS, r"got 4 words and vectors of shape \(5, 6\)"),
        (["chat", "chien"], VECTORS[:2], "none of the table's 2 words is in the model's vocabulary"),
        (WORDS, 0 * VECTORS, "standard deviation of the vectors is 0"),
        (WORDS, VECTORS * np.inf, "standard deviation of the vectors is nan"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_wrong_tables(words, vectors, message):
    model = MODELS["nnlm"](VOCABULARY)
    before = model.embeddings.copy()
    with pytest.raises(ValueError, match=message):
        model.init_embeddings(words, vectors)
    assert np.array_equal(model.embeddings, before)
