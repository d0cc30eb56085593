"""The search for settings: a text of documents is read as it is when they are measured."""

import math
from dataclasses import asdict

import pytest
from composed_models import CORPUS, IDS, TRAIN, VOCABULARY, network

from fastlm import Adapted, Corpus
from fastlm.inference.documents import joined
from fastlm.models.adaptation import Settings, Stored
from fastlm.models.adaptation_tuning import best_settings
from fastlm.nn.parallel import Workers

MODEL = network()
BEGINNING = Settings(0.1, 0.01, 5, 50, 0.1, 0.2)


def found(text: Corpus | list[Corpus], *fixed: str) -> tuple[Settings, float]:
    with Workers(1) as workers:
        return best_settings(Stored(MODEL, {}), BEGINNING, text, fixed=fixed, workers=workers, progress=False)


def measured(settings: Settings, documents: list[Corpus]) -> float:
    adapted = Adapted(MODEL, **asdict(settings))
    return math.exp(joined(adapted.evaluate(document) for document in documents).loss)


def test_each_document_is_read_from_a_fresh_start() -> None:
    documents = [CORPUS, TRAIN, Corpus.from_ids(IDS[:7], VOCABULARY)]
    settings, perplexity = found(documents)
    assert settings != BEGINNING
    assert perplexity == pytest.approx(measured(settings, documents), rel=1e-9)
    _, without_cache = found(documents, "cache_weight", "learning_rate", "decay", "flatness")
    assert without_cache == pytest.approx(measured(BEGINNING, documents), rel=1e-9)
    assert perplexity < without_cache


def test_one_document_is_a_text() -> None:
    assert found([CORPUS]) == found(CORPUS)
    with pytest.raises(ValueError, match="no document"):
        found([])
