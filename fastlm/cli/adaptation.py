"""How the verbs that read a text are told to adapt to it, document by document; or to normalise a model's scores."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastlm.cli.options import add_errors

if TYPE_CHECKING:
    from fastlm.models import LanguageModel
    from fastlm.text.source import TextReader

__all__ = ["add_documents", "add_normalise", "add_reading_options", "load_models", "open_lines"]


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a text is read."""
    add_errors(parser)
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="let networks learn from the text as they read it: dynamic evaluation and a cache, in their usual "
        "settings (better ones: fastlm adapt)",
    )
    add_documents(parser)


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Add the option that says that a text is made of documents."""
    parser.add_argument(
        "--documents",
        action="store_true",
        default=False,
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


def open_lines(path: str, errors: str) -> "TextReader":
    """Open a text whose lines are needed as they stand."""
    from fastlm.storage import is_container
    from fastlm.text.source import TextReader

    if is_container(path):
        raise ValueError(
            f"{path} is a prepared corpus, which has neither its empty lines nor its unknown words; give the text "
            "itself"
        )
    return TextReader(path, errors)
