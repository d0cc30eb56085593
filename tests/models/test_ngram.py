"""The n-gram model as a language model: three ways to the same probabilities, states, files, copies, wrong calls."""

import copy
import math
import mmap
import multiprocessing
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_ngram import NGramOracle

import fastlm
from fastlm import Corpus, FastLMError, ModelFileError, NGramLM, Trainer, Vocabulary
from fastlm.modelfile import ModelContents, read_model, write_model
from fastlm.models import ngram as ngram_module
from fastlm.models.ngram import Context
from fastlm.nn.parallel import Workers

GOLDEN = Path(__file__).parents[1] / "golden" / "ngram-version-1.safetensors"
WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는", "a", "b"]
VOCABULARY = Vocabulary(WORDS, np.arange(11, 0, -1))
V = len(VOCABULARY)
rng = np.random.default_rng(5)
TEXT = np.concatenate(
    [[*np.minimum(rng.geometric(0.3, rng.integers(8)) + 1, V - 1), *([0] * (n % 3)), 1] for n in range(60)]
)
TRAIN = Corpus.from_ids(TEXT, VOCABULARY)
IDS = np.concatenate([[*rng.integers(2, V, n % 7), *([0] * (n % 2)), 1] for n in range(12)] + [[5, 3, 4]]).astype(
    np.int32
)
CORPUS = Corpus.from_ids(IDS, VOCABULARY)


@pytest.fixture(params=[1, 2, 3, 5])
def order(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=["kneser-ney", "none"])
def model(request: pytest.FixtureRequest, order: int) -> NGramLM:
    return make(order, request.param)


def make(order: int = 3, smoothing: str = "kneser-ney") -> NGramLM:
    return NGramLM(VOCABULARY, order=order, smoothing=smoothing).fit(TRAIN)


def one_by_one(model: NGramLM, ids: np.ndarray) -> np.ndarray:
    scores, state = [], model.start()
    for id in ids.tolist():
        scores.append(model.log_probs(state)[id])
        state = model.advance(state, id)
    return np.array(scores)


# Three ways to the same probabilities


def test_distributions_sum_to_one(order: int) -> None:
    model = make(order)
    state = model.start()
    for id in IDS.tolist():
        log_probs = model.log_probs(state)
        assert log_probs.shape == (V,)
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-6)
        state = model.advance(state, id)


def test_a_batch_is_one_by_one(model: NGramLM) -> None:
    np.testing.assert_allclose(model.token_log_probs(CORPUS), one_by_one(model, IDS), rtol=1e-12)


def test_scores_from_any_split(model: NGramLM) -> None:
    expected = one_by_one(model, IDS)
    end = model.score_ids(model.start(), IDS)[1]
    for split in range(len(IDS) + 1):
        first, state = model.score_ids(model.start(), IDS[:split])
        second, after = model.score_ids(state, IDS[split:])
        assert first.dtype == np.float64
        np.testing.assert_allclose(np.concatenate([first, second]), expected, rtol=1e-12)
        assert after == end


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.uint64, np.int8])
def test_ids_of_any_integer_type(model: NGramLM, dtype: type) -> None:
    np.testing.assert_allclose(model.score_ids(model.start(), IDS.astype(dtype))[0], one_by_one(model, IDS), rtol=1e-12)
    assert model.advance(model.start(), dtype(4)) == model.advance(model.start(), 4)


def test_a_long_corpus_is_cut_between_sentences(model: NGramLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_module, "BLOCK_TOKENS", 10)
    monkeypatch.setattr(ngram_module, "ROUND_TOKENS", 40)
    corpus = Corpus.from_ids(np.tile(IDS, 5), VOCABULARY)  # the open end of one is the beginning of the next
    expected = model.score_ids(model.start(), corpus.ids)[0]
    seen: list[int] = []
    assert model.token_log_probs(corpus, progress=seen.append).tobytes() == expected.tobytes()
    assert sum(seen) == corpus.num_tokens
    assert len(seen) > 3
    for threads in (2, 7):
        with Workers(threads) as workers:
            assert model.token_log_probs(corpus, num_streams=3, workers=workers).tobytes() == expected.tobytes()


