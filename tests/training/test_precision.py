"""Training with products of bfloat16: near float32, the same for any number of threads, refused where it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm import NNLM, RNNLM, Corpus, Trainer, Vocabulary
from fastlm.cli.main import main
from fastlm.inference.evaluation import evaluate
from fastlm.models import NeuralModel
from fastlm.nn.parallel import Workers, possible_precisions, products_of
from fastlm.nn.parameters import Rows
from fastlm.nn.workspace import Workspace

needs_amx = pytest.mark.skipif("bfloat16" not in possible_precisions(), reason="this CPU has no AMX-BF16")

V = 90
VOCABULARY = Vocabulary([f"w{i}" for i in range(V - 2)], np.arange(V, 0, -1))
TEXT = Corpus.from_ids(np.random.default_rng(3).zipf(1.5, 1500).clip(1, V - 1), VOCABULARY)
SIZES: dict[str, Any] = {"embedding_dim": 24, "hidden_size": 40, "dropout": 0.0}
MODELS: dict[str, NeuralModel] = {
    "elman": RNNLM(VOCABULARY, **SIZES),
    "gru": RNNLM(VOCABULARY, cell="gru", num_layers=2, **SIZES),
    "lstm": RNNLM(VOCABULARY, cell="lstm", tied=True, recurrent_dropout=0.3, **SIZES),
    "nnlm": NNLM(VOCABULARY, context_size=3, **SIZES),
    "nnlm-modern": NNLM(
        VOCABULARY, context_size=5, num_layers=2, num_averages=2, activation="gelu", context="continuous", **SIZES
    ),
    "adaptive": RNNLM(VOCABULARY, output="adaptive", **SIZES),
    "class": RNNLM(VOCABULARY, output="class", **SIZES),
    "sampled": RNNLM(VOCABULARY, output="sampled", num_samples=30, **SIZES),
}


def gradients(model: NeuralModel, precision: str, threads: int = 1) -> dict[str, np.ndarray]:
    """Return the gradients of the first batch of the text, by parameter."""
    found = {}
    with Workers(threads) as workers:
        workspace = Workspace(np.float32, workers, training=True)
        options = {} if model.default_bptt_len is None else {"bptt_len": 11}
        batches = model.training_batches(TEXT, **{"batch_size": 7, "bptt_len": None, "seed": (1, 1)} | options)
        for parameter in model.parameter_list:
            parameter.clear_gradient()
        with products_of(precision):
            model.loss_and_gradients(next(iter(batches)), workspace)
        for parameter in model.parameter_list:
            gradient, dense = parameter.gradient, np.zeros_like(parameter.matrix)
            if isinstance(gradient, Rows):
                dense[gradient.ids] = gradient.values
            elif gradient is not None:
                dense[:] = gradient.reshape(dense.shape)
            found[parameter.name] = dense
            parameter.release_gradient()
    return found


@needs_amx
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_near_those_of_float32(name: str) -> None:
    rounded, exact = (gradients(MODELS[name], precision) for precision in ("bfloat16", "float32"))
    assert any(rounded[key].tobytes() != exact[key].tobytes() for key in exact)
    for key, expected in exact.items():
        error = np.linalg.norm(rounded[key] - expected)
        assert error <= 0.02 * np.linalg.norm(expected), f"{key}: {error / np.linalg.norm(expected):.3f}"


@needs_amx
@pytest.mark.parametrize("name", MODELS)
def test_gradients_do_not_depend_on_threads(name: str) -> None:
    one, three = (gradients(MODELS[name], "bfloat16", threads) for threads in (1, 3))
    assert {key: array.tobytes() for key, array in one.items()} == {k: array.tobytes() for k, array in three.items()}


@needs_amx
def test_what_is_evaluated_is_float32() -> None:
    model = RNNLM(VOCABULARY, **SIZES)
    history = Trainer(model, precision="bfloat16", batch_size=4).fit(TEXT, TEXT, epochs=2)
    assert history.report is not None
    assert history.report.loss == evaluate(model, TEXT).loss == history.best.valid_loss
    assert model.info["training"]["precision"] == "bfloat16"
    with Workers(1) as workers:
        with products_of("bfloat16"):
            rounded = evaluate(model, TEXT, workers=workers).loss
        assert evaluate(model, TEXT, workers=workers).loss == history.report.loss
    assert rounded == pytest.approx(history.report.loss, rel=1e-2)
    assert rounded != history.report.loss


@needs_amx
def test_it_learns_as_well_as_float32() -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = RNNLM(VOCABULARY, seed=5, **SIZES)
        losses[precision] = Trainer(model, precision=precision, batch_size=4).fit(TEXT, epochs=5).epochs[-1].train_loss
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)


@needs_amx
def test_a_recipe_takes_it() -> None:
    recipe = fastlm.recipe("elman", precision="bfloat16", embedding_dim=8, hidden_size=8)
    trainer = recipe.trainer(recipe.model(VOCABULARY))
    assert trainer.precision == "bfloat16"


@needs_amx
def test_the_command_line_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, model = tmp_path / "text", tmp_path / "model"
    text.write_text("the cat sat on the mat\n" * 30, encoding="utf-8")
    options = ["--precision", "bfloat16", "--epochs", "1", "--embedding-dim", "8", "--hidden-size", "8", "--quiet"]
    assert main(["train", "rnnlm", str(text), "-o", str(model), *options]) == 0
    assert main(["info", str(model), "--json"]) == 0
    assert '"precision": "bfloat16"' in capsys.readouterr().out


# What is refused


def test_no_precision_is_not_written_down() -> None:
    model = RNNLM(VOCABULARY, **SIZES)
    Trainer(model).fit(TEXT, epochs=1)
    assert "precision" not in model.info["training"]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'half', expected one of float32, bfloat16"):
        Trainer(MODELS["elman"], precision="half")


def test_a_model_of_float64_is_refused() -> None:
    model = RNNLM(VOCABULARY, dtype="float64", **SIZES)
    with pytest.raises(ValueError, match="precision is 'bfloat16', but the model is of float64; leave it out"):
        Trainer(model, precision="bfloat16")


def test_a_machine_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlm.training.trainer.possible_precisions", lambda: ("float32",))
    with pytest.raises(ValueError, match="'bfloat16', but there is no AMX on this machine"):
        Trainer(MODELS["elman"], precision="bfloat16")
