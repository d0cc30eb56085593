"""The verb `train ngram`: from a text to an n-gram model."""

import argparse
from typing import Any

from fastlm.cli.corpora import check_files, read_texts
from fastlm.cli.options import add_text_options, check_text_options, whole_number
from fastlm.cli.output import print_json, teller

__all__ = ["add_kind"]

MAX_ORDER = 16  # the model's; looking it up there would load all of NumPy


def add_kind(kinds: Any) -> None:
    """Add the n-gram model to the kinds that can be trained."""
    what = "an n-gram model, from counts (Kneser-Ney; Chen & Goodman 1998)"
    parser = kinds.add_parser(
        "ngram",
        help=what,
        description=f"Train {what}. In brackets: what holds if an option is not given.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=train_ngram, wrong_call=parser.error, init=None)
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the text, one sentence a line: plain, .gz, .xz, .zst, or - for standard input; or a prepared corpus",
    )
    parser.add_argument("--valid", metavar="FILE", default=None, help="text, or corpus, to measure the model on")
    parser.add_argument("-o", "--model", dest="output", metavar="MODEL", required=True, help="the model file to write")
    parser.add_argument("--quiet", action="store_true", default=False, help="no progress and no messages")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, for programs")
    add_text_options(parser.add_argument_group("text"))
    group = parser.add_argument_group("model")
    group.add_argument(
        "--order", metavar="N", type=whole_number(1, MAX_ORDER), default=5, help="words of an n-gram: 5 sees 4 (5)"
    )
    group.add_argument(
        "--smoothing",
        choices=("kneser-ney", "none"),
        default="kneser-ney",
        help="none is maximum likelihood: what was not seen has probability zero (kneser-ney)",
    )


def train_ngram(options: argparse.Namespace) -> None:
    """Estimate a model, write it, and print its report on the validation text."""
    from fastlm.models import NGramLM
    from fastlm.storage import check_writable

    check_text_options(options)
    check_files(options)
    check_writable(options.output)
    say = teller(quiet=options.quiet)
    text, valid = read_texts(options, say, trains_unknown=False)  # <unk> is as likely as any word never seen
    model = NGramLM(text.vocabulary, order=options.order, smoothing=options.smoothing)
    say(f"estimating takes at most {model.memory_bound(text) / 1e6:,.0f} MB of memory")
    model.fit(text)
    arrays = model.parameters.values()
    num_ngrams = model.info["training"]["num_ngrams"]
    say(
        f"ngram: {', '.join(f'{count:,}' for count in num_ngrams)} n-grams of order 1 to {options.order}, "
        f"{sum(array.nbytes for array in arrays) / 1e6:,.1f} MB"
    )
    model.save(options.output)
    say(f"the model is in {options.output}")
    report = valid and model.evaluate(valid, progress=not options.quiet)
    if options.json:
        facts = {"model": options.output, "report": report and report.to_dict(), "training": model.info["training"]}
        print_json(facts)
    elif report is not None:
        print(report)
