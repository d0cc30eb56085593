"""How the verbs that read a text are told to adapt to it, or to normalise a frozen model's scores."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastlm.cli.options import add_errors

if TYPE_CHECKING:
    from fastlm.models import LanguageModel

__all__ = ["add_normalise", "add_reading_options", "load_models"]


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a text is read."""
    add_errors(parser)
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="let networks learn from the text as they read it: dynamic evaluation and a cache, in their usual "
        "settings (better ones: fastlm adapt)",
    )
    parser.add_argument(
        "--documents",
        action="store_true",
        help="an empty line ends a document: the next one is read afresh, and what was learned from it is forgotten",
    )


def add_normalise(parser: argparse.ArgumentParser) -> None:
    """Add the option of the verbs that take a frozen model's scores as they are."""
    parser.add_argument(
        "--normalise",
        action="store_true",
        help="normalise the scores of a frozen model exactly; slower (those of all others are exact anyway)",
    )


def load_models(paths: Sequence[str], options: argparse.Namespace) -> "list[LanguageModel]":
    """Load model files; with --adapt, their networks adapt."""
    import fastlm

    models = [fastlm.load(path, verify=options.verify) for path in paths]
    if getattr(options, "normalise", False):
        models = [model.exact() for model in models]
    if getattr(options, "adapt", False):
        from fastlm.models.adapted import adapt_networks

        models = [adapt_networks(model) for model in models]
        if not any(model.adapts for model in models):
            raise ValueError(f"--adapt: no network is in {' and '.join(paths)}, and counts do not adapt; leave it out")
    return models
