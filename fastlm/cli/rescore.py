"""The verb `rescore`: the n-best lists of a decoder, scored by a model."""

import argparse
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from fastlm.cli.adaptation import add_normalise, load_models
from fastlm.cli.options import finite_float, whole_number

if TYPE_CHECKING:
    from fastlm.models.base import LanguageModel

__all__ = ["add_parser"]

EPILOG = """\
Moses' format has a line a hypothesis, `number ||| words ||| features ||| total`. The log-probability (nats) becomes
one more feature; with --weight it is also added to the total, that many times, and the hypotheses of a sentence are
put in the order of their totals.

Kaldi's has `UTTERANCE-NUMBER words`, as nbest-to-linear and int2sym.pl write it. Written is `UTTERANCE-NUMBER cost`:
the negative log-probability, or with --weight and --costs the cost in that file and so many times that of the model.

Every hypothesis is scored at a fresh start, with the end of the sentence, as `fastlm score` does it; one without words
is a sentence that ends at once."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "score the n-best lists of a decoder, in the format of Moses or of Kaldi"
    parser = verbs.add_parser(
        "rescore",
        help=purpose,
        description=f"{purpose.capitalize()}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=rescore, wrong_call=parser.error)
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument("nbest", metavar="NBEST", help="the lists: plain, .gz, .xz, .zst, or - for standard input")
    parser.add_argument("--format", choices=("moses", "kaldi"), help="which format it is (seen by its first line)")
    parser.add_argument(
        "--weight",
        metavar="W",
        type=finite_float,
        help="add so much of the log-probability to the given scores",
    )
    parser.add_argument("--costs", metavar="FILE", help="Kaldi's costs so far, a line for each hypothesis")
    parser.add_argument("--feature", metavar="NAME", default="FastLM0", help="Moses' name for the score (FastLM0)")
    parser.add_argument(
        "--threads", metavar="N", type=whole_number(1), help="lists that are scored at a time (all cores)"
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    parser.add_argument(  # no line can be left out: there is an answer to each
        "--errors",
        choices=("strict", "replace"),
        default="strict",
        help="what to do with a line that is not UTF-8: stop, or put U+FFFD for wrong bytes",
    )
    add_normalise(parser)


def rescore(options: argparse.Namespace) -> None:
    """Print the lists with the model's scores."""
    from fastlm.inference.threads import map_in_order

    _check(options)
    model = load_models([options.model], options)[0]
    for lines in map_in_order(lambda nbest: _rescored(model, nbest, options), _read(options), options.threads):
        print("\n".join(lines))


def _check(options: argparse.Namespace) -> None:
    if options.costs is not None and options.weight is None:
        options.wrong_call("argument --costs: the scores are added to them with a weight; give --weight")
    if options.nbest == options.costs == "-":
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    if not options.feature or set(options.feature) & set(" \t|="):
        options.wrong_call(f"argument --feature: expected a name without blanks, | and =, got {options.feature!r}")


def _read(options: argparse.Namespace) -> Iterator[list[Any]]:
    from fastlm.text.nbest import SEPARATOR, read_kaldi, read_moses

    lines = _lines(options.nbest, options.errors)
    first = next(lines, None)
    if first is None:
        return
    lines = chain([first], lines)
    if options.format == "moses" or (options.format is None and SEPARATOR in first):
        if options.costs is not None:
            options.wrong_call("argument --costs: Moses' lists have their scores in them; leave it out")
        yield from read_moses(lines, options.nbest)
    else:
        if options.weight is not None and options.costs is None:
            options.wrong_call("argument --weight: Kaldi's lists have no scores in them; give those, with --costs")
        costs = None if options.costs is None else _lines(options.costs, options.errors)
        yield from read_kaldi(lines, options.nbest, costs, str(options.costs))


def _lines(path: str, errors: str) -> Iterator[str]:
    """Yield the lines; what is wrong with one is said without the advice to leave it out."""
    from fastlm.errors import LineError
    from fastlm.text.source import TextReader

    try:
        yield from TextReader(path, errors).lines()
    except LineError as error:
        what, _, _ = error.problem.partition(";")
        raise LineError(
            error.name, error.line, f"{what}; convert the list to UTF-8, or give --errors replace to put U+FFFD there"
        ) from error


def _rescored(model: "LanguageModel", nbest: list[Any], options: argparse.Namespace) -> Iterable[str]:
    """Return the lines to print for the hypotheses of an utterance."""
    from fastlm.errors import DataError
    from fastlm.inference.rescoring import score_nbest

    try:
        log_probs = score_nbest(model, [hypothesis.text for hypothesis in nbest]).tolist()
    except DataError as error:
        raise DataError(f"utterance {nbest[0].utterance}, {error}") from error
    rescored = [
        hypothesis.rescored(log_prob, options.feature, options.weight)
        for hypothesis, log_prob in zip(nbest, log_probs, strict=True)
    ]
    if options.weight is not None and options.costs is None:
        rescored.sort(key=lambda hypothesis: -hypothesis.total)
    return [str(hypothesis) for hypothesis in rescored]
