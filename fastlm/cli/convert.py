"""The verb `convert`: n-gram models between fastlm's own files and ARPA files."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.options import tokenizer

if TYPE_CHECKING:
    from fastlm.models import NGramLM

__all__ = ["add_parser"]

EPILOG = """\
B is an ARPA file if its name ends in .arpa or .arpa.gz, and a model file otherwise; what A is shows in its bytes."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "turn an n-gram model into an ARPA file, or an ARPA file into a model"
    parser = verbs.add_parser(
        "convert", help=purpose, description=f"{purpose.capitalize()}.", epilog=EPILOG, allow_abbrev=False
    )
    parser.set_defaults(run=convert, wrong_call=parser.error)
    parser.add_argument("source", metavar="A", help="a model file, or an ARPA file: plain, .gz, .xz or .zst")
    parser.add_argument("target", metavar="B", help="the file to write")
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        type=tokenizer,
        default="whitespace",
        help="how text is split into the words of an ARPA file: whitespace, word, char, or the path of a Hugging Face "
        "tokenizer.json (whitespace)",
    )


def convert(options: argparse.Namespace) -> None:
    """Read one kind of file and write the other."""
    from fastlm.models import NGramLM
    from fastlm.storage import check_writable

    source, target = options.source, options.target
    if "-" in (source, target):
        options.wrong_call("standard input and output (-) cannot be converted; give names of files")
    if os.path.realpath(source) == os.path.realpath(target):
        options.wrong_call(
            f"{target} would be overwritten, but it is to be read; give another name for what is written"
        )
    check_writable(target)
    to_arpa = _names_arpa(target)
    if _is_model(source) != to_arpa:
        names = "other than .arpa" if to_arpa else ".arpa or .arpa.gz"
        raise ValueError(
            f"{source} and {target} would be of one kind, with nothing to convert; give the second a name that ends in "
            f"{names}"
        )
    if to_arpa:
        model = _load(source)
        model.write_arpa(target)
    else:
        model = NGramLM.read_arpa(source, tokenizer=options.tokenizer)
        model.save(target)
    counts = ", ".join(f"{count:,}" for count in model.info["training"]["num_ngrams"])
    print(f"{target}: {counts} n-grams of order 1 to {model.config['order']}", file=sys.stderr)


def _names_arpa(path: str) -> bool:
    return Path(path.lower().removesuffix(".gz")).suffix == ".arpa"


def _is_model(path: str) -> bool:
    """Whether a file begins as model files do: with the length of a header, and the header."""
    from fastlm.storage import open_binary

    with open_binary(path) as file:
        head = file.read(9)
    return head[5:] == b"\0\0\0{"


def _load(path: str) -> "NGramLM":
    import fastlm
    from fastlm.models import NGramLM

    model = fastlm.load(path)
    if not isinstance(model, NGramLM):
        raise ValueError(
            f"{path} holds a model of architecture {model.architecture!r}; only n-gram models become ARPA files"
        )
    return model
