"""Recipes make models that can be made, say all that they set, and are written down in the model's file."""

import inspect
from pathlib import Path

import pytest

import fastlm
from fastlm.cli.recipes import NAMES
from fastlm.models import NETWORKS
from fastlm.training.recipes import GOES_WITH, RECIPES, recipe
from fastlm.training.trainer import Trainer

SMALL = {"embedding_dim": 6, "hidden_size": 6, "epochs": 2}
WORDS = fastlm.Vocabulary(["the", "cat", "sat"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_there_is_and_has_values_that_hold(name: str) -> None:
    chosen = RECIPES[name]
    assert set(chosen.settings) <= set(chosen.names)
    assert chosen.epochs > 0
    model = recipe(name, embedding_dim=6, hidden_size=6).model(WORDS)
    assert isinstance(model, NETWORKS[chosen.architecture])
    trainer = chosen.trainer(model)
    for setting, value in chosen.settings.items():
        if setting in model.config and setting not in SMALL:
            assert model.config[setting] == value
        if setting in chosen.training_settings:
            assert getattr(trainer, setting) == value


def test_the_command_line_knows_all_of_them_by_family() -> None:
    families = {name: family for family, names in NAMES.items() for name in names}
    assert families == {name: chosen.architecture for name, chosen in RECIPES.items()}
    assert all(f'"{name}"' in (recipe.__doc__ or "") for name in RECIPES)


def test_every_setting_is_an_argument_of_somebody() -> None:
    for chosen in RECIPES.values():
        model = inspect.signature(NETWORKS[chosen.architecture])
        arguments = {*model.parameters, *inspect.signature(Trainer).parameters, "epochs"}
        text = {"vocab_size", "min_count", "tokenizer", "lower_case"}
        output = {"output", *GOES_WITH["output"]}
        assert set(chosen.names) <= arguments | text | output


def test_what_is_given_beside_it_overrides() -> None:
    lstm = recipe("lstm", hidden_size=300, tied=False, epochs=3)
    assert (lstm.model_settings["hidden_size"], lstm.model_settings["tied"], lstm.epochs) == (300, False, 3)
    assert lstm.overrides == {"hidden_size": 300, "tied": False, "epochs": 3}
    assert lstm.model_settings["cell"] == "lstm"
    again = lstm.overridden(epochs=4)
    assert again.overrides == {"hidden_size": 300, "tied": False, "epochs": 4}
    assert "hidden_size" not in recipe("lstm").overrides


def test_what_is_given_as_the_recipe_has_it_overrides_nothing() -> None:
    plain = RECIPES["lstm"]
    same = recipe("lstm", **{name: plain.settings[name] for name in ("optimizer", "tied", "epochs")})
    assert same.overrides == {}
    assert same.settings == plain.settings


def test_what_goes_with_a_setting_goes_with_it() -> None:
    sgd = recipe("lstm", optimizer="sgd")
    assert not {"learning_rate", "weight_decay"} & set(sgd.settings)
    assert sgd.trainer(sgd.overridden(**SMALL).model(WORDS)).learning_rate == 0.5
    assert recipe("lstm", optimizer="sgd", learning_rate=2.0).settings["learning_rate"] == 2.0
    assert "output_dropout" not in recipe("lstm", dropout=0.1).settings
    assert recipe("lstm", dropout=0.1, output_dropout=0.2).settings["output_dropout"] == 0.2
    assert "tied" not in recipe("lstm", output="adaptive").settings


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recipe("lstn"), "no recipe 'lstn'; there are nnlm-classic, "),
        (lambda: recipe("lstm", context_size=3), "'lstm' for an RNNLM has no setting 'context_size'; there are "),
        (lambda: recipe("nnlm", cell="gru"), "'nnlm' for an NNLM has no setting 'cell'"),
        (lambda: recipe("lstm", log="x"), "no setting 'log'"),
        (lambda: recipe("lstm").trainer(fastlm.NNLM(WORDS)), "'lstm' trains an RNNLM, got an NNLM"),
        (lambda: recipe("lstm").trainer(fastlm.RNNLM(WORDS), seed=3), "seed belongs to the recipe"),
    ],
)
def test_what_does_not_fit_is_said(call, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_the_model_file_names_the_recipe_and_what_was_changed(english_lines: list[str], tmp_path: Path) -> None:
    chosen = recipe("gru", **SMALL, batch_size=4)
    vocabulary = chosen.vocabulary(english_lines)
    text = fastlm.Corpus.encode(english_lines, vocabulary)
    model = chosen.model(vocabulary)
    path = tmp_path / "gru.fastlm"
    history = chosen.trainer(model, threads=1, output=path).fit(text, text)
    assert len(history.epochs) == 2
    assert fastlm.load(path).info["recipe"] == {"name": "gru", "overridden": {**SMALL, "batch_size": 4}}
    chosen.trainer(model, threads=1, output=path).fit(text, text, epochs=1)  # said to nobody but fit
    assert fastlm.load(path).info["recipe"]["overridden"]["epochs"] == 1


def test_a_model_that_is_not_by_the_recipe_is_said_to_differ(english_lines: list[str]) -> None:
    vocabulary = fastlm.Vocabulary.build(english_lines)
    text = fastlm.Corpus.encode(english_lines, vocabulary)
    model = fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=4)
    recipe("elman", epochs=1).trainer(model, threads=1).fit(text, text)
    overridden = model.info["recipe"]["overridden"]
    assert (overridden["hidden_size"], overridden["tied"]) == (4, False)
    assert "cell" not in overridden


def test_a_model_without_recipe_names_none(english_lines: list[str]) -> None:
    vocabulary = fastlm.Vocabulary.build(english_lines)
    text = fastlm.Corpus.encode(english_lines, vocabulary)
    model = fastlm.NNLM(vocabulary, embedding_dim=4, hidden_size=4)
    fastlm.Trainer(model, threads=1).fit(text, epochs=1)
    assert "recipe" not in model.info


def test_a_resumed_run_must_be_of_the_same_recipe(english_lines: list[str], tmp_path: Path) -> None:
    vocabulary = fastlm.Vocabulary.build(english_lines)
    text = fastlm.Corpus.encode(english_lines, vocabulary)
    elman = recipe("elman", **SMALL)
    checkpoint = tmp_path / "checkpoint"
    elman.trainer(elman.model(vocabulary), threads=1, checkpoint=checkpoint).fit(text, text)
    resumed = elman.model(vocabulary)
    elman.trainer(resumed, threads=1, checkpoint=checkpoint, resume=True).fit(text, text)
    assert resumed.info["recipe"]["name"] == "elman"
    same_options = fastlm.Trainer(
        elman.model(vocabulary), **elman.training_settings, threads=1, checkpoint=checkpoint, resume=True
    )
    with pytest.raises(ValueError, match="recipe is not known, there "):
        same_options.fit(text, text, epochs=2)
