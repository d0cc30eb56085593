"""The verb `adapt`: a model that learns from the text it reads, in the settings that suit a held-out text best."""

import argparse
import math
import os
from typing import Any

from fastlm.cli.corpora import read_text
from fastlm.cli.options import add_errors, given, non_negative_float, share, whole_number
from fastlm.cli.output import print_json, print_table, teller

__all__ = ["add_parser"]

SETTINGS = ("learning_rate", "decay", "segment_size", "cache_size", "cache_weight", "flatness")
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
    if options.train is not None:
        text = read_text(options.train, source.vocabulary, options.errors)
        sizes = fastlm.gradient_sizes(source, text, threads=options.threads, progress=not options.quiet)
    model = fastlm.Adapted(source, gradient_sizes=sizes, **settings)
    if options.tune is not None:
        text = read_text(options.tune, model.vocabulary, options.errors)
        model.tune(text, fixed=settings, threads=options.threads, progress=not options.quiet)
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
    if options.output == "-":
        options.wrong_call("standard output (-) takes no model; give the name of a file")
    if options.train == options.tune == "-":
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    read = (options.source, options.tune or "", options.train or "")
    if any(os.path.realpath(options.output) == os.path.realpath(path) for path in read):
        options.wrong_call(f"{options.output} would be overwritten, but it is to be read; give another name")
