"""What every neural model does, whatever its layers: consistency, files, threads, copies, and wrong arguments."""

import copy
import multiprocessing
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import Corpus, ModelFileError, Trainer, Vocabulary
from fastlm.modelfile import ModelContents, read_model, write_model
from fastlm.models import NNLM, RNNLM, NeuralModel
from fastlm.nn.parallel import Workers

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는", "a", "b"]
VOCABULARY = Vocabulary(WORDS, np.arange(11, 0, -1))
V = len(VOCABULARY)
IDS = np.concatenate(
    [[*np.random.default_rng(n).integers(2, V, n % 7), *([0] * (n % 2)), 1] for n in range(12)] + [[5, 3, 4]]
).astype(np.int32)
CORPUS = Corpus.from_ids(IDS, VOCABULARY)


def modern(**options: Any) -> NNLM:
    """Make a window model with several layers, and a view beyond the window where there is something."""
    sizes = {"context_size": 2, "embedding_dim": 5, "hidden_size": 7, "num_layers": 2, "activation": "gelu"}
    return NNLM(VOCABULARY, **(sizes | {"num_averages": 2 * (options.get("context") == "continuous")} | options))


MODELS: dict[str, Callable[..., NeuralModel]] = {
    "nnlm": lambda **options: NNLM(VOCABULARY, **({"context_size": 3, "embedding_dim": 5, "hidden_size": 7} | options)),
    "direct": lambda **options: NNLM(
        VOCABULARY, **({"context_size": 2, "embedding_dim": 5, "hidden_size": 7, "direct": True} | options)
    ),
    "modern": modern,
    "rnnlm": lambda **options: RNNLM(VOCABULARY, **({"embedding_dim": 5, "hidden_size": 7} | options)),
    "tied": lambda **options: RNNLM(VOCABULARY, **({"tied": True, "embedding_dim": 5, "hidden_size": 7} | options)),
    "gru": lambda **options: RNNLM(VOCABULARY, **({"cell": "gru", "embedding_dim": 5, "hidden_size": 7} | options)),
    "lstm": lambda **options: RNNLM(
        VOCABULARY,
        **({"cell": "lstm", "num_layers": 2, "residual": True, "embedding_dim": 5, "hidden_size": 7} | options),
    ),
    "classes": lambda **options: MODELS["direct"](**({"output": "class", "num_classes": 4} | options)),
    "sampled": lambda **options: MODELS["rnnlm"](**({"output": "sampled", "num_samples": 6} | options)),
}
Make = Callable[..., NeuralModel]


@pytest.fixture(params=MODELS)
def make(request: pytest.FixtureRequest) -> Make:
    """Make a model whose parameters are all large enough to matter."""

    def make_model(**options: object) -> NeuralModel:
        model = MODELS[request.param](**options)
        random = np.random.default_rng(7)
        for parameter in model.parameter_list:
            parameter.value += 0.7 * random.normal(size=parameter.value.shape).astype(model.dtype)
        return model

    return make_model


@pytest.fixture(params=["sentence", "continuous"])
def context(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(make: Make, context: str) -> NeuralModel:
    return make(context=context, dtype="float64")


def one_by_one(model: NeuralModel, ids: np.ndarray) -> np.ndarray:
    scores, state = [], model.start()
    for id in ids.tolist():
        scores.append(model.log_probs(state)[id])
        state = model.advance(state, id)
    return np.array(scores)


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


# Three ways to the same probabilities


def test_distributions_sum_to_one(model: NeuralModel) -> None:
    state = model.start()
    for id in IDS.tolist():
        log_probs = model.log_probs(state)
        assert log_probs.shape == (V,)
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-12)
        state = model.advance(state, id)


def test_a_batch_is_one_by_one(model: NeuralModel) -> None:
    assert_same(model.token_log_probs(CORPUS), one_by_one(model, IDS))


