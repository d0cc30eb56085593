"""The verbs about words: analogy, and word vectors for other software."""

import argparse
from typing import Any

from fastlm.cli.options import text, whole_number
from fastlm.cli.output import print_json, print_table

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verbs to the command line."""
    purpose = "give the words that are to a word as another one is to a third: MAN KING WOMAN"
    parser = _add_verb(verbs, "analogy", analogy, purpose)
    for name in ("word", "like", "other"):
        parser.add_argument(name, metavar=name.upper(), type=text, help="a word of the model's vocabulary")
    parser.add_argument("-k", metavar="N", type=whole_number(1), default=10, help="how many (10)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser = _add_verb(verbs, "vectors", vectors, "write the table of word vectors in word2vec's text or binary form")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file; binary if it ends in .bin")


def _add_verb(verbs: Any, name: str, run: Any, purpose: str) -> argparse.ArgumentParser:
    description = purpose[0].upper() + purpose[1:] + "."
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    return parser


def analogy(options: argparse.Namespace) -> None:
    """Print the answers with their cosines."""
    import fastlm
    from fastlm.inference.similarity import analogy

    model = fastlm.load(options.model, verify=options.verify)
    neighbours = analogy(model, options.word, options.like, options.other, options.k)
    if options.json:
        words = {"word": options.word, "like": options.like, "other": options.other}
        print_json(words | {"neighbours": [neighbour._asdict() for neighbour in neighbours]})
    else:
        print_table([(word, f"{cosine:.4f}") for word, cosine in neighbours])


def vectors(options: argparse.Namespace) -> None:
    """Write the word vectors of a model."""
    import fastlm

    model = fastlm.load(options.model, verify=options.verify)
    model.write_word2vec(options.output, binary=options.output.endswith(".bin"))
