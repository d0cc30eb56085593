"""Frozen window models: the scores of the model that they are made of, in files that are mapped."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import NNLM, RNNLM, Adapted, Corpus, FrozenNNLM, Mixture, ModelFileError, NGramLM, Vocabulary
from fastlm.inference.rescoring import tree_log_probs
from fastlm.inference.tokens import text_log_probs
from fastlm.modelfile import read_model, write_model
from fastlm.models import frozen as module
from fastlm.nn.parallel import Workers

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]
VOCABULARY = Vocabulary(WORDS, np.arange(9, 0, -1))
V = len(VOCABULARY)
TEXT = [
    "the cat sat on the mat",
    "나는 고양이",
    "",
    "the mat sat zebra",
    "on the cat the mat sat on the cat",
    "cat",
] * 4
CORPUS = Corpus.encode(TEXT, VOCABULARY)

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS: dict[str, dict[str, Any]] = {
    "tanh": {},
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu"},
    "continuous": {"context": "continuous"},
    "one word": {"context_size": 1, "hidden_size": 33},
    "tied": {"tied": True, "embedding_dim": 9, "hidden_size": 9},
    "tied, with another width": {"tied": True, "context": "continuous"},
    "sampled": {"output": "sampled", "num_samples": 5},
    "nce": {"output": "nce", "num_samples": 5, "tied": True},
    "float64": {"dtype": "float64"},
}


def make(**options: Any) -> NNLM:
    if options.get("output", "softmax") == "softmax":
        options = {"self_normalising": 0.1} | options
    model = NNLM(VOCABULARY, **({"context_size": 5, "embedding_dim": 6, "hidden_size": 20} | options))
    random = np.random.default_rng(7)
    for parameter in model.parameter_list:
        parameter.value += 0.4 * random.normal(size=parameter.value.shape).astype(model.dtype)
    return model


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> NNLM:
    return make(**KINDS[request.param])


def scores_of(model: NNLM, corpus: Corpus) -> np.ndarray:
    """Return what the output layer of the model says before normalisation."""
    scores = np.empty(corpus.num_tokens)
    for positions, values in model.score_blocks(corpus):
        scores[positions] = values
    return scores


def near(actual: object, expected: object, tolerance: float = 3e-5) -> None:
    np.testing.assert_allclose(actual, expected, tolerance, tolerance)


# The model that it is made of is the oracle


def test_scores_are_those_of_the_model(model: NNLM) -> None:
    frozen = FrozenNNLM.of(model)
    near(frozen.token_log_probs(CORPUS), scores_of(model, CORPUS))
    near(frozen.exact().token_log_probs(CORPUS), model.token_log_probs(CORPUS))


def test_distributions_are_those_of_the_model(model: NNLM) -> None:
    frozen = FrozenNNLM.of(model)
    states, originals = [frozen.start()], [model.start()]
    for word in ["the", "zebra", "mat", "</s>", "on", "the"]:
        states.append(states[-1].advance(word))
        originals.append(originals[-1].advance(word))
        assert states[-1].key == originals[-1].key
        near(states[-1].log_probs(), originals[-1].log_probs())
    near(frozen.log_probs(states), model.log_probs(originals))
    assert frozen.log_probs(states).shape == (7, V)
    near(np.exp(frozen.log_probs(states)).sum(axis=1), 1)


def test_states_give_scores_and_the_exact_model_log_probs(model: NNLM) -> None:
    frozen = FrozenNNLM.of(model)
    ids = CORPUS.ids[:20].astype(np.int32)
    for one, expected in [
        (frozen, scores_of(model, CORPUS)[:20]),
        (frozen.exact(), model.token_log_probs(CORPUS)[:20]),
    ]:
        state, states = one.start(), []
        for id in ids.tolist():
            states.append(state)
            state = state.advance(id)
        near([state.log_prob(id) for state, id in zip(states, ids.tolist(), strict=True)], expected)
        near(one.log_prob(states, ids), expected)
        whole, after = one.score_ids(one.start(), ids)
        near(whole, expected)
        assert after == state
        first, between = one.score_ids(one.start(), ids[:7])
        rest, after = one.score_ids(between, ids[7:])
        assert np.concatenate([first, rest]).tobytes() == whole.tobytes()
        assert after == state


def test_reports(model: NNLM) -> None:
    frozen, report = FrozenNNLM.of(model), model.evaluate(CORPUS)
    exact, scored = frozen.evaluate(CORPUS), frozen.evaluate(CORPUS, normalised=False)
    assert exact.perplexity == pytest.approx(report.perplexity, rel=1e-5)
    assert exact.log_norm_mean == pytest.approx(report.log_norm_mean, abs=1e-4)
    assert exact.normalised
    assert not scored.normalised
    assert scored.log_prob == pytest.approx(scores_of(model, CORPUS).sum(), abs=1e-3)
    assert frozen.exact().evaluate(CORPUS).perplexity == exact.perplexity


def test_int8_is_as_near_as_its_steps_allow(model: NNLM) -> None:
    """Half a step of each of the n rows of a sum, and of the output's; tanh and relu make no difference larger."""
    exact, rounded = FrozenNNLM.of(model), FrozenNNLM.of(model, dtype="int8")
    table, steps = exact.parameters, rounded.parameters
    assert steps["hidden.rows"].dtype == steps["output.weight"].dtype == np.int8
    restored = steps["hidden.rows"] * steps["hidden.scales"][..., None]
    assert (np.abs(restored - table["hidden.rows"]) <= 0.501 * steps["hidden.scales"][..., None]).all()
    slope = 1.13 if model.config["activation"] == "gelu" else 1
    error = slope * 0.501 * steps["hidden.scales"].max(axis=0).sum()
    largest = np.abs(table["hidden.rows"]).max(axis=(0, 2)).sum() + np.abs(table["hidden.bias"]).max()
    hidden_size = model.config["hidden_size"]
    bound = error * np.abs(table["output.weight"]).sum(axis=1).max()
    bound += (
        (min(largest, 1) if model.config["activation"] == "tanh" else largest)
        * hidden_size
        * 0.501
        * steps["output.scales"].max()
    )
    difference = np.abs(exact.token_log_probs(CORPUS) - rounded.token_log_probs(CORPUS)).max()
    assert 0 < difference < 1.1 * bound + 1e-4
    report = rounded.evaluate(CORPUS)
    assert report.perplexity == pytest.approx(exact.evaluate(CORPUS).perplexity, rel=0.1)