def test_float32_is_near(make: Make, context: str) -> None:
    small, large = make(context=context), make(context=context, dtype="float64")
    for name, array in small.parameters.items():
        large.parameters[name][:] = array
    assert small.log_probs(small.start()).dtype == np.float32
    np.testing.assert_allclose(small.token_log_probs(CORPUS), large.token_log_probs(CORPUS), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one_by_one(small, IDS), large.token_log_probs(CORPUS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_streams", [2, 3, 16, 100])
def test_streams_do_not_matter_to_sentences(make: Make, num_streams: int) -> None:
    model = make(context="sentence", dtype="float64")
    assert_same(model.token_log_probs(CORPUS, num_streams=num_streams), model.token_log_probs(CORPUS))


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_give_the_same_bytes(make: Make, context: str, threads: int) -> None:
    model = make(context=context)
    expected = model.token_log_probs(CORPUS, num_streams=4)
    with Workers(threads) as workers:
        assert model.token_log_probs(CORPUS, num_streams=4, workers=workers).tobytes() == expected.tobytes()


def test_scores_from_any_split(model: NeuralModel) -> None:
    expected = one_by_one(model, IDS)
    for split in range(len(IDS) + 1):
        first, state = model.score_ids(model.start(), IDS[:split])
        second, end = model.score_ids(state, IDS[split:])
        assert first.dtype == np.float64
        assert_same(np.concatenate([first, second]), expected)
        assert_same(model.log_probs(end), model.log_probs(model.score_ids(model.start(), IDS)[1]))


def test_scores_go_on_where_single_steps_ended(model: NeuralModel) -> None:
    state = model.start()
    for id in IDS[:9].tolist():
        state = model.advance(state, id)
    before = model.log_probs(state)
    assert_same(model.score_ids(state, IDS[9:])[0], one_by_one(model, IDS)[9:])
    assert_same(model.log_probs(state), before)  # the state is as it was


def test_scores_of_nothing(model: NeuralModel) -> None:
    state = model.advance(model.start(), 3)
    scores, after = model.score_ids(state, np.empty(0, np.int32))
    assert scores.shape == (0,)
    assert_same(model.log_probs(after), model.log_probs(state))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.uint64, np.int8])
def test_ids_of_any_integer_type(model: NeuralModel, dtype: type) -> None:
    assert_same(model.score_ids(model.start(), IDS.astype(dtype))[0], one_by_one(model, IDS))
    assert_same(
        model.log_probs(model.advance(model.start(), dtype(4))), model.log_probs(model.advance(model.start(), 4))
    )


def test_a_sentence_end_begins_anew(model: NeuralModel) -> None:
    state = model.advance(model.advance(model.start(), 4), 1)
    same = np.allclose(model.log_probs(state), model.log_probs(model.start()), atol=1e-9)
    assert same == (model.context == "sentence")


def test_progress_counts_every_token(model: NeuralModel) -> None:
    seen: list[int] = []
    model.token_log_probs(CORPUS, num_streams=3, progress=seen.append)
    assert sum(seen) == len(IDS)


def test_dropout_is_for_training_only(make: Make, context: str) -> None:
    with_dropout, without = make(context=context, dropout=0.9), make(context=context, dropout=0.0)
    np.testing.assert_array_equal(with_dropout.token_log_probs(CORPUS), without.token_log_probs(CORPUS))


@pytest.mark.parametrize("ids", [[3], [1], [1, 1, 1]])
def test_the_shortest_corpora(model: NeuralModel, ids: list[int]) -> None:
    corpus = Corpus.from_ids(ids, VOCABULARY)
    assert_same(model.token_log_probs(corpus), one_by_one(model, np.array(ids)))
    assert model.token_log_probs(corpus, num_streams=5).shape == (len(ids),)


def test_the_seed_decides_the_parameters(make: Make) -> None:
    def values(seed: int) -> bytes:
        return b"".join(array.tobytes() for array in make(seed=seed).parameters.values())

    assert values(1) == values(1) != values(2)


# It learns


def test_it_overfits_twenty_tokens(make: Make, context: str) -> None:
    ids = [2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 4, 6, 8, 10, 3, 5, 7, 9, 0, 1]  # what follows two words is always the same
    model, corpus = (
        make(context=context, dropout=0.0, hidden_size=24, embedding_dim=12),
        Corpus.from_ids(ids, VOCABULARY),
    )
    length = {} if isinstance(model, NNLM) else {"bptt_len": 20}
    trainer = Trainer(
        model, batch_size=1 if length else 20, learning_rate=0.02, threads=1, schedule="constant", **length
    )
    history = trainer.fit(corpus, epochs=150)
    assert history.epochs[0].train_loss > 1.5
    assert -model.token_log_probs(corpus).mean() < 0.1


# Files and copies


