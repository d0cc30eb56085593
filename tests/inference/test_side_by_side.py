"""Several models on one text, however far they look back and in whatever order they read it."""

import numpy as np
import pytest
from tiny_model import TinyModel

from fastlm.inference import side_by_side
from fastlm.inference.side_by_side import joint_blocks
from fastlm.text.corpus import Corpus

IDS = np.random.default_rng(5).integers(0, 9, 600)


class Counts(TinyModel):
    """Knows no more than the length of the sentence so far, which has no limit."""

    context_length = None

    def token_log_probs(self, corpus, *, num_streams=1, workers=None, progress=None):
        ends = np.flatnonzero(corpus.ids == self.vocabulary.end_id)
        begins = np.concatenate([[0], ends + 1])
        places = np.arange(len(corpus.ids))
        return -1.0 - places + begins[np.searchsorted(begins, places, side="right") - 1]


MODELS = {
    "sentence": lambda: TinyModel("sentence", seed=1),
    "counts": Counts,
    "continuous": lambda: TinyModel("continuous", seed=2),
    "other": lambda: TinyModel("continuous", seed=3),
}


def windowed() -> TinyModel:
    """Make a model of continuous context that needs the last two words and no state."""
    model = TinyModel("continuous", seed=4)
    model.carries_state = False
    return model


@pytest.mark.parametrize("round_tokens", [1, 7, 100, 10_000])
@pytest.mark.parametrize("num_streams", [1, 3])
@pytest.mark.parametrize("names", [["sentence"], ["sentence", "counts"], list(MODELS), ["continuous", "other"]])
def test_each_is_scored_as_by_itself(
    names: list[str], num_streams: int, round_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "ROUND_TOKENS", round_tokens)
    monkeypatch.setattr(side_by_side, "SEARCH_TOKENS", 2)
    models = [MODELS[name]() for name in names]
    corpus = Corpus.from_ids(IDS, models[0].vocabulary)
    found = np.full((len(models), len(IDS)), np.nan)
    for positions, columns in joint_blocks(models, corpus, num_streams=num_streams):
        assert (np.diff(positions) > 0).all()
        assert np.isnan(found[:, positions]).all()
        found[:, positions] = columns
    for row, model in zip(found, models, strict=True):
        np.testing.assert_allclose(row, model.token_log_probs(corpus, num_streams=num_streams))


def test_a_window_that_runs_on_over_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "ROUND_TOKENS", 7)
    models = [windowed(), MODELS["continuous"]()]
    corpus = Corpus.from_ids(IDS, models[0].vocabulary)
    found = np.empty(len(IDS))
    for positions, columns in joint_blocks(models, corpus, num_streams=4):
        found[positions] = columns[0]
    np.testing.assert_allclose(found, models[0].token_log_probs(corpus))


def test_what_is_not_needed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that look back two words are given two words more than they are asked for, and an end."""
    monkeypatch.setattr(side_by_side, "ROUND_TOKENS", 50)
    model = TinyModel("sentence")
    corpus = Corpus.from_ids(IDS, model.vocabulary)
    for _ in joint_blocks([model], corpus):
        pass
    assert model.calls == [51] + [53] * 11
