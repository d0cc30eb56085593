"""The verbs about words: analogy, word vectors for other software, and maps of words."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from fastlm.cli.options import text, whole_number
from fastlm.cli.output import check_output, print_json, print_table

if TYPE_CHECKING:
    from fastlm.models.base import LanguageModel

__all__ = ["add_parser"]

NUM_NEIGHBOURS = 50


def add_parser(verbs: Any) -> None:
    """Add the verbs to the command line."""
    purpose = "give the words that are to a word as another one is to a third: MAN KING WOMAN"
    parser = _add_verb(verbs, "analogy", analogy, purpose)
    for name in ("word", "like", "other"):
        parser.add_argument(name, metavar=name.upper(), type=text, help="a word of the model's vocabulary")
    parser.add_argument("-k", metavar="N", type=whole_number(1), default=10, help="how many (10)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser = _add_verb(verbs, "vectors", vectors, "write the table of word vectors in word2vec's text or binary form")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the file: .txt, .bin for the binary form, .gz"
    )
    _add_plot_words(verbs)


def _add_plot_words(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "plot-words",
        plot_words,
        "draw a map of words: what lies close together is used alike",
        epilog="The map is the plane that shows most of how the words' vectors differ in direction. It needs "
        'matplotlib: pip install "fastlm[plot]".',
    )
    parser.add_argument("-o", "--output", metavar="PICTURE", required=True, help="a .png, .svg or .pdf to write")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-n", "--num-words", metavar="N", type=whole_number(3), default=200, help="of the most frequent words (200)"
    )
    which.add_argument("--words", metavar="WORDS", type=text, help="these: a file, one a line, or A,B,C")
    which.add_argument("--near", metavar="WORD", type=text, help="of a word and its neighbours, as fastlm similar")
    parser.add_argument("-k", metavar="N", type=whole_number(2), help=f"how many of these ({NUM_NEIGHBOURS})")


def _add_verb(verbs: Any, name: str, run: Any, purpose: str, **options: Any) -> argparse.ArgumentParser:
    description = purpose[0].upper() + purpose[1:] + "."
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=purpose, description=description, allow_abbrev=False, **options
    )
    parser.set_defaults(run=run, wrong_call=parser.error)
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
    if options.output == "-":
        options.wrong_call("standard output (-) takes no vectors; give the name of a file")
    check_output(options, options.output, [options.model])
    import fastlm

    model = fastlm.load(options.model, verify=options.verify)
    binary = options.output.lower().removesuffix(".gz").endswith(".bin")
    model.write_word2vec(options.output, binary=binary)


def plot_words(options: argparse.Namespace) -> None:
    """Draw a map of the words that the options choose."""
    check_output(options, options.output, [options.model, *([options.words] if options.words else [])])
    if options.k is not None and options.near is None:
        options.wrong_call("argument -k: so many neighbours of a word are drawn; give the word, with --near")
    import fastlm
    from fastlm.inference.map_picture import picture_kind
    from fastlm.storage import atomic_write

    kind = picture_kind(options.output)
    model = fastlm.load(options.model, verify=options.verify)
    figure = model.plot_words(_words(options, model))
    with atomic_write(options.output) as file:
        figure.savefig(file, format=kind)


def _words(options: argparse.Namespace, model: "LanguageModel") -> list[str]:
    from fastlm.inference.similarity import is_word
    from fastlm.inference.word_map import frequent_words
    from fastlm.text.source import TextReader

    if options.near is not None:
        neighbours = model.similar(options.near, options.k or NUM_NEIGHBOURS)
        return [options.near, *(neighbour.word for neighbour in neighbours)]
    if options.words is None:
        return frequent_words(model, options.num_words)
    if not os.path.isfile(options.words):  # noqa: PTH113 - is_file fails where a list is too long for a name
        return [word for word in options.words.split(",") if word]
    words = [line.strip() for lines in TextReader(options.words).line_blocks() for line in lines]
    known = [word for word in words if is_word(model.vocabulary, word)]
    left_out = [word for word in dict.fromkeys(words) if word not in known]
    if left_out:
        print(
            f"{options.words}: lines that are no words of the model's vocabulary, {len(left_out)}, are left out: "
            f"{' '.join(left_out[:5])}{' …' if len(left_out) > 5 else ''}",
            file=sys.stderr,
        )
    return known