def arrays_of(model: NeuralModel) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(make: Make, context: str, tmp_path: Path, dtype: str, verify: bool) -> None:
    model = make(context=context, dtype=dtype, dropout=0.25, seed=9)
    model.info = {"note": "한국어"}
    model.save(tmp_path / "model.fastlm")
    loaded = fastlm.load(tmp_path / "model.fastlm", verify=verify)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert loaded.info == model.info
    assert loaded.context == context
    assert loaded.vocabulary == model.vocabulary
    assert arrays_of(loaded) == arrays_of(model)
    assert loaded.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()
    assert one_by_one(loaded, IDS).tobytes() == one_by_one(model, IDS).tobytes()


def test_equal_models_are_equal_bytes(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make().save(tmp_path / name)
    fastlm.load(tmp_path / "a").save(tmp_path / "c")
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_a_loaded_model_can_be_trained_on(make: Make, tmp_path: Path, optimizer: str) -> None:
    path = tmp_path / "model.fastlm"
    model = make()
    model.save(path)
    before = path.read_bytes()
    loaded = fastlm.load(path, verify=False)
    with pytest.raises(ValueError, match="read-only"):
        loaded.embeddings[0] = 0
    for each in (model, loaded):
        Trainer(each, optimizer=optimizer, threads=1, batch_size=4).fit(CORPUS, epochs=1)
    assert arrays_of(loaded) == arrays_of(model) != arrays_of(make())
    assert path.read_bytes() == before


def test_a_model_is_trained_on_into_its_own_file(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.fastlm"
    make().save(path)
    loaded = fastlm.load(path, verify=False)
    Trainer(loaded, threads=1, batch_size=4, output=path).fit(CORPUS, epochs=2)
    assert arrays_of(fastlm.load(path)) == arrays_of(loaded) != arrays_of(make())


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("state", ["new", "trained", "loaded"])
def test_copies_are_equal_and_independent(
    make: Make, tmp_path: Path, how: Callable[[NeuralModel], NeuralModel], state: str
) -> None:
    model = make()
    if state == "trained":
        Trainer(model, threads=1, batch_size=4).fit(CORPUS, epochs=1)
    if state == "loaded":
        model.save(tmp_path / "model.fastlm")
        model = fastlm.load(tmp_path / "model.fastlm", verify=False)
    expected = model.token_log_probs(CORPUS)
    other = how(model)
    assert (other.config, other.vocabulary, other.info) == (model.config, model.vocabulary, model.info)
    assert other.token_log_probs(CORPUS).tobytes() == expected.tobytes()
    Trainer(other, threads=1, batch_size=4).fit(CORPUS, epochs=1)
    assert arrays_of(other) != arrays_of(model)
    assert model.token_log_probs(CORPUS).tobytes() == expected.tobytes()
    assert not any(np.shares_memory(other.parameters[name], model.parameters[name]) for name in model.parameters)


def test_models_go_to_spawned_processes() -> None:
    models = [make_model() for make_model in MODELS.values()]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for model in models:
            assert pool.apply(model.token_log_probs, (CORPUS,)).tobytes() == model.token_log_probs(CORPUS).tobytes()


def test_eight_threads_use_one_model(make: Make, context: str, tmp_path: Path) -> None:
    make(context=context).save(tmp_path / "model.fastlm")
    model = fastlm.load(tmp_path / "model.fastlm", verify=False)

    def use() -> tuple[bytes, ...]:
        ids = np.tile(IDS, 8)
        scores, state = model.score_ids(model.start(), ids)
        corpus = model.token_log_probs(Corpus.from_ids(ids, VOCABULARY), num_streams=3)
        generated = model.generate("the cat", max_tokens=20, seed=3)
        return (scores.tobytes(), model.log_probs(state).tobytes(), corpus.tobytes(), generated.encode())

    expected, results = use(), []
    start = threading.Barrier(8)

    def many() -> None:
        start.wait(30)
        results.extend(use() for _ in range(5))

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40
    assert set(results) == {expected}


# Wrong arguments


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[(size, value) for size in ("embedding_dim", "hidden_size") for value in (0, -1, 2.5, "3", None, True)],
        *[("dropout", value) for value in (1.0, -0.1, 1, float("nan"), "x", None)],
        *[("context", value) for value in ("document", "", None, 3)],
        *[("dtype", value) for value in ("float16", "int32", None, 4)],
        *[("seed", value) for value in (-1, 1.5, "x", None)],
    ],
)
def test_wrong_options_are_named(make: Make, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{option}.* {re.escape(repr(value))}"):
        make(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("embedding_dropout", value) for value in (1.0, -0.1, "x")],
        *[(name, value) for name in ("word_dropout", "recurrent_dropout") for value in (1.0, -0.1, None)],
        *[
            (name, value)
            for name in ("activation_penalty", "temporal_penalty", "recurrent_rate_factor")
            for value in (-1.0, None)
        ],
        *[("cell", "rnn"), ("cell", None), ("num_layers", 0), ("num_layers", 1.5), ("residual", 1), ("tied", None)],
    ],
)
def test_wrong_options_of_an_rnnlm_are_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{option}.* {re.escape(repr(value))}"):
        MODELS["rnnlm"](**{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [("context_size", 0), ("context_size", 1.5), ("direct", "yes"), ("direct", 1)]
)
def test_wrong_options_of_an_nnlm_are_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{option}.* {re.escape(repr(value))}"):
        MODELS["nnlm"](**{option: value})


@pytest.mark.parametrize("option", ["embedding_dim", "hidden_size"])
def test_sizes_beyond_all_machines_are_named(make: Make, option: str) -> None:
    for size in (2_000_000, 10**30):
        with pytest.raises(ValueError, match=f"{option} must be at most 1,000,000, got {size:,}"):
            make(**{option: size})


@pytest.mark.parametrize("vocabulary", [None, ["the", "cat"], "words.txt"])
def test_what_is_no_vocabulary(vocabulary: Any) -> None:
    for kind in (fastlm.NNLM, fastlm.RNNLM):
        with pytest.raises(ValueError, match=f"must be a Vocabulary, got {type(vocabulary).__name__}"):
            kind(vocabulary)


def test_truth_is_no_id(make: Make) -> None:
    model = make()
    with pytest.raises(ValueError, match="id is True"):
        model.advance(model.start(), True)


def test_numbers_of_numpy_are_as_good(make: Make, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "embedding_dim": np.int64(5),
        "hidden_size": np.int32(7),
        "dropout": np.float32(0.25),
        "seed": np.int64(1),
        "dtype": np.dtype("float64"),
    }
    model = make(**given)
    model.save(tmp_path / "model.fastlm")
    assert fastlm.load(tmp_path / "model.fastlm").config == model.config
    assert model.config["dropout"] == 0.25
    assert arrays_of(model) == arrays_of(make(embedding_dim=5, hidden_size=7, seed=1, dtype="float64"))


@pytest.mark.parametrize("id", [-1, V, V + 5, 2**40, 1.5, b"the", None])
def test_ids_out_of_range(model: NeuralModel, id: Any) -> None:
    with pytest.raises(ValueError, match=f"id is .*{id}.*, expected .*0 to {V - 1}"):
        model.advance(model.start(), id)
    if isinstance(id, int):
        with pytest.raises(ValueError, match=f"id is {id}, expected .*0 to {V - 1}"):
            model.score_ids(model.start(), np.array([2, id, 3]))


@pytest.mark.parametrize("ids", [np.zeros((2, 2), np.int32), np.zeros(3), np.array(["a"]), np.array(True), np.array(3)])
def test_ids_that_are_none(model: NeuralModel, ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a one-dimensional array of integers"):
        model.score_ids(model.start(), ids)


def test_a_corpus_of_another_vocabulary(model: NeuralModel) -> None:
    larger = Vocabulary([f"w{i}" for i in range(100)])
    with pytest.raises(ValueError, match="another vocabulary"):
        model.token_log_probs(Corpus.from_ids([90, 91, 92], larger))


@pytest.mark.parametrize("num_streams", [0, -3])
def test_streams_must_be_positive(make: Make, num_streams: int) -> None:
    for context in ("sentence", "continuous"):
        with pytest.raises(ValueError, match=f"num_streams.*{num_streams}"):
            make(context=context).token_log_probs(CORPUS, num_streams=num_streams)


# Model files that are not what they say


def altered(make: Make, path: Path, alter: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> Path:
    """Write a whole and valid file whose config and arrays are `alter`ed."""
    model = make()
    config, arrays = dict(model.config), dict(model.parameters)
    alter(config, arrays)
    write_model(path, ModelContents(model.architecture, config, VOCABULARY, arrays, {}))
    return path


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda config, arrays: arrays.pop("embedding.weight"), "no array 'embedding.weight'"),
        (lambda config, arrays: arrays.pop("output.bias"), "no array 'output.bias'"),
        (lambda config, arrays: arrays.update(extra=np.zeros(3, np.float32)), "does not have: extra"),
        (
            lambda config, arrays: arrays.update({"output.bias": np.zeros(3, np.float32)}),
            r"'output.bias' is float32\[3\]",
        ),
        (lambda config, arrays: arrays.update({"output.bias": np.zeros(V)}), "'output.bias' is float64"),
        (lambda config, arrays: config.update(embedding_dim=6), "expected"),
        (lambda config, arrays: config.update(hidden_size=2**60), "hidden_size must be at most"),
        (lambda config, arrays: config.update(hidden_size="7"), "hidden_size"),
        (lambda config, arrays: config.update(hidden_size=-7), "hidden_size"),
        (lambda config, arrays: config.update(context="document"), "document"),
        (lambda config, arrays: config.update(dtype="float16"), "float16"),
        (lambda config, arrays: config.update(dtype=[1]), "config does not describe"),
        (lambda config, arrays: config.update(dropout=7), "dropout"),
        (lambda config, arrays: config.update(attention=True), "attention"),
        (lambda config, arrays: config.update(source=None), "source"),
        (lambda config, arrays: config.update(vocabulary=["a"]), "vocabulary"),
        (lambda config, arrays: config.pop("dtype"), "dtype"),
        (lambda config, arrays: config.pop("context"), "context"),
        (lambda config, arrays: config.pop("hidden_size"), "expected"),
        (lambda config, arrays: config.pop("dropout"), "config does not say dropout"),
        (lambda config, arrays: config.clear(), "config"),
    ],
)
def test_files_with_other_contents(make: Make, tmp_path: Path, alter: Callable[..., object], message: str) -> None:
    path = altered(make, tmp_path / "model.fastlm", alter)
    with pytest.raises(ModelFileError, match=message):
        fastlm.load(path)


