"""The verb `convert`: n-gram models between fastlm's own files and ARPA files."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from fastlm.cli.options import tokenizer

if TYPE_CHECKING:
    from fastlm.models import NGramLM
    from fastlm.text.tokenizer import Tokenizer

__all__ = ["add_parser"]

EPILOG = """\
B is an ARPA file if its name ends in .arpa or .arpa.gz, and a model file otherwise (.arpa.xz and .arpa.zst are read,
but not written); what A is shows in its bytes. An ARPA file does not say how text is split into its words: what was
written from a model is read back with --vocab MODEL, or with the tokenizer that the model was trained with."""

ARPA_NAMES = (".arpa", ".arpa.gz", ".arpa.xz", ".arpa.zst")  # the last two are read, and who writes refuses them


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "turn an n-gram model into an ARPA file, or an ARPA file into a model"
    parser = verbs.add_parser(
        "convert", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", epilog=EPILOG, allow_abbrev=False
    )
    parser.set_defaults(run=convert, wrong_call=parser.error)
    parser.add_argument("source", metavar="A", help="a model file, or an ARPA file: plain, .gz, .xz or .zst")
    parser.add_argument("target", metavar="B", help="the file to write")
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        type=tokenizer,
        help="how text is split into the words of an ARPA file: whitespace, word, char, or the path of a Hugging Face "
        "tokenizer.json (whitespace)",
    )
    parser.add_argument("--lower-case", action="store_true", help="for the tokenizer word")
    parser.add_argument(
        "--vocab", metavar="MODEL", help="split text as a model or corpus does, one that learned subwords for example"
    )


def convert(options: argparse.Namespace) -> None:
    """Read one kind of file and write the other."""
    from fastlm.models import NGramLM
    from fastlm.storage import check_writable

    source, target = options.source, options.target
    _check_call(options)
    check_writable(target)
    from_model, to_arpa = _is_model(source), _names_arpa(target)
    if from_model and (superfluous := _given_text_options(options)):
        options.wrong_call(
            f"{source} is a model, which says how text is split, and ARPA has no place for it; leave out "
            f"{', '.join(superfluous)}"
        )
    if from_model != to_arpa:
        names = "other than .arpa" if to_arpa else ".arpa or .arpa.gz"
        raise ValueError(
            f"{source} and {target} would be of one kind, with nothing to convert; give the second a name that ends in "
            f"{names}"
        )
    if to_arpa:
        num_ngrams = _load(source).write_arpa(target)
    else:
        model = NGramLM.read_arpa(source, tokenizer=_chosen_tokenizer(options))
        model.save(target)
        num_ngrams = model.info["training"]["num_ngrams"]
    counts = ", ".join(f"{count:,}" for count in num_ngrams)
    print(f"{target}: {counts} n-grams of order 1 to {len(num_ngrams)}", file=sys.stderr)


def _check_call(options: argparse.Namespace) -> None:
    """Refuse what is wrong whatever is in the files."""
    inputs = [path for path in (options.source, options.vocab) if path is not None]
    if "-" in (*inputs, options.target):
        options.wrong_call("standard input and output (-) cannot be converted; give names of files")
    if os.path.realpath(options.target) in map(os.path.realpath, inputs):
        options.wrong_call(
            f"{options.target} would be overwritten, but it is to be read; give another name for what is written"
        )
    if options.vocab is not None and (options.tokenizer or options.lower_case):
        options.wrong_call(
            "argument --vocab: the file says how text is split as well; leave out --tokenizer and --lower-case"
        )
    if options.tokenizer == "subword":
        options.wrong_call(
            "argument --tokenizer: subwords are learned together with a vocabulary; give the model or corpus that has "
            "them by --vocab"
        )
    if options.lower_case and options.tokenizer != "word":
        options.wrong_call(
            f"argument --lower-case: the tokenizer {options.tokenizer or 'whitespace'} keeps case; "
            "give --tokenizer word"
        )


def _given_text_options(options: argparse.Namespace) -> list[str]:
    names = ("tokenizer", "lower_case", "vocab")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]


def _chosen_tokenizer(options: argparse.Namespace) -> "Tokenizer":
    from fastlm.text.stored import open_vocabulary
    from fastlm.text.tokenizer import make_tokenizer

    if options.vocab is not None:
        return open_vocabulary(options.vocab).tokenizer
    return make_tokenizer(options.tokenizer or "whitespace", lower_case=options.lower_case)


def _names_arpa(path: str) -> bool:
    return path.lower().endswith(ARPA_NAMES)


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