@pytest.mark.parametrize("ids", [[3], [1], [1, 1, 1]])
def test_the_shortest_corpora(model: NGramLM, ids: list[int]) -> None:
    corpus = Corpus.from_ids(ids, VOCABULARY)
    np.testing.assert_allclose(model.token_log_probs(corpus), one_by_one(model, np.array(ids)), rtol=1e-12)


def test_memory_mapped_corpora_of_many_words(tmp_path: Path) -> None:
    vocabulary = Vocabulary([f"w{i}" for i in range(70_000)])  # ids of 32 bits
    text = [" ".join(f"w{(i * k) % 70_000}" for i in range(20)) for k in range(1, 200)]
    stored = Corpus.encode(text, vocabulary, path=tmp_path / "corpus")
    assert isinstance(stored.ids.base.base, mmap.mmap)
    model, same = (NGramLM(vocabulary).fit(corpus) for corpus in (stored, Corpus.encode(text, vocabulary)))
    assert model.token_log_probs(stored).tobytes() == same.token_log_probs(stored).tobytes()


# States


def test_states_are_equal_when_what_matters_is() -> None:
    vocabulary = Vocabulary(["a", "b", "c", "d"])
    model = NGramLM(vocabulary, order=3).fit(Corpus.encode(["a b c", "b c a", "d"], vocabulary))

    def after(text: str) -> Any:
        state = model.start()
        for id in vocabulary.encode(text).tolist():
            state = model.advance(state, id)
        return state

    assert after("a b") == after("c a b") != after("c b")  # of the latter only b is known as a beginning
    assert after("c b") == after("d d b") != after("b")  # which is the beginning of a sentence
    assert after("a z") == after("b z") == after("z")  # an unknown word that was never seen: nothing is left
    assert model.advance(after("a b"), vocabulary.end_id) == model.start()
    assert len({after("a b"), after("c a b"), after("c b"), after("b"), model.start()}) == 4
    with pytest.raises(AttributeError):
        after("a b").ids = ()


def test_states_are_never_changed(model: NGramLM) -> None:
    state = model.advance(model.start(), 2)
    before, kept = model.log_probs(state), copy.deepcopy(state)
    model.advance(state, 3)
    model.score_ids(state, IDS)
    assert state == kept
    assert model.log_probs(state).tobytes() == before.tobytes()
    assert model.log_probs(pickle.loads(pickle.dumps(state))).tobytes() == before.tobytes()


def test_only_the_last_words_are_seen(order: int) -> None:
    model = make(order, "none")
    state = model.start()
    for id in (2, 3, 4, 5, 6, 7):
        state = model.advance(state, id)
    assert state.ids == (2, 3, 4, 5, 6, 7)[7 - order :]


# What one does with it


def test_a_model_without_smoothing_says_zero() -> None:
    model = make(3, "none")
    report = model.evaluate(CORPUS)
    assert report.perplexity == math.inf
    assert report.loss == math.inf
    assert "perplexity                    inf" in str(report)
    num_impossible = np.count_nonzero(np.isneginf(model.token_log_probs(CORPUS)))
    assert report.num_impossible == num_impossible > 0
    assert f"impossible tokens {num_impossible} " in " ".join(str(report).split())
    smooth = make(3).evaluate(CORPUS)
    assert smooth.num_impossible == 0 and "impossible" not in str(smooth)
    assert model.score("mat mat mat").log_prob == -math.inf
    assert 1 < model.evaluate(TRAIN).perplexity < make(3).evaluate(TRAIN).perplexity
    assert 0 < make(3).evaluate(CORPUS).perplexity < math.inf


def test_prediction_and_generation() -> None:
    vocabulary = Vocabulary(["a", "b", "c"])
    corpus = Corpus.encode(["a b c"] * 9 + ["a c"], vocabulary)
    for smoothing in ("kneser-ney", "none"):
        model = NGramLM(vocabulary, order=3, smoothing=smoothing).fit(corpus)
        assert model.predict("a", k=1)[0].word == "b"
        assert model.generate("a", temperature=0) == "a b c"
        assert model.generate("", seed=4) in {"a b c", "a c"} or smoothing == "kneser-ney"
    assert [word for word, _ in model.predict("a", k=9)] == ["b", "c"]  # no others have a probability
    with pytest.raises(FastLMError, match="has never seen these words together"):
        model.predict("c c", k=1)