def test_rows_of_zeros_are_rounded_to_zeros() -> None:
    model = make()
    model.embeddings[3] = 0
    near(FrozenNNLM.of(model, dtype="int8").token_log_probs(CORPUS), FrozenNNLM.of(model).token_log_probs(CORPUS), 0.3)


# With everything else of a model


@pytest.mark.parametrize("context", ["sentence", "continuous"])
def test_everything_of_a_model_works(context: str) -> None:
    model = make(context=context)
    frozen = FrozenNNLM.of(model)
    exact = frozen.exact()
    near([p.probability for p in frozen.predict("the cat")], [p.probability for p in model.predict("the cat")])
    assert frozen.generate("the", seed=3) == exact.generate("the", seed=3)
    assert frozen.beam_search("the", 2)[0].text == model.beam_search("the", 2)[0].text
    near(exact.score_nbest(["the cat", "the mat sat"]), model.score_nbest(["the cat", "the mat sat"]))
    near(exact.score("the cat").log_prob, model.score("the cat").log_prob)
    near(frozen.score_nbest(["the cat", "the mat"]), [frozen.score(text).log_prob for text in ("the cat", "the mat")])
    near(exact.measure_tokens(TEXT)["entropy"], model.measure_tokens(TEXT)["entropy"])
    assert frozen.embeddings.shape == (V + 1, 5 * 20)
    assert {neighbour.word for neighbour in frozen.similar("cat", 3)} <= set(WORDS)
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert twin.token_log_probs(CORPUS).tobytes() == frozen.token_log_probs(CORPUS).tobytes()


