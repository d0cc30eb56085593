"""The option --recipe: all other options of a run at once, which those that stand beside it override."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastlm.cli.options import given

if TYPE_CHECKING:
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["NAMES", "add_recipe", "check_words", "take_recipe"]

NAMES = {
    "nnlm": ("nnlm-classic", "nnlm"),
    "rnnlm": ("elman", "gru", "lstm", "lstm-large", "quick", "subword"),
}
OPTION_NAMES = {"output": "output_layer"}  # of settings that have another name among the options


def add_recipe(parser: argparse.ArgumentParser, architecture: str) -> None:
    """Add the option to the parser of a kind of model."""
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        type=_recipe_of(architecture),
        help=f"take all settings of a recipe, but for options that are given: {', '.join(NAMES[architecture])}",
    )


def take_recipe(options: argparse.Namespace) -> None:
    """Set all that a recipe says and the caller does not, if one was asked for; put it in the place of its name."""
    if "recipe" not in options:
        return
    from fastlm.training.recipes import TEXT_SETTINGS, recipe

    options.recipe = recipe(options.recipe, **_given_settings(options))
    words_are_given = _words_are_given(options)
    for name, value in options.recipe.settings.items():
        if not (name in TEXT_SETTINGS and words_are_given):
            setattr(options, OPTION_NAMES.get(name, name), value)


def check_words(options: argparse.Namespace, vocabulary: "Vocabulary") -> None:
    """Refuse words from elsewhere where a recipe is one for subwords, and these are none."""
    from fastlm.text.subwords import SUBWORD
    from fastlm.text.tokenizer import HuggingFaceTokenizer

    if "recipe" not in options or options.recipe.settings.get("tokenizer") != SUBWORD:
        return
    if not isinstance(vocabulary.tokenizer, HuggingFaceTokenizer):
        options.wrong_call(
            f"argument --recipe: {options.recipe.name!r} is for subwords, but the words that are given are those of "
            f"the tokenizer {vocabulary.tokenizer.spec['kind']!r}; give the text itself, or a model of subwords by "
            "--vocab, or take another recipe"
        )


def _given_settings(options: argparse.Namespace) -> dict[str, Any]:
    from fastlm.training.recipes import RECIPES, TEXT_SETTINGS

    text = {name: value for name, value in given(options, TEXT_SETTINGS).items() if value}
    others = tuple(OPTION_NAMES.get(name, name) for name in RECIPES[options.recipe].names if name not in TEXT_SETTINGS)
    settings = {option: name for name, option in OPTION_NAMES.items()}
    return text | {settings.get(name, name): value for name, value in given(options, others).items()}


def _words_are_given(options: argparse.Namespace) -> bool:
    """Whether words and tokenizer come from elsewhere: a list, a model, a prepared corpus."""
    from fastlm.storage import is_container

    return options.vocab is not None or options.init is not None or is_container(options.file)


def _recipe_of(architecture: str) -> Callable[[str], str]:
    """Return a converter that takes the names of recipes for a kind of model, and says what others are."""

    def convert(name: str) -> str:
        for other, names in NAMES.items():
            if name in names and other != architecture:
                raise argparse.ArgumentTypeError(
                    f"{name} is a recipe for {other}, not for {architecture}: call fastlm train {other} --recipe "
                    f"{name}, or take {', '.join(NAMES[architecture])}"
                )
        if name not in NAMES[architecture]:
            raise argparse.ArgumentTypeError(
                f"there is no recipe {name!r}; for {architecture} there are {', '.join(NAMES[architecture])}"
            )
        return name

    return convert