def test_there_are_no_word_vectors(model: NGramLM) -> None:
    for ask in (lambda: model.similar("cat"), lambda: model.embeddings):
        with pytest.raises(FastLMError, match="an n-gram model has no word vectors"):
            ask()


def test_what_it_is(model: NGramLM) -> None:
    assert isinstance(model, fastlm.LanguageModel)
    assert (model.architecture, model.context, model.carries_state) == ("ngram", "sentence", False)
    assert repr(model) == f"NGramLM(11 words, order={model.config['order']}, smoothing={model.config['smoothing']!r})"
    assert {name.partition(".")[0] for name in model.parameters} == {
        f"order{n}" for n in range(1, model.config["order"] + 1)
    }


def test_the_defaults() -> None:
    assert NGramLM(VOCABULARY).config == {"order": 5, "smoothing": "kneser-ney"}


# Files and copies


def arrays_of(model: NGramLM) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


@pytest.mark.parametrize("verify", [True, False])
def test_save_and_load(model: NGramLM, tmp_path: Path, verify: bool) -> None:
    model.save(tmp_path / "model.fastlm")
    loaded = fastlm.load(tmp_path / "model.fastlm", verify=verify)
    assert isinstance(loaded, NGramLM)
    assert (loaded.config, loaded.info, loaded.vocabulary) == (model.config, model.info, model.vocabulary)
    assert arrays_of(loaded) == arrays_of(model)
    assert loaded.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()
    for array in loaded.parameters.values():  # mapped and no more
        assert isinstance(array.base, mmap.mmap)
        assert not array.flags.writeable


def test_equal_models_are_equal_bytes(model: NGramLM, tmp_path: Path) -> None:
    model.save(tmp_path / "a")
    make(**model.config).save(tmp_path / "b")
    fastlm.load(tmp_path / "a").save(tmp_path / "c")
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


GOLDEN_TEXT = ["the cat sat on the mat", "the dog sat", "나는 고양이", "the cat"]


def make_golden_file_of_version_1(path: Path) -> None:
    """Write the golden file; this was done once, when version 1 was new, and is not done again."""
    vocabulary = Vocabulary.build(GOLDEN_TEXT)
    NGramLM(vocabulary, order=3).fit(Corpus.encode(GOLDEN_TEXT, vocabulary)).save(path)


@pytest.mark.parametrize("verify", [True, False])
def test_golden_file_of_version_1(verify: bool) -> None:
    model = fastlm.load(GOLDEN, verify=verify)
    oracle = NGramOracle([line.split() for line in GOLDEN_TEXT], model.vocabulary.words, 3)
    for token, *context in (("sat", "<s>", "the", "cat"), ("the", "<s>"), ("나는", "sat", "on"), ("<unk>", "rug")):
        log_probs = model.log_probs(Context(model, tuple(model.vocabulary[word] for word in context)))
        assert log_probs[model.vocabulary[token]] == pytest.approx(math.log(oracle.kneser_ney(token, tuple(context))))


def test_fitting_again_forgets(model: NGramLM) -> None:
    other = Corpus.from_ids([8, 9, 1], VOCABULARY)
    assert model.fit(other) is model
    assert arrays_of(model) == arrays_of(NGramLM(VOCABULARY, **model.config).fit(other))
    assert model.info["training"]["num_tokens"] == 3


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("state", ["new", "fitted", "loaded"])
def test_copies_are_equal_and_independent(tmp_path: Path, how: Callable[[NGramLM], NGramLM], state: str) -> None:
    model = NGramLM(VOCABULARY, order=3)
    if state != "new":
        model.fit(TRAIN)
    if state == "loaded":
        model.save(tmp_path / "model.fastlm")
        model = fastlm.load(tmp_path / "model.fastlm", verify=False)
    other = how(model)
    assert (other.config, other.vocabulary, other.info) == (model.config, model.vocabulary, model.info)
    assert arrays_of(other) == arrays_of(model)
    if state != "new":
        expected = model.token_log_probs(CORPUS).tobytes()
        assert other.token_log_probs(CORPUS).tobytes() == expected
        assert not any(np.shares_memory(other.parameters[name], array) for name, array in model.parameters.items())
        other.fit(Corpus.from_ids([8, 9, 1], VOCABULARY))
        assert model.token_log_probs(CORPUS).tobytes() == expected


