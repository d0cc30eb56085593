"""The verb `filter`: the lines of a text that a model finds likely."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fastlm.cli.adaptation import add_normalise, load_models
from fastlm.cli.options import add_errors, positive_float, share, whole_number
from fastlm.cli.output import print_json

if TYPE_CHECKING:
    from fastlm.inference.interface import Model

__all__ = ["add_parser"]

EPILOG = """\
The perplexity of a line is that of `fastlm score`, over its words and the end of the sentence, at a fresh start: also
a model of continuous context reads every line by itself. Lines without words have none and are left out. A model
that has seen many unknown words in training finds lines of them likely, and --max-unknown leaves them out. How many
lines were kept is said on standard error."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "print the lines of a text whose perplexity is low enough"
    parser = verbs.add_parser(
        "filter", help=purpose, description=f"{purpose.capitalize()}.", epilog=EPILOG, allow_abbrev=False
    )
    parser.set_defaults(run=filter_lines, wrong_call=parser.error)
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the text; standard input if left out")
    parser.add_argument("--max-perplexity", metavar="N", type=positive_float, help="leave out lines above it")
    parser.add_argument("--min-perplexity", metavar="N", type=positive_float, help="leave out lines below it")
    parser.add_argument(
        "--max-unknown",
        metavar="X",
        type=share,
        help="leave out lines of which more than this share of the words is unknown, 0 to below 1 (none)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: number, text and perplexity of each line kept")
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    add_errors(parser)
    add_normalise(parser)


def filter_lines(options: argparse.Namespace) -> None:
    """Print the lines that are kept, in their order."""
    if options.max_perplexity is options.min_perplexity is options.max_unknown is None:
        options.wrong_call("nothing to filter by; give --max-perplexity, --min-perplexity or --max-unknown")
    least, most = options.min_perplexity or 0.0, options.max_perplexity or float("inf")
    if least > most:
        options.wrong_call(f"argument --min-perplexity: no line is above {least:g} and below {most:g}; exchange them")
    from fastlm.inference.tokens import line_perplexities
    from fastlm.text.source import TextReader

    model = load_models([options.model], options)[0]
    reader = TextReader(options.file, options.errors)
    number = num_kept = 0
    perplexities = line_perplexities(model, reader.lines(), threads=options.threads)
    for number, (text, perplexity) in enumerate(perplexities, start=1):
        is_likely = least <= perplexity <= most  # NaN is neither
        if is_likely and (options.max_unknown is None or share_unknown(model, text) <= options.max_unknown):
            num_kept += 1
            if options.json:
                print_json({"line": number, "text": text, "perplexity": perplexity})
            else:
                print(text)
    print(f"{num_kept:,} of {number - reader.num_skipped:,} lines kept", file=sys.stderr)


def share_unknown(model: "Model", text: str) -> float:
    """Return the share of a line's words that the model does not know; it has words."""
    ids = model.vocabulary.encode(text)
    return float((ids == model.vocabulary.unknown_id).mean())
