"""The verb `mix`: several models to one, their linear mixture."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import read_text
from fastlm.cli.files import check_model_file
from fastlm.cli.options import add_errors, weights, whole_number
from fastlm.cli.output import print_json, print_table, teller

if TYPE_CHECKING:
    from fastlm.models import LanguageModel

__all__ = ["add_parser", "check_weights", "labels"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "mix models of one vocabulary to one model, with weights found on held-out text"
    parser = verbs.add_parser("mix", help=purpose, description=f"{purpose.capitalize()}.", allow_abbrev=False)
    parser.set_defaults(run=mix, wrong_call=parser.error)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="two model files or more")
    parser.add_argument("-o", "--model", dest="output", metavar="MIXTURE", required=True, help="the file to write")
    parser.add_argument(
        "--tune", metavar="FILE", help="find the weights by EM on this text, of which no model has learned"
    )
    parser.add_argument(
        "--weights", metavar="W,W", type=weights, help="take these, with commas between (all alike, without --tune)"
    )
    parser.add_argument(
        "--num-streams",
        metavar="N",
        type=whole_number(1),
        default=16,
        help="parts of the text read side by side in continuous context (16)",
    )
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no messages")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    add_errors(parser)


def mix(options: argparse.Namespace) -> None:
    """Write the mixture, and print its weights."""
    _check_call(options)
    import fastlm
    from fastlm.storage import check_writable

    check_writable(options.output)
    models = [fastlm.load(path) for path in options.models]
    mixture = fastlm.Mixture(models, options.weights)
    if options.tune is not None:
        text = read_text(options.tune, mixture.vocabulary, options.errors)
        mixture.tune(text, num_streams=options.num_streams, threads=options.threads, progress=not options.quiet)
    mixture.save(options.output)
    teller(quiet=options.quiet)(f"the mixture is in {options.output}")
    parts = list(zip(labels(models, options.models), mixture.models, mixture.weights, strict=True))
    if options.json:
        described = [
            {"model": name, "architecture": part.architecture, "weight": weight} for name, part, weight in parts
        ]
        print_json({"model": options.output, "models": described})
    else:
        print_table([(f"{weight:.4f}", part.architecture, name) for name, part, weight in parts])


def labels(models: "Sequence[LanguageModel]", paths: Sequence[str]) -> list[str]:
    """Name the models of a mixture: by their files, and in a file of several also by what they are."""
    from fastlm.models import Mixture

    found = []
    for model, path in zip(models, paths, strict=True):
        parts = model.models if isinstance(model, Mixture) else ()
        found += [f"{path}: {part.architecture}" for part in parts] or [path]
    return found


def _check_call(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, as a wrong call."""
    if len(options.models) < 2:
        options.wrong_call("one model is no mixture; name two model files or more")
    check_weights(options, len(options.models))
    check_model_file(options, *options.models, options.tune)


def check_weights(options: argparse.Namespace, num_models: int) -> None:
    """Refuse weights of a mixture that are to be found as well, or that do not fit its models, as a wrong call."""
    if options.weights is None:
        return
    if options.tune is not None:
        options.wrong_call("argument --tune: it finds the weights; leave out --weights")
    if len(options.weights) != num_models:
        options.wrong_call(f"argument --weights: got {len(options.weights)} for {num_models} models")
