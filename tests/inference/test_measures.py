"""Surprisal, entropy and rank of every token, against their definitions."""

import gzip

import numpy as np
import pytest
from composed_models import MODELS
from tiny_model import WORDS, TinyModel

from fastlm.errors import DataError, FastLMError
from fastlm.inference import measures
from fastlm.inference.measures import DISTRIBUTION, TOKEN, measure_batches, measure_tokens
from fastlm.models import NNLM, RNNLM
from fastlm.text.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "the dog\tsat", "", "   ", "나는 고양이", "mat"] * 3


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def distributions(model):
    """Yield what stands before each token, and the token's id, by the definition."""
    state = model.start()
    for line in LINES:
        if line.split():
            for word in [*line.split(), "</s>"]:
                id = model.vocabulary[word]
                yield model.log_probs(state), id
                state = model.advance(state, id)
            if model.context == "sentence":
                state = model.start()


def assert_measured(table, model):
    log_probs, ids = (np.array(column) for column in zip(*distributions(model), strict=True))
    assert table.dtype == DISTRIBUTION
    assert table["id"].tolist() == ids.tolist()
    chosen = log_probs[np.arange(len(ids)), ids]
    np.testing.assert_allclose(table["surprisal"], -chosen)
    np.testing.assert_allclose(table["entropy"], -(np.exp(log_probs) * log_probs).sum(axis=1))
    assert table["rank"].tolist() == (1 + (log_probs > chosen[:, np.newaxis]).sum(axis=1)).tolist()


@pytest.mark.parametrize("batch_tokens", [1, 10, 10_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_token_is_measured(model, batch_tokens, threads, monkeypatch):
    monkeypatch.setattr(measures, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(measures, "MOST_ROWS", 4)
    table = measure_tokens(model, LINES, threads=threads)
    assert_measured(table, model)
    places = [(number, place) for number, line in enumerate(LINES, start=1) for place in range(len(line.split()) + 1)]
    places = [(number, place) for number, place in places if LINES[number - 1].split()]
    assert table[["line", "place"]].tolist() == places
    short = measure_tokens(model, LINES, distribution=False, threads=threads)
    assert short.dtype == TOKEN
    np.testing.assert_allclose(short["surprisal"], table["surprisal"])
    assert short[["line", "place", "id"]].tolist() == table[["line", "place", "id"]].tolist()


@pytest.mark.parametrize("context", ["sentence", "continuous"])
@pytest.mark.parametrize("kind", [NNLM, RNNLM])
def test_the_same_table_for_any_number_of_threads(kind, context, monkeypatch):
    monkeypatch.setattr(measures, "MOST_ROWS", 9)
    network = kind(Vocabulary(WORDS), embedding_dim=5, hidden_size=7, context=context)
    for distribution in (True, False):
        expected = measure_tokens(network, LINES * 5, distribution=distribution, threads=1)
        for threads in (2, 5):
            found = measure_tokens(network, LINES * 5, distribution=distribution, threads=threads)
            assert found.tobytes() == expected.tobytes()
    np.testing.assert_allclose(
        measure_tokens(network, LINES)["surprisal"], measure_tokens(network, LINES, distribution=False)["surprisal"],
        1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["sentences", "network and counts", "windows and sentences", "dynamic and cache", "window",
             "counts with a cache", "mixture with a cache", "mixture of adapted"]
)  # fmt: skip
def test_models_made_of_models_are_measured_as_state_by_state(name, monkeypatch):
    monkeypatch.setattr(measures, "MOST_ROWS", 4)
    monkeypatch.setattr(measures, "BATCH_TOKENS", 20)
    composed = MODELS[name]()
    table = measure_tokens(composed, LINES, threads=1)
    assert_measured(table, composed)
    assert measure_tokens(composed, LINES, threads=3).tobytes() == table.tobytes()
    documents = measure_tokens(composed, LINES, documents=True)  # of which the last has two lines
    np.testing.assert_allclose(documents["surprisal"][:11], table["surprisal"][:11])
    np.testing.assert_allclose(documents["surprisal"][-5:], measure_tokens(composed, LINES[-2:])["surprisal"])


def test_documents_begin_afresh(model):
    for distribution in (True, False):
        table = measure_tokens(model, LINES, distribution=distribution, documents=True)
        alone = [measure_tokens(model, LINES[start : start + 2], distribution=distribution) for start in (0, 4)]
        np.testing.assert_allclose(table["surprisal"][:11], alone[0]["surprisal"])
        np.testing.assert_allclose(table["surprisal"][11:16], alone[1]["surprisal"])


def test_words_come_with_the_table(model):
    words = [word for batch in measure_batches(model, LINES) for word in batch.words]
    assert words == [word for line in LINES if line.split() for word in [*line.split(), "</s>"]]


def test_files_and_iterables_are_all_the_same(model, tmp_path):
    text = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "text").write_text(text, encoding="utf-8")
    (tmp_path / "text.gz").write_bytes(gzip.compress(text.encode()))
    expected = measure_tokens(model, LINES).tobytes()
    for source in (tmp_path / "text", str(tmp_path / "text.gz"), iter(LINES)):
        assert measure_tokens(model, source).tobytes() == expected


@pytest.mark.parametrize("distribution", [True, False])
def test_what_has_no_tokens_and_what_is_wrong(model, distribution, tmp_path):
    assert len(measure_tokens(model, ["", " "], distribution=distribution)) == 0
    assert len(measure_tokens(model, [], distribution=distribution)) == 0
    with pytest.raises(DataError, match="line 2"):
        measure_tokens(model, ["the", "</s>"], distribution=distribution)
    (tmp_path / "bad").write_bytes(b"the\n\xff cat\nmat\n")
    with pytest.raises(DataError, match="line 2"):
        measure_tokens(model, tmp_path / "bad", distribution=distribution)
    assert measure_tokens(model, tmp_path / "bad", errors="skip")["line"].tolist() == [1, 1, 3, 3]
    model.near[:] = np.nan
    with pytest.raises(FastLMError, match="NaN"):
        measure_tokens(model, ["the"], distribution=distribution)