@pytest.mark.parametrize("architecture", ["transformer", "NNLM"])
def test_files_of_unknown_architecture(make: Make, tmp_path: Path, architecture: str) -> None:
    model = make()
    contents = ModelContents(architecture, model.config, VOCABULARY, model.parameters, {})
    write_model(tmp_path / "model.fastlm", contents)
    with pytest.raises(ModelFileError, match=f"architecture '{architecture}', expected one of nnlm, rnnlm"):
        fastlm.load(tmp_path / "model.fastlm")


def test_files_of_the_other_architecture(make: Make, tmp_path: Path) -> None:
    model = make()
    other = "rnnlm" if model.architecture == "nnlm" else "nnlm"
    contents = ModelContents(other, model.config, VOCABULARY, model.parameters, {})
    write_model(tmp_path / "model.fastlm", contents)
    with pytest.raises(ModelFileError):
        fastlm.load(tmp_path / "model.fastlm")


def test_files_with_another_vocabulary(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.fastlm"
    model = make()
    contents = ModelContents(model.architecture, model.config, Vocabulary(["a"]), model.parameters, {})
    write_model(path, contents)
    with pytest.raises(ModelFileError, match=r"'embedding.weight' is float32\[12, 5\], expected float32\[4, 5\]"):
        fastlm.load(path)
    assert read_model(path).vocabulary == Vocabulary(["a"])


def test_a_state_is_the_same_whatever_states_are_beside_it() -> None:
    """Also where it has as many as the products of a CPU's matrix unit are for: samples are the same for any number."""
    vocabulary = Vocabulary([f"w{i}" for i in range(300)])
    for model in (
        RNNLM(vocabulary, embedding_dim=64, hidden_size=70, seed=1),
        NNLM(vocabulary, context_size=3, embedding_dim=64, hidden_size=70, seed=1),
    ):
        ids = np.arange(200, dtype=np.int32)
        states = model.advance([model.start()] * len(ids), ids)
        many = model.log_probs(states)
        for count in (16, 33, 64, 150):
            assert model.log_probs(states[:count]).tobytes() == many[:count].tobytes()
            after = model.log_probs(model.advance([model.start()] * count, ids[:count]))
            assert after[:16].tobytes() == many[:16].tobytes()
            targets = ids[:count]
            assert model.log_prob(states[:count], targets).tobytes() == model.log_prob(states, ids)[:count].tobytes()
