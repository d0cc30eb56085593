"""The verb `prepare`: from texts of any size to a corpus file."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import described, given_vocabulary
from fastlm.cli.options import VOCAB_SIZE, add_text_options, check_text_options, whole_number
from fastlm.cli.output import print_json
from fastlm.cli.termination import termination

if TYPE_CHECKING:
    from fastlm.text.corpus import Corpus

__all__ = ["add_parser"]

PREPARE_EPILOG = """\
A run that is stopped leaves what it has counted in CORPUS.unfinished; the same command goes on from there, if the
files are the same. Room for four bytes a word is needed there until the corpus is finished. Of standard input nothing
is kept."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "make a corpus of texts of any size, for training without reading them again"
    parser = verbs.add_parser(
        "prepare",
        help=purpose,
        description=f"{purpose.capitalize()}. In brackets: what holds if an option is not given.",
        epilog=PREPARE_EPILOG,
        allow_abbrev=False,
    )
    parser.set_defaults(run=prepare, wrong_call=parser.error)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="texts, one sentence a line: plain, .gz, .xz, .zst; patterns; folders, for all files below them; "
        "- for standard input",
    )
    parser.add_argument("-o", "--output", metavar="CORPUS", required=True, help="the corpus file to write")
    parser.add_argument("--workers", metavar="N", type=whole_number(1), help="parts read side by side (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no messages")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    add_text_options(parser.add_argument_group("text"))


def prepare(options: argparse.Namespace) -> None:
    """Write a corpus file, and say what is in it."""
    from fastlm.nn.parallel import available_cores
    from fastlm.text.corpus import Corpus

    _check_call(options)
    began = time.perf_counter()
    vocabulary = given_vocabulary(options)
    chosen = {
        "max_size": options.vocab_size or VOCAB_SIZE,
        "min_count": options.min_count or 1,
        "tokenizer": options.tokenizer or "whitespace",
        "lower_case": options.lower_case,
    }
    with termination():
        corpus = Corpus.prepare(
            options.files,
            options.output,
            vocabulary=vocabulary,
            errors=options.errors,
            workers=options.workers or available_cores(),
            progress=not options.quiet,
            **(chosen if vocabulary is None else {}),
        )
    _report(options, corpus, time.perf_counter() - began)


def _check_call(options: argparse.Namespace) -> None:
    check_text_options(options)
    if options.tokenizer == "subword":
        options.wrong_call(
            "argument --tokenizer: subwords are learned by fastlm train; train a model on a part of the text, and give "
            "it by --vocab MODEL, or the path of a Hugging Face tokenizer.json"
        )
    if [*options.files, options.vocab].count("-") > 1:
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    if options.output == "-":
        options.wrong_call("standard output (-) takes no corpus; give the name of a file")


def _report(options: argparse.Namespace, corpus: "Corpus", seconds: float) -> None:
    num_bytes = corpus.num_bytes or 0
    if not options.quiet:
        print(
            f"{options.output}: {described(corpus)}; vocabulary of {len(corpus.vocabulary):,}; "
            f"{num_bytes / 1e6:,.1f} MB of text in {seconds:,.1f} s, {num_bytes / 1e6 / seconds:,.1f} MB/s",
            file=sys.stderr,
        )
    if options.json:
        names = ("num_tokens", "num_sentences", "num_unknown", "num_empty_lines", "num_characters", "num_bytes")
        counts = {name: getattr(corpus, name) for name in (*names, "num_replaced", "num_skipped")}
        size = Path(options.output).stat().st_size
        facts = {"corpus": options.output, "file_size": size, "vocab_size": len(corpus.vocabulary)}
        print_json(facts | counts | {"seconds": seconds})