def test_words_that_are_used_alike_are_neighbours() -> None:
    model = make()
    model.embeddings[VOCABULARY["mat"]] = 1.01 * model.embeddings[VOCABULARY["cat"]]
    for dtype in ("float32", "int8"):
        assert FrozenNNLM.of(model, dtype=dtype).similar("mat", 1)[0].word == "cat"


def test_a_mixture_takes_the_exact_model() -> None:
    model, ngram = make(), NGramLM(VOCABULARY, order=2).fit(CORPUS)
    mixture, expected = Mixture([FrozenNNLM.of(model), ngram]), Mixture([model, ngram])
    near(mixture.token_log_probs(CORPUS), expected.token_log_probs(CORPUS))
    near(mixture.start().log_probs(), expected.start().log_probs())


def test_a_mixture_is_as_exact_from_its_file(tmp_path: Path) -> None:
    mixture = Mixture([FrozenNNLM.of(make(), dtype="int8"), NGramLM(VOCABULARY, order=2).fit(CORPUS)])
    mixture.save(tmp_path / "m.fastlm")
    loaded = fastlm.load(tmp_path / "m.fastlm")
    assert loaded.token_log_probs(CORPUS).tobytes() == mixture.token_log_probs(CORPUS).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("exact", [False, True])
def test_any_number_of_threads_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch, dtype: str, exact: bool) -> None:
    frozen = FrozenNNLM.of(make(context="continuous"), dtype=dtype)
    frozen = frozen.exact() if exact else frozen
    of_one_block = frozen.token_log_probs(CORPUS)
    monkeypatch.setattr(module, "QUERIES_WORTH_A_THREAD", 3)
    for size in (5, 64):
        monkeypatch.setattr(module, "BLOCK_QUERIES", size)
        monkeypatch.setattr(module, "LARGE_BLOCK", size)
        expected = frozen.token_log_probs(CORPUS)
        if not exact:
            assert expected.tobytes() == of_one_block.tobytes()
        np.testing.assert_allclose(expected, of_one_block, 1e-6)  # products of few rows are made in another way
        for threads in (1, 2, 7):
            with Workers(threads) as workers:
                assert frozen.token_log_probs(CORPUS, workers=workers).tobytes() == expected.tobytes()
                log_probs, _ = frozen.score_ids(frozen.start(), CORPUS.ids, workers=workers)
                assert log_probs.tobytes() == expected.tobytes()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: frozen.token_log_probs(CORPUS).tobytes(), range(8)))
    assert set(results) == {expected.tobytes()}


