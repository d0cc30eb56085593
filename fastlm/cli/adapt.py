"""The verb `adapt`: a model that learns from the text it reads, in the settings that suit a held-out text best."""

import argparse
import math
from typing import TYPE_CHECKING, Any

from fastlm.cli.adaptation import add_documents, open_lines
from fastlm.cli.corpora import read_text
from fastlm.cli.files import check_inputs, check_model_file
from fastlm.cli.options import add_errors, given, non_negative_float, share, whole_number
from fastlm.cli.output import print_json, print_table, teller

if TYPE_CHECKING:
    from fastlm.models import LanguageModel
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["add_parser"]

SETTINGS = ("learning_rate", "decay", "segment_size", "cache_size", "cache_weight", "flatness")
OF_NETWORKS = ("decay", "segment_size", "flatness")  # what means nothing to other models
EPILOG = """\
The file that is written holds the model as it was, and the settings; whatever reads a text with it begins with the
model as it was. Settings that are given are kept; the others are found on the text of --tune, or the usual ones."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "let a model learn from the text it reads: dynamic evaluation and a cache, tuned on held-out text"
    parser = verbs.add_parser(
        "adapt",
        help=purpose,
        description=f"{purpose.capitalize()}.",
        epilog=EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=adapt, wrong_call=parser.error)
    parser.add_argument("source", metavar="MODEL", help="a model file, of a network mostly")
    parser.add_argument("-o", "--model", dest="output", metavar="ADAPTED", required=True, help="the file to write")
    parser.add_argument("--tune", metavar="FILE", default=None, help="find the settings on this text")
    add_documents(parser)
    parser.add_argument("--threads", metavar="N", type=whole_number(1), default=None, help="worker threads (all cores)")
    parser.add_argument("--quiet", action="store_true", default=False, help="no progress and no messages")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, for programs")
    _add_settings(parser)
    add_errors(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dynamic evaluation (Krause et al. 2018)")
    group.add_argument(
        "--train",
        metavar="FILE",
        default=None,
        help="the text that the network was trained on: gradients are divided by their usual size there",
    )
    group.add_argument(
        "--learning-rate", metavar="R", type=non_negative_float, help="of each step; 0: none (0.03; with --train 0.5)"
    )
    group.add_argument(
        "--decay", metavar="D", type=non_negative_float, help="how far parameters go back after each step (0.005)"
    )
    group.add_argument("--segment-size", metavar="N", type=whole_number(1), help="words from which to take a step (10)")
    group = parser.add_argument_group("cache (Grave et al. 2017)")
    group.add_argument("--cache-weight", metavar="W", type=share, help="its share of the probability; 0: none (0.1)")
    group.add_argument("--flatness", metavar="F", type=non_negative_float, help="0: all its words count alike (0.2)")
    group.add_argument("--cache-size", metavar="N", type=whole_number(1), help="how many words it goes back (2000)")


def adapt(options: argparse.Namespace) -> None:
    """Write the model that adapts, and print its settings."""
    _check_call(options)
    import fastlm
    from fastlm.storage import check_writable

    check_writable(options.output)
    settings = given(options, SETTINGS)
    source, sizes = fastlm.load(options.source), None
    _check_model(source, settings, options.source)
    if options.train is not None:
        learned = read_text(options.train, source.vocabulary, options.errors)
        sizes = fastlm.gradient_sizes(source, learned, threads=options.threads, progress=not options.quiet)
    model = fastlm.Adapted(source, gradient_sizes=sizes, **settings)
    if options.tune is not None:
        held_out = _held_out(options, model.vocabulary)
        model.tune(held_out, fixed=settings, threads=options.threads, progress=not options.quiet)
    model.save(options.output)
    teller(quiet=options.quiet)(f"the model is in {options.output}")
    found = {name: getattr(model.settings, name) for name in SETTINGS} | model.info.get("tuning", {})
    if options.json:
        print_json({"model": options.output, **found})
    else:
        print_table(
            [(name.replace("_", " "), f"{math.inf if value is None else value:.6g}") for name, value in found.items()]
        )


def _check_call(options: argparse.Namespace) -> None:
    """Refuse what gets in each other's way, as a wrong call."""
    check_inputs(options, options.train, options.tune)
    check_model_file(options, options.source, options.train, options.tune)
    if options.documents and options.tune is None:
        options.wrong_call("argument --documents: it is about the text of --tune; give that, or leave it out")


def _check_model(source: "LanguageModel", settings: dict[str, Any], path: str) -> None:
    """Refuse a mixture whose networks would not learn, and settings that mean nothing to a model."""
    from fastlm.models import Mixture
    from fastlm.models.adapted import adapt_networks
    from fastlm.models.neural import NeuralModel

    if isinstance(source, NeuralModel):
        return
    if isinstance(source, Mixture) and adapt_networks(source).adapts and settings.get("learning_rate") != 0:
        raise ValueError(
            f"{path} is a mixture, in which networks learn each by itself: adapt the networks, then mix; or give "
            "--learning-rate 0 for no more than a cache"
        )
    for name in OF_NETWORKS:
        if name in settings:
            raise ValueError(
                f"--{name.replace('_', '-')} is for networks, and {path} holds a {type(source).__name__}; leave it out"
            )


def _held_out(options: argparse.Namespace, vocabulary: "Vocabulary") -> "Corpus | list[Corpus]":
    """Read the text of --tune: a corpus, or with --documents a list of them."""
    from fastlm.inference.documents import read_documents

    if options.documents:
        return list(read_documents(open_lines(options.tune, options.errors), vocabulary))
    return read_text(options.tune, vocabulary, options.errors)
