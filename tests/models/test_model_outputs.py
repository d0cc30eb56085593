"""Any model takes any output layer: the options, what is learned, files, and scores without normalisation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import Corpus, FastLMError, ModelFileError, Trainer, Vocabulary
from fastlm.modelfile import read_model, write_model
from fastlm.models import NNLM, RNNLM, NeuralModel
from fastlm.models.outputs import USED_BY, OutputOptions
from fastlm.nn.outputs import OUTPUTS
from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "lay", "rug", "a", "bird"]
COUNTS = [3, 9, 20, 8, 7, 6, 5, 5, 4, 3, 2, 12]  # not in the order of the ids
VOCABULARY = Vocabulary(WORDS, COUNTS)
TEXT = ["the cat sat on the mat", "a dog lay on the rug", "the bird sat on a mat"]
CORPUS = Corpus.encode(TEXT * 4, VOCABULARY)
OPTIONS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "class": {"num_classes": 4},
    "adaptive": {"cutoffs": [4, 8]},
    "sampled": {"num_samples": 8},
    "nce": {"num_samples": 8},
    "tied softmax": {"tied": True},
    "tied sampled": {"tied": True, "num_samples": 8},
    "tied nce": {"tied": True, "num_samples": 8},
}
Make = Callable[..., NeuralModel]


@pytest.fixture(params=OPTIONS)
def output(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["nnlm", "rnnlm"])
def make(request: pytest.FixtureRequest) -> Make:
    def make_model(output: str, vocabulary: Vocabulary = VOCABULARY, **options: Any) -> NeuralModel:
        sizes = {"embedding_dim": 8, "hidden_size": 16, "dropout": 0.0}
        chosen = sizes | {"output": output.removeprefix("tied ")} | OPTIONS[output] | options
        if request.param == "nnlm":
            return NNLM(vocabulary, context_size=2, **chosen)
        return RNNLM(vocabulary, **chosen)

    return make_model


def test_epochs_say_what_is_an_estimate(make: Make, output: str) -> None:
    (epoch,) = Trainer(make(output)).fit(CORPUS, CORPUS, epochs=1).epochs
    assert epoch.estimated == (output.removeprefix("tied ") in ("sampled", "nce"))


def train(model: NeuralModel, epochs: int = 60, **options: Any) -> NeuralModel:
    batch = {"batch_size": 13} if isinstance(model, NNLM) else {"batch_size": 3, "bptt_len": 5}
    Trainer(model, learning_rate=0.02, warmup_steps=0, patience=epochs, **batch, **options).fit(CORPUS, epochs=epochs)
    return model


def test_it_learns_a_text_by_heart(make: Make, output: str) -> None:
    report = train(make(output)).evaluate(CORPUS, num_streams=1)
    assert report.normalised
    assert report.perplexity < 2


def test_a_batch_is_one_by_one_and_sums_to_one(make: Make, output: str) -> None:
    model = train(make(output, dtype="float64"), epochs=2)
    scores, state = [], model.start()
    for id in CORPUS.ids[:40].tolist():
        log_probs = model.log_probs(state)
        np.testing.assert_allclose(np.exp(log_probs).sum(), 1)
        scores.append(log_probs[id])
        state = model.advance(state, id)
    np.testing.assert_allclose(model.token_log_probs(CORPUS)[:40], scores)
    np.testing.assert_allclose(model.score_ids(model.start(), CORPUS.ids[:40])[0], scores)


def test_save_and_load(make: Make, output: str, tmp_path: Path) -> None:
    model = train(make(output), epochs=1)
    model.save(tmp_path / "model.fastlm")
    loaded = fastlm.load(tmp_path / "model.fastlm")
    assert loaded.config == model.config
    assert loaded.config["output"] == output.removeprefix("tied ")
    assert loaded.config["tied"] == ("tied" in output)
    assert loaded.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()


def test_threads_give_the_same_model(make: Make, output: str) -> None:
    models = [train(make(output), epochs=2, threads=threads) for threads in (1, 2, 7)]
    bytes_of_all = {tuple(array.tobytes() for array in model.parameters.values()) for model in models}
    assert len(bytes_of_all) == 1


def test_what_learns_from_samples_predicts_as_a_softmax(make: Make) -> None:
    """The same parameters, by the same names."""
    softmax = make("softmax")
    for output in ("sampled", "nce"):
        other = make(output)
        assert {name: array.shape for name, array in other.parameters.items()} == {
            name: array.shape for name, array in softmax.parameters.items()
        }
        assert other.token_log_probs(CORPUS).tobytes() == softmax.token_log_probs(CORPUS).tobytes()


# Scores without normalisation


@pytest.mark.parametrize("output", ["sampled", "nce"])
def test_scores_differ_from_probabilities_by_log_z(make: Make, output: str) -> None:
    model = train(make(output, dtype="float64"), epochs=5)
    scores = np.empty(CORPUS.num_tokens)
    for positions, block in model.score_blocks(CORPUS):
        scores[positions] = block
    exact, quick = model.evaluate(CORPUS), model.evaluate(CORPUS, normalised=False)
    norms = abs(scores - model.token_log_probs(CORPUS))
    assert exact.log_prob == pytest.approx(model.token_log_probs(CORPUS).sum())
    assert quick.log_prob == pytest.approx(scores.sum())
    assert (exact.normalised, quick.normalised) == (True, False)
    assert exact.log_norm_mean == pytest.approx(norms.mean())
    assert exact.log_norm_99 == pytest.approx(np.quantile(norms, 0.99, method="inverted_cdf"), abs=1e-3)
    assert quick.log_norm_mean is quick.log_norm_99 is None
    assert "|log Z|" in str(exact)
    assert "not normalised" in str(quick)
    assert "|log Z|" not in str(quick)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_parameters_that_are_not_finite_are_named(make: Make, output: str, value: float) -> None:
    model = make(output)
    model.parameters["output.head.bias" if output == "adaptive" else "output.bias"][:] = value
    with pytest.raises(FastLMError, match="its parameters are not finite"):
        model.evaluate(CORPUS)


@pytest.mark.parametrize("output", ["softmax", "class", "adaptive"])
def test_what_is_normalised_anyway_has_no_other_scores(make: Make, output: str) -> None:
    model = make(output)
    assert not model.self_normalised
    assert model.evaluate(CORPUS).log_norm_mean is None
    assert "log Z" not in str(model.evaluate(CORPUS))
    with pytest.raises(ValueError, match="only models with output 'sampled' or 'nce'"):
        model.evaluate(CORPUS, normalised=False)
    with pytest.raises(ValueError, match="has no scores that are near probabilities"):
        list(model.score_blocks(CORPUS))


@pytest.mark.parametrize("output", ["softmax", "sampled"])
def test_self_normalising_brings_z_near_one(make: Make, output: str) -> None:
    norms = [
        train(make(output, self_normalising=strength), epochs=20).evaluate(CORPUS).log_norm_mean
        for strength in (1e-9, 1.0)  # nothing to speak of, and much
    ]
    assert norms[0] is not None
    assert norms[1] is not None
    assert norms[1] < 0.5 * norms[0]


def test_a_softmax_that_is_self_normalised_is_so_from_its_file(make: Make, tmp_path: Path) -> None:
    model = make("softmax", self_normalising=0.25)
    model.save(tmp_path / "m.fastlm")
    loaded = fastlm.load(tmp_path / "m.fastlm")
    assert loaded.self_normalised
    assert loaded.config["self_normalising"] == 0.25
    exact, scores = model.evaluate(CORPUS), loaded.evaluate(CORPUS, normalised=False)
    assert exact.log_norm_mean is not None
    assert 0 < abs(exact.log_prob - scores.log_prob) <= exact.log_norm_mean * CORPUS.num_tokens * 1.001
    assert "self_normalising" not in make("softmax", self_normalising=0.0).config


def test_the_loss_that_is_reported_is_without_the_penalty(make: Make) -> None:
    """The same parameters, and no dropout: what training says of them is the cross-entropy, an exact one."""
    losses, gradients = [], []
    for strength in (0.0, 10.0):
        model = make("softmax", self_normalising=strength, dropout=0.0)
        batch = next(iter(model.training_batches(CORPUS, batch_size=4, bptt_len=5, seed=(1,))))
        workspace = Workspace(model.dtype, Workers(1), training=True)
        losses.append(model.loss_and_gradients(batch, workspace)[0])
        gradients.append(model.output.parameters[-1].gradient_rows().values.copy())
    assert losses[0] == losses[1]
    assert not np.allclose(gradients[0], gradients[1])


# Options


def test_what_the_layer_chooses_is_in_the_config(make: Make) -> None:
    assert make("softmax").config["output"] == "softmax"
    assert make("sampled").config["num_samples"] == 8
    assert {"noise_power", "self_normalising"} <= make("sampled").config.keys()
    assert "noise_power" not in make("softmax").config
    for output in ("class", "adaptive"):
        cutoffs = make(output, **({"cutoffs": [2, 7]} if output == "adaptive" else {})).config["cutoffs"]
        assert cutoffs == sorted(set(cutoffs))
        assert 0 < cutoffs[0] < cutoffs[-1] < len(VOCABULARY)


def test_cutoffs_are_chosen_where_none_are_given() -> None:
    counts = (1e6 / np.arange(1, 5003)).astype(np.int64)
    vocabulary = Vocabulary([f"w{i}" for i in range(5000)], counts)
    model = NNLM(vocabulary, context_size=1, embedding_dim=4, hidden_size=16, output="adaptive")
    assert model.config["cutoffs"]
    assert model.parameters["output.head.weight"].shape == (
        model.config["cutoffs"][0] + len(model.config["cutoffs"]),
        16,
    )


def test_every_option_says_who_uses_it() -> None:
    assert USED_BY.keys() | {"output"} == OutputOptions.__annotations__.keys()
    assert {kind for kinds in USED_BY.values() for kind in kinds} <= OUTPUTS.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output": "hierarchical"},
            "output is 'hierarchical', expected 'softmax', 'class', 'adaptive', 'sampled', 'nce'",
        ),
        ({"output": None}, "output is None"),
        ({"num_samples": 5}, "num_samples is 5, but output 'softmax' does not use it, only 'sampled' and 'nce'"),
        ({"output": "nce", "self_normalising": 0.1}, "self_normalising is 0.1, but output 'nce' does not use it"),
        ({"output": "adaptive", "num_classes": 5}, "num_classes is 5, but output 'adaptive' does not use it"),
        ({"output": "sampled", "num_samples": 0}, "num_samples must be a whole number of at least 1, got 0"),
        ({"output": "sampled", "num_samples": 2.5}, "num_samples must be a whole number"),
        ({"output": "sampled", "num_samples": 10**9}, "num_samples must be at most 1,000,000"),
        ({"output": "nce", "noise_power": -0.5}, "noise_power is -0.5, expected at least 0"),
        ({"output": "nce", "noise_power": float("nan")}, "noise_power must be a finite number"),
        ({"output": "sampled", "noise_power": 500}, "noise_power is 500, expected at most 10"),
        ({"output": "sampled", "self_normalising": "yes"}, "self_normalising must be a finite number"),
        ({"output": "class", "num_classes": 1}, "num_classes must be a whole number of at least 2"),
        ({"output": "class", "num_classes": 3, "cutoffs": [2]}, "num_classes and cutoffs"),
        ({"output": "adaptive", "cutoffs": []}, "expected at least one number, rising, from 1 to 11"),
        ({"output": "adaptive", "cutoffs": [5, 5]}, "rising"),
        ({"output": "adaptive", "cutoffs": [5, 3]}, "rising"),
        ({"output": "adaptive", "cutoffs": [5, 12]}, "from 1 to 11"),
        ({"output": "adaptive", "cutoffs": [0, 3]}, "each of the cutoffs must be a whole number of at least 1"),
        ({"output": "adaptive", "cutoffs": 7}, "cutoffs are 7"),
        ({"output": "class", "cutoffs": "12"}, "each of the cutoffs"),
        ({"tied": 1}, "tied is 1, expected True or False"),
        ({"tied": None}, "tied is None, expected True or False"),
        ({"output": "class", "tied": True}, "tied is True, but output 'class' does not use it, only 'softmax'"),
        ({"output": "adaptive", "tied": True}, "tied is True, but output 'adaptive' does not use it"),
    ],
)
def test_wrong_options_are_named(make: Make, options: dict[str, Any], message: str) -> None:
    given = {"embedding_dim": 2, "hidden_size": 2} | options
    for model in (NNLM, RNNLM):
        with pytest.raises(ValueError, match=message):
            model(VOCABULARY, **given)


@pytest.mark.parametrize("output", ["class", "adaptive"])
def test_tables_that_are_not_tied_may_be_said_to_be_so(make: Make, output: str) -> None:
    assert make(output, tied=False).config == make(output).config


def test_an_unknown_option_is_no_argument() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'outputs'"):
        RNNLM(VOCABULARY, outputs="nce")


@pytest.mark.parametrize("output", ["class", "adaptive", "sampled", "nce"])
def test_a_vocabulary_without_counts(make: Make, output: str) -> None:
    with pytest.raises(ValueError, match=f"output '{output}' goes by how frequent words are, but .* no counts"):
        make(output, Vocabulary(WORDS))


# Files


def test_files_from_before_there_was_a_choice(make: Make, tmp_path: Path) -> None:
    """Version 0.1.0 wrote no `output`: it was the softmax."""
    model, path = make("softmax"), tmp_path / "model.fastlm"
    model.save(path)
    contents = read_model(path)
    assert contents.config.pop("output") == "softmax"
    assert contents.config.pop("tied") is False
    write_model(path, contents)
    loaded = fastlm.load(path)
    assert loaded.config == model.config
    assert loaded.token_log_probs(CORPUS).tobytes() == model.token_log_probs(CORPUS).tobytes()


@pytest.mark.parametrize(
    ("output", "change", "message"),
    [
        ("class", {"cutoffs": [1, 2]}, "expected float32"),
        ("class", {"cutoffs": [99]}, "cutoffs are"),
        ("adaptive", {"cutoffs": [4]}, "expected float32|does not have"),
        ("sampled", {"num_samples": -1}, "num_samples"),
        ("sampled", {"output": "class"}, "num_samples"),
    ],
)
def test_files_with_other_options(
    make: Make, tmp_path: Path, output: str, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "model.fastlm"
    make(output).save(path)
    contents = read_model(path)
    contents.config.update(change)
    write_model(path, contents)
    with pytest.raises(ModelFileError, match=message):
        fastlm.load(path)


@pytest.mark.parametrize("option", ["num_samples", "noise_power", "self_normalising"])
def test_files_that_lack_an_option(make: Make, tmp_path: Path, option: str) -> None:
    path = tmp_path / "model.fastlm"
    make("sampled").save(path)
    contents = read_model(path)
    del contents.config[option]
    write_model(path, contents)
    with pytest.raises(ModelFileError, match=f"config does not say {option}"):
        fastlm.load(path)