@pytest.mark.parametrize("context", ["sentence", "continuous"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_text_is_scored_from_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: str, threads: int
) -> None:
    monkeypatch.setattr("fastlm.text.source.BLOCK_SIZE", 32)  # so that blocks end within sentences
    frozen = FrozenNNLM.of(make(context=context))
    path = tmp_path / "text.txt"
    path.write_text("\n".join(TEXT), encoding="utf-8")
    blocks = list(frozen.text_log_probs(path, threads=threads))
    assert len(blocks) > 5
    assert (
        np.concatenate(blocks).astype(np.float32).tobytes()
        == frozen.token_log_probs(CORPUS).astype(np.float32).tobytes()
    )
    empty = tmp_path / "empty.txt"
    empty.touch()
    assert list(frozen.text_log_probs(empty)) == []


def test_the_text_of_other_models_is_scored_as_well() -> None:
    model = NGramLM(VOCABULARY, order=3).fit(CORPUS)
    near(np.concatenate(list(text_log_probs(model, TEXT))), model.token_log_probs(CORPUS))


def test_ids_out_of_range_are_refused() -> None:
    frozen = FrozenNNLM.of(make())
    for ids in ([2, V], [-1, 2], [V + 1]):
        with pytest.raises(ValueError, match="an id of the model's vocabulary"):
            frozen.score_ids(frozen.start(), np.array(ids))


def test_a_pickled_state_of_another_model_is_refused() -> None:
    frozen = FrozenNNLM.of(make())
    words = Vocabulary([*WORDS, *"abcdef"], np.arange(20, 5, -1))
    other = NNLM(words, context_size=5, embedding_dim=3, hidden_size=4).start().advance("f")
    with pytest.raises(ValueError, match="ids of the states"):
        frozen.log_prob(pickle.loads(pickle.dumps(other)), "the")
    narrow = NNLM(VOCABULARY, context_size=2, embedding_dim=3, hidden_size=4).start()
    with pytest.raises(ValueError, match="of another model, expected windows of 5 words"):
        frozen.log_probs(pickle.loads(pickle.dumps(narrow)))


def test_what_adapts_takes_the_exact_model() -> None:
    model = make(context="continuous")
    adapted = Adapted(FrozenNNLM.of(model), cache_size=9)
    near(adapted.model.token_log_probs(CORPUS), model.token_log_probs(CORPUS))
    near(np.exp(adapted.start().log_probs()).sum(), 1)


def test_log_z_is_zero_in_the_mean_of_a_centred_model(model: NNLM) -> None:
    for dtype in ("float32", "int8"):
        frozen = FrozenNNLM.of(model, dtype=dtype)
        centred = frozen.centred(CORPUS, threads=1)
        scores, log_probs = centred.token_log_probs(CORPUS), centred.exact().token_log_probs(CORPUS)
        assert np.mean(scores - log_probs) == pytest.approx(0, abs=1e-5)
        near(log_probs, frozen.exact().token_log_probs(CORPUS))
        near(scores + centred.info["centred_by"], frozen.token_log_probs(CORPUS))
        assert centred.evaluate(CORPUS, normalised=False).loss == pytest.approx(centred.evaluate(CORPUS).loss, abs=1e-5)


def test_a_centred_model_is_as_exact_as_before() -> None:
    frozen = FrozenNNLM.of(make())
    centred = frozen.exact().centred(CORPUS, threads=1)
    assert centred.info["centred_by"] == frozen.centred(CORPUS, threads=1).info["centred_by"] != 0
    state = centred.start()
    near(state.log_prob("cat"), state.log_probs()[VOCABULARY["cat"]])
    near(centred.token_log_probs(CORPUS), frozen.exact().token_log_probs(CORPUS))


def test_surprisals_differ_by_log_z_where_distributions_are_taken() -> None:
    frozen = FrozenNNLM.of(make())
    norms = frozen.token_log_probs(CORPUS) - frozen.exact().token_log_probs(CORPUS)
    with_them, without = (frozen.measure_tokens(TEXT, distribution=taken, threads=1) for taken in (True, False))
    near(with_them["surprisal"] - without["surprisal"], norms, 1e-4)


# Prefix trees


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("context", ["sentence", "continuous"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_tree_gives_the_bytes_of_its_states(dtype: str, context: str, exact: bool) -> None:
    frozen = FrozenNNLM.of(make(context=context, context_size=3), dtype=dtype)
    frozen = frozen.exact() if exact else frozen
    parents = np.array([-1, 0, 1, 2, 3, 2, 5, 3, -1, 8, 9, 10], np.int32)  # deeper than the window, and shallower
    ids = np.array([2, 3, 4, 2, 1, 5, 0, 6, 3, 3, 4, 2], np.int32)
    assert frozen.tree_log_probs(parents, ids).tobytes() == tree_log_probs(frozen, parents, ids).tobytes()
    assert len(frozen.tree_log_probs(parents[:0], ids[:0])) == 0


def test_a_tree_of_words_out_of_range_is_refused() -> None:
    frozen = FrozenNNLM.of(make())
    for id in (-1, V):
        with pytest.raises(ValueError, match="an id of the model's vocabulary"):
            frozen.tree_log_probs(np.array([-1, 0]), np.array([id, 2]))


# What can be frozen


@pytest.mark.parametrize(
    ("make_model", "reason"),
    [
        (lambda: make(num_layers=2), "it has 2 layers"),
        (lambda: make(num_averages=1, context="continuous"), "it sees 1 averages"),
        (lambda: make(direct=True), "it has direct connections"),
        (lambda: make(output="class", num_classes=3), "its output is 'class'"),
        (lambda: make(output="adaptive", cutoffs=[4]), "its output is 'adaptive'"),
        (lambda: make(self_normalising=0.0), "its scores are no probabilities before they are normalised"),
        (lambda: RNNLM(VOCABULARY, embedding_dim=4, hidden_size=4), "it is of the kind 'rnnlm'"),
        (lambda: NGramLM(VOCABULARY, order=2).fit(CORPUS), "it is of the kind 'ngram'"),
        (lambda: Adapted(make()), "it is of the kind 'adapted'"),
        (lambda: FrozenNNLM.of(make()), "it is of the kind 'frozen'"),
    ],
)
def test_what_cannot_be_frozen(make_model: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be frozen: {reason}.*what can be frozen is the textbook's NNLM"):
        FrozenNNLM.of(make_model())


def test_a_type_that_tables_do_not_have() -> None:
    with pytest.raises(ValueError, match="dtype is 'int4', expected 'float32' or 'int8'"):
        FrozenNNLM.of(make(), dtype="int4")


# Files


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_file_gives_the_same_model(tmp_path: Path, model: NNLM, dtype: str) -> None:
    frozen, path = FrozenNNLM.of(model, dtype=dtype), tmp_path / "m.fastlm"
    report = frozen.measure(CORPUS)
    frozen.save(path)
    for verify in (False, True):
        loaded = fastlm.load(path, verify=verify)
        assert isinstance(loaded, FrozenNNLM)
        assert loaded.config == frozen.config
        assert loaded.token_log_probs(CORPUS).tobytes() == frozen.token_log_probs(CORPUS).tobytes()
        assert loaded.info["held_out_log_norm_mean"] == report.log_norm_mean
        assert loaded.info["held_out_log_norm_99"] == report.log_norm_99
        assert loaded.info["held_out_perplexity"] == report.perplexity
        assert loaded.info["held_out_num_tokens"] == CORPUS.num_tokens
        assert not any(array.flags.owndata or array.flags.writeable for array in loaded.parameters.values())
    again = tmp_path / "again.fastlm"
    fastlm.load(path).save(again)
    assert again.read_bytes() == path.read_bytes()


def test_a_cut_and_an_altered_file(tmp_path: Path) -> None:
    path = tmp_path / "m.fastlm"
    FrozenNNLM.of(make(), dtype="int8").save(path)
    saved = path.read_bytes()
    for length in range(0, len(saved), 97):
        path.write_bytes(saved[:length])
        with pytest.raises(ModelFileError, match="cannot use"):
            fastlm.load(path)
    for position in range(0, len(saved), 53):
        path.write_bytes(saved[:position] + bytes([saved[position] ^ 0x21]) + saved[position + 1 :])
        with pytest.raises(ModelFileError):
            fastlm.load(path)
        with suppress(ModelFileError):
            np.isfinite(fastlm.load(path, verify=False).score("the cat").log_prob)


def test_contents_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "m.fastlm"
    frozen = FrozenNNLM.of(make())

    def refused(message: str, **changed: Any) -> None:
        frozen.save(path)
        contents = read_model(path)
        for name, value in changed.items():
            target = contents.arrays if name in contents.arrays else contents.config
            if value is None:
                del target[name]
            else:
                target[name] = value
        write_model(path, contents)
        with pytest.raises(ModelFileError, match=f"does not describe a frozen model: .*{message}"):
            fastlm.load(path)

    refused("context_size", context_size=None)
    refused("hidden_size", hidden_size=0)
    refused("activation is 'cos'", activation="cos")
    refused("dtype is 'int4'", dtype="int4")
    refused("unexpected keyword argument 'order'", order=3)
    refused(r"the array 'hidden.rows' is float32\[10, 5, 20\], expected float32\[10, 5, 21\]", hidden_size=21)
    refused("missing .*output.bias", **{"output.bias": None})
    refused("missing .*hidden.scales", dtype="int8")
    refused(r"expected float32\[20\]", **{"hidden.bias": np.zeros(20, np.float64)})
    refused(r"expected float32\[9, 20\]", **{"output.weight": np.zeros((8, 20), np.float32)})


def test_opening_reads_no_table(tmp_path: Path) -> None:
    """What is behind the header may be anything as long as nobody verifies it."""
    path = tmp_path / "m.fastlm"
    frozen = FrozenNNLM.of(make())
    frozen.save(path)
    rows = frozen.parameters["hidden.rows"]
    path.write_bytes(path.read_bytes().replace(rows.tobytes(), np.full_like(rows, np.nan).tobytes()))
    loaded = fastlm.load(path, verify=False)
    assert np.isnan(loaded.parameters["hidden.rows"]).all()
    with pytest.raises(fastlm.FastLMError, match="NaN"):
        loaded.score("the cat")


def test_training_brings_scores_near_log_probs() -> None:
    """What the penalty is for, from training to the frozen model."""
    text = Corpus.encode(TEXT * 20, VOCABULARY)
    norms = []
    for strength in (1e-9, 1.0):
        model = NNLM(VOCABULARY, context_size=2, embedding_dim=6, hidden_size=20, self_normalising=strength)
        fastlm.Trainer(model, batch_size=16, learning_rate=0.01).fit(text, epochs=4)
        norms.append(FrozenNNLM.of(model).evaluate(CORPUS).log_norm_mean)
    assert norms[1] is not None
    assert norms[0] is not None
    assert norms[1] < 0.5 * norms[0]
    assert norms[1] < 0.2


def test_a_workspace_of_the_trained_model_is_left_alone() -> None:
    model = make()
    before = {name: array.copy() for name, array in model.parameters.items()}
    FrozenNNLM.of(model).exact().token_log_probs(CORPUS)
    assert all((array == before[name]).all() for name, array in model.parameters.items())
    assert model.output.score_table()[0].shape == (V, 20)
    with pytest.raises(TypeError, match="has no table"):
        make(output="class", num_classes=3).output.score_table()


# The golden files


def make_golden_file_of_version_1(path: Path, dtype: str) -> None:
    """Write a golden file; this was done once, and is not done again."""
    config = {"context_size": 2, "hidden_size": 3, "activation": "relu", "context": "continuous", "dtype": dtype}
    table = np.dtype(dtype)
    arrays: dict[str, np.ndarray] = {
        "hidden.rows": (np.arange(30).reshape(5, 2, 3) - 9).astype(table),
        "hidden.bias": np.array([0.5, -1, 2], np.float32),
        "output.weight": (np.arange(12).reshape(4, 3) % 5 - 2).astype(table),
        "output.bias": np.array([-2, -1.5, -1, 0], np.float32),
    }
    if dtype == "int8":
        arrays["hidden.scales"] = (1 + np.arange(10).reshape(5, 2)).astype(np.float32) / 64
        arrays["output.scales"] = np.array([0.25, 0.5, 0.125, 0.25], np.float32)
    model = FrozenNNLM(Vocabulary(["the", "cat"], [1, 4, 3, 2]), arrays, **config)
    model.info = {"held_out_perplexity": 2.5}
    model.save(path)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("verify", [True, False])
def test_golden_files_of_version_1(tmp_path: Path, dtype: str, verify: bool) -> None:
    golden = GOLDEN / f"frozen-{dtype}-version-1.safetensors"
    make_golden_file_of_version_1(tmp_path / "m.fastlm", dtype)
    assert golden.read_bytes() == (tmp_path / "m.fastlm").read_bytes()
    model = fastlm.load(golden, verify=verify)
    arrays = model.parameters
    rows = arrays["hidden.rows"] * (arrays["hidden.scales"][..., None] if dtype == "int8" else 1.0)
    output = arrays["output.weight"] * (arrays["output.scales"][..., None] if dtype == "int8" else 1.0)
    hidden = np.maximum(arrays["hidden.bias"] + rows[3, 0] + rows[2, 1], 0)
    scores = hidden @ output.T + arrays["output.bias"]
    state = model.start().advance("cat").advance("the")
    near([state.log_prob(id) for id in range(4)], scores)
    near(state.log_probs(), scores - np.log(np.exp(scores).sum()))
    assert model.info == {"held_out_perplexity": 2.5}