def test_models_go_to_spawned_processes() -> None:
    model = make()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(model.token_log_probs, (CORPUS,)).tobytes() == model.token_log_probs(CORPUS).tobytes()


def test_eight_threads_use_one_model(tmp_path: Path) -> None:
    make().save(tmp_path / "model.fastlm")
    model = fastlm.load(tmp_path / "model.fastlm", verify=False)

    def use() -> tuple[bytes, ...]:
        scores, state = model.score_ids(model.start(), IDS)
        generated = model.generate("the cat", max_tokens=20, seed=3).encode()
        return scores.tobytes(), model.log_probs(state).tobytes(), model.token_log_probs(CORPUS).tobytes(), generated

    expected, results = use(), []
    threads = [threading.Thread(target=lambda: results.extend(use() for _ in range(5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40
    assert set(results) == {expected}


# Wrong arguments


@pytest.mark.parametrize("order", [0, -1, 2.5, "3", None, True])
def test_wrong_orders_are_named(order: object) -> None:
    with pytest.raises(ValueError, match=f"order must be a whole number of at least 1, got {order!r}"):
        NGramLM(VOCABULARY, order=order)


def test_orders_beyond_use_are_named() -> None:
    with pytest.raises(ValueError, match="order must be at most 16, got 17"):
        NGramLM(VOCABULARY, order=17)
    assert NGramLM(VOCABULARY, order=16).fit(TRAIN).evaluate(CORPUS).perplexity > 1


@pytest.mark.parametrize("smoothing", ["katz", "", None, 3])
def test_wrong_smoothing_is_named(smoothing: object) -> None:
    with pytest.raises(ValueError, match=f"smoothing is {smoothing!r}, expected 'kneser-ney' or 'none'"):
        NGramLM(VOCABULARY, smoothing=smoothing)


def test_only_files_are_of_an_arpa_model() -> None:
    with pytest.raises(ValueError, match=r"'arpa', expected 'kneser-ney' or 'none'; .*NGramLM.read_arpa"):
        NGramLM(VOCABULARY, smoothing="arpa")


@pytest.mark.parametrize("vocabulary", [None, ["the", "cat"], "words.txt"])
def test_what_is_no_vocabulary(vocabulary: Any) -> None:
    with pytest.raises(ValueError, match=f"must be a Vocabulary, got {type(vocabulary).__name__}"):
        NGramLM(vocabulary)


@pytest.mark.parametrize("id", [-1, V, V + 5, 2**40, 1.5, b"the", None, True])
def test_ids_out_of_range(model: NGramLM, id: Any) -> None:
    with pytest.raises(ValueError, match=f"id is {id}, expected 0 to {V - 1}"):
        model.advance(model.start(), id)
    if isinstance(id, int) and id is not True:
        with pytest.raises(ValueError, match=f"id is {id}, expected 0 to {V - 1}"):
            model.score_ids(model.start(), np.array([2, id, 3]))


@pytest.mark.parametrize("ids", [np.zeros((2, 2), np.int32), np.zeros(3), np.array(3)])
def test_ids_that_are_none(model: NGramLM, ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a one-dimensional array of integers"):
        model.score_ids(model.start(), ids)


def test_corpora_of_another_vocabulary(model: NGramLM) -> None:
    other = Corpus.from_ids([90, 91, 92], Vocabulary([f"w{i}" for i in range(100)]))
    for use in (model.fit, model.memory_bound, model.token_log_probs, model.evaluate):
        with pytest.raises(ValueError, match="another vocabulary"):
            use(other)
    for use in (model.fit, model.memory_bound):
        with pytest.raises(ValueError, match="must be a Corpus, got list"):
            use([3, 4, 1])
        with pytest.raises(ValueError, match="must be a Corpus, got str"):
            use("t.txt")


@pytest.mark.parametrize("num_streams", [0, -3])
def test_streams_must_be_positive(model: NGramLM, num_streams: int) -> None:
    with pytest.raises(ValueError, match=f"num_streams.*{num_streams}"):
        model.token_log_probs(CORPUS, num_streams=num_streams)


def test_a_model_that_knows_no_text_says_so(tmp_path: Path) -> None:
    model = NGramLM(VOCABULARY)
    uses: list[Callable[[], object]] = [
        model.start,
        lambda: model.score("the cat"),
        lambda: model.evaluate(CORPUS),
        lambda: model.predict("the"),
        lambda: model.save(tmp_path / "model.fastlm"),
        lambda: model.write_arpa(tmp_path / "model.arpa"),
    ]
    for use in uses:
        with pytest.raises(FastLMError, match=r"knows no text yet; call fit\(corpus\) first"):
            use()
    assert model.parameters == {}
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_trained_by_gradients(model: NGramLM) -> None:
    with pytest.raises(ValueError, match="model must be an NNLM or an RNNLM, got NGramLM"):
        Trainer(model)


# Model files that are not what they say


def altered(path: Path, alter: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> Path:
    model = make()
    config, arrays = dict(model.config), {name: array.copy() for name, array in model.parameters.items()}
    alter(config, arrays)
    write_model(path, ModelContents("ngram", config, VOCABULARY, arrays, {}))
    return path


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda config, arrays: arrays.pop("order2.words"), r"missing \['order2.words'\]"),
        (lambda config, arrays: arrays.update(extra=np.zeros(3)), r"not expected \['extra'\]"),
        (lambda config, arrays: arrays.update({"order1.words": np.zeros(V + 1, np.int32)}), "not expected"),
        (lambda config, arrays: config.update(order=2), "its arrays are not those of order 2"),
        (lambda config, arrays: config.update(order=4), r"missing \['order3.first_children', 'order3.log10_backoffs'"),
        (lambda config, arrays: config.update(smoothing="none"), "not expected .*order1.log10_backoffs"),
        (lambda config, arrays: arrays.update({"order3.words": np.zeros(3, np.int32)}), "3-grams have lengths"),
        (
            lambda config, arrays: arrays.update({"order3.words": np.zeros(3)}),
            r"'order3.words' is float64\[3\], expected",
        ),
        (lambda config, arrays: arrays.update({"order3.words": np.zeros((3, 1), np.int32)}), r"int32\[3, 1\]"),
        (lambda config, arrays: config.update(order="3"), "order must be a whole number"),
        (lambda config, arrays: config.update(order=10**9), "order must be at most 16"),
        (lambda config, arrays: config.update(smoothing=["x"]), "smoothing is"),
        (lambda config, arrays: config.pop("order"), "it does not say order"),
        (lambda config, arrays: config.update(seed=1), "seed"),
        (lambda config, arrays: config.clear(), "does not describe an n-gram model"),
    ],
)
def test_files_with_other_contents(tmp_path: Path, alter: Callable[..., object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        fastlm.load(altered(tmp_path / "model.fastlm", alter))


def test_files_with_another_vocabulary(tmp_path: Path) -> None:
    model = make()
    write_model(tmp_path / "m", ModelContents("ngram", model.config, Vocabulary(["a"]), model.parameters, {}))
    with pytest.raises(ModelFileError, match="1-grams of 11 words, expected those of the 3 words"):
        fastlm.load(tmp_path / "m")
    assert read_model(tmp_path / "m").vocabulary == Vocabulary(["a"])


def test_files_of_the_other_architecture(tmp_path: Path) -> None:
    model = make()
    for architecture in ("nnlm", "rnnlm"):
        write_model(tmp_path / "m", ModelContents(architecture, model.config, VOCABULARY, model.parameters, {}))
        with pytest.raises(ModelFileError, match=re.escape("config")):
            fastlm.load(tmp_path / "m")


def test_files_whose_bytes_nobody_checks_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "model.fastlm"
    make().save(path)
    whole = path.read_bytes()
    for seed in range(60):
        damaged, random = bytearray(whole), np.random.default_rng(seed)
        begin = len(whole) // 3  # behind the header
        for place in random.integers(begin, len(whole), 20):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            fastlm.load(path)
        try:
            model = fastlm.load(path, verify=False)
            model.token_log_probs(CORPUS)
            model.generate(seed=1, max_tokens=9)
            model.write_arpa(tmp_path / "model.arpa")
        except (FastLMError, ValueError):
            pass
