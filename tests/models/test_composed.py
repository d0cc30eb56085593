"""Models that are made of others do all that every language model does."""

import copy
import json
import pickle
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from composed_models import CORPUS, IDS, MODELS, VOCABULARY, V, network, ngram, one_by_one

import fastlm
from fastlm import Adapted, Corpus, FastLMError, Mixture, ModelFileError, NGramLM, Vocabulary
from fastlm.modelfile import ModelContents, read_model, write_model
from fastlm.models import LanguageModel
from fastlm.nn.parallel import Workers

GOLDEN = Path(__file__).parents[1] / "golden" / "mixture-version-1.safetensors"


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return MODELS[request.param]()


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def test_distributions_sum_to_one(model: LanguageModel) -> None:
    state = model.start()
    for id in IDS.tolist():
        log_probs = model.log_probs(state)
        assert log_probs.shape == (V,)
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-5)
        state = model.advance(state, id)


def test_a_corpus_is_one_by_one(model: LanguageModel) -> None:
    assert_same(model.token_log_probs(CORPUS), one_by_one(model, IDS))


@pytest.mark.parametrize("num_streams", [2, 5, len(IDS) + 3])
def test_parts_of_a_corpus(model: LanguageModel, num_streams: int) -> None:
    """What no state is carried through is read as ever; other parts begin with the word before them alone."""
    expected = []
    for part in getattr(model, "models", [model]):
        columns = part.token_log_probs(CORPUS, num_streams=num_streams)
        if isinstance(part, Adapted):
            columns = one_by_one(part, IDS)
            bounds = np.arange(min(num_streams, len(IDS)) + 1) * len(IDS) // min(num_streams, len(IDS))
            for begin, end in pairwise(bounds[1:]):
                state = part.advance(part.start(), int(IDS[begin - 1]))
                columns[begin:end] = one_by_one(part, IDS[begin:end], state)
        expected.append(columns)
    weights = getattr(model, "weights", [1.0])
    assert_same(model.token_log_probs(CORPUS, num_streams=num_streams), np.log(np.array(weights) @ np.exp(expected)))


def test_blocks_have_each_token_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.token_log_probs(CORPUS, num_streams=3)
    for name in ("rnnlm", "nnlm", "adapted", "adaptation"):
        monkeypatch.setattr(f"fastlm.models.{name}.EVALUATION_ROWS", 6)
    for size in (1, 4, 1000):
        monkeypatch.setattr("fastlm.inference.side_by_side.ROUND_TOKENS", size)
        blocks = list(model.log_prob_blocks(CORPUS, num_streams=3))
        positions = np.concatenate([positions for positions, _ in blocks])
        assert sorted(positions) == list(range(len(IDS)))
        assert len(blocks) > 2 or size > 4
        assert_same(np.concatenate([values for _, values in blocks])[np.argsort(positions)], expected)


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_give_the_same_bytes(model: LanguageModel, threads: int, fine_shares: None) -> None:
    expected = model.token_log_probs(CORPUS, num_streams=4)
    with Workers(threads) as workers:
        assert model.token_log_probs(CORPUS, num_streams=4, workers=workers).tobytes() == expected.tobytes()


def test_scores_from_any_split(model: LanguageModel) -> None:
    expected = model.token_log_probs(CORPUS)
    for split in (0, 1, 10, 11, 12, 40, len(IDS)):
        first, state = model.score_ids(model.start(), IDS[:split])
        second, end = model.score_ids(state, IDS[split:])
        assert_same(np.concatenate([first, second]), expected)
        again, _ = model.score_ids(state, IDS[split:])  # what was read from it has not changed the state
        assert again.tobytes() == second.tobytes()
        assert np.exp(model.log_probs(end)).sum() == pytest.approx(1, abs=1e-5)


def test_everything_else_works_on_them(model: LanguageModel) -> None:
    score = model.score("the cat sat on the dog")
    assert [token.word for token in score.tokens][-2:] == ["dog", "</s>"]
    assert score.log_prob == pytest.approx(one_by_one(model, np.array([2, 3, 4, 5, 2, 0, 1])).sum(), rel=1e-4)
    predictions = model.predict("the cat", k=V, unknown=True)
    assert sum(prediction.probability for prediction in predictions) == pytest.approx(1, abs=1e-5)
    assert model.generate("the cat", max_tokens=20, seed=3) == model.generate("the cat", max_tokens=20, seed=3)
    report = model.evaluate(CORPUS, num_streams=1)
    assert report.loss == pytest.approx(-one_by_one(model, IDS).mean(), rel=1e-4)
    assert (report.num_streams is None) == (not model.carries_state)
    assert not model.self_normalised


def test_save_and_load(model: LanguageModel, tmp_path: Path) -> None:
    model.info = {"note": "한국어"}
    model.save(tmp_path / "a")
    loaded = fastlm.load(tmp_path / "a", verify=False)
    assert type(loaded) is type(model)
    assert (loaded.config, loaded.info, loaded.vocabulary) == (model.config, model.info, model.vocabulary)
    assert loaded.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_stored_never_changes(model: LanguageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    loaded = fastlm.load(tmp_path / "model", verify=False)
    expected = loaded.token_log_probs(CORPUS).tobytes()
    loaded.generate("the cat", max_tokens=30, seed=1)
    loaded.score_ids(loaded.start(), IDS)
    assert loaded.token_log_probs(CORPUS).tobytes() == expected
    assert (tmp_path / "model").read_bytes() == before
    arrays = read_model(tmp_path / "model").arrays
    assert {name: array.tobytes() for name, array in loaded.parameters.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(model: LanguageModel, how: Callable[[LanguageModel], LanguageModel]) -> None:
    other = how(model)
    assert other.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()
    assert not any(np.shares_memory(other.parameters[name], array) for name, array in model.parameters.items())


def test_threads_use_one_model(model: LanguageModel) -> None:
    def use() -> tuple[bytes, ...]:
        scores, state = model.score_ids(model.start(), IDS)
        generated = model.generate("the cat", max_tokens=10, seed=3)
        return scores.tobytes(), model.log_probs(state).tobytes(), generated.encode()

    expected, results = use(), []
    threads = [threading.Thread(target=lambda: results.extend(use() for _ in range(3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 12


@pytest.mark.parametrize("id", [-1, V, 1.5, b"the", None, True])
def test_ids_out_of_range(model: LanguageModel, id: object) -> None:
    with pytest.raises(ValueError, match=f"id is {id}, expected 0 to {V - 1}"):
        model.advance(model.start(), id)
    with pytest.raises(ValueError, match="expected"):
        model.score_ids(model.start(), np.array([2, V, 3]))


def test_wrong_corpora_and_streams(model: LanguageModel) -> None:
    other = Corpus.from_ids([2, 3], Vocabulary(["x", "y"]))
    for use in (model.token_log_probs, model.evaluate, model.tune):
        with pytest.raises(ValueError, match="another vocabulary"):
            use(other)
    with pytest.raises(ValueError, match="num_streams must be a whole number of at least 1, got 0"):
        model.token_log_probs(CORPUS, num_streams=0)


def test_models_that_know_no_text_are_refused() -> None:
    for compose in (Adapted, lambda model: Mixture([ngram(), model])):
        with pytest.raises(FastLMError, match="knows no text yet"):
            compose(NGramLM(VOCABULARY))


def test_similar_words() -> None:
    inner = network()
    assert Mixture([ngram(), inner]).similar("cat") == Adapted(inner).similar("cat") == inner.similar("cat")
    with pytest.raises(FastLMError, match="none of the models"):
        Mixture([ngram(), ngram(2)]).similar("cat")


# Model files that are not what they say


def altered(model: LanguageModel, path: Path, alter: Callable[[dict, dict], object]) -> Path:
    config, arrays = json.loads(json.dumps(model.config)), dict(model.parameters)
    alter(config, arrays)
    write_model(path, ModelContents(model.architecture, config, VOCABULARY, arrays, {}))
    return path


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda config, arrays: config.pop("models"), "does not say of which models"),
        (lambda config, arrays: config.update(models=[]), "does not say of which models"),
        (lambda config, arrays: config.update(models={"a": 1}), "does not say of which models"),
        (lambda config, arrays: config["models"].pop(), "belongs to none of its models|does not describe"),
        (lambda config, arrays: config["models"][0].update(architecture="gru"), "one is not described"),
        (lambda config, arrays: config["models"][0].update(architecture=["rnnlm"]), "one is not described"),
        (lambda config, arrays: config["models"][0].pop("config"), "one is not described"),
        (lambda config, arrays: config["models"][0].update(info=3), "one is not described"),
        (lambda config, arrays: config["models"].__setitem__(0, "rnnlm"), "one is not described"),
        (lambda config, arrays: config["models"][0]["config"].pop("dtype"), "dtype"),
        (lambda config, arrays: arrays.update(extra=np.zeros(3)), "'extra' that belongs to none"),
        (lambda config, arrays: arrays.update({"model0.extra": np.zeros(3)}), "extra"),
        (lambda config, arrays: arrays.pop("model0.output.bias"), "output.bias"),
    ],
)
@pytest.mark.parametrize("kind", ["network and counts", "dynamic"])
def test_files_with_other_contents(kind: str, tmp_path: Path, alter: Callable[..., object], message: str) -> None:
    if kind == "dynamic" and "belongs to none of its models|" in message:
        message = "does not say of which models"
    path = altered(MODELS[kind](), tmp_path / "model", alter)
    with pytest.raises(ModelFileError, match=message):
        fastlm.load(path)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        *[("sentences", "weights", value) for value in ([0.5], [0.5, 0.6], "ab", None, [2, -1], [0.5, [0.5]])],
        *[("dynamic", "decay", value) for value in (2, -1, "x", None)],
        ("dynamic", "segment_size", 0),
        ("dynamic", "more", 1),
        ("counts with a cache", "learning_rate", 0.1),
    ],
)
def test_files_with_wrong_options(tmp_path: Path, kind: str, option: str, value: object) -> None:
    path = altered(MODELS[kind](), tmp_path / "model", lambda config, arrays: config.update({option: value}))
    with pytest.raises(ModelFileError):
        fastlm.load(path)


# The golden file


def make_golden_file_of_version_1(path: Path) -> None:
    """Write the golden file; this was done once, and is not done again."""
    vocabulary = Vocabulary(["the", "cat"], [1, 4, 3, 2])
    counts = NGramLM(vocabulary, order=2).fit(Corpus.from_ids([2, 3, 1, 2, 2, 3, 1, 0, 1], vocabulary))
    adapted = Adapted(fastlm.RNNLM(vocabulary, embedding_dim=2, hidden_size=3), segment_size=2, learning_rate=0.25)
    Mixture([adapted, counts], [0.25, 0.75]).save(path)


@pytest.mark.parametrize("verify", [True, False])
def test_golden_file_of_version_1(verify: bool) -> None:
    model = fastlm.load(GOLDEN, verify=verify)
    adapted, counts = model.models
    assert (type(model), type(adapted), type(counts)) == (Mixture, Adapted, NGramLM)
    assert model.weights == (0.25, 0.75)
    assert (adapted.settings.learning_rate, adapted.settings.segment_size) == (0.25, 2)
    expected = NGramLM(counts.vocabulary, order=2)
    expected.fit(Corpus.from_ids([2, 3, 1, 2, 2, 3, 1, 0, 1], counts.vocabulary))
    text = Corpus.from_ids([2, 3, 2, 0, 1], model.vocabulary)
    assert counts.token_log_probs(text).tobytes() == expected.token_log_probs(text).tobytes()
    assert adapted.model.config["hidden_size"] == 3
    assert model.evaluate(text).perplexity > 1
