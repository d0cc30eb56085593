"""Texts and prepared corpora, as the verbs take them."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fastlm.cli.options import VOCAB_SIZE, given, given_text_options

if TYPE_CHECKING:
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["check_files", "described", "given_vocabulary", "read_text", "read_texts"]


def check_files(options: argparse.Namespace) -> None:
    """Refuse inputs and outputs of a training verb that get in each other's way, as a wrong call."""
    named = (options.file, options.valid, options.vocab, options.init, *given(options, ("init_embeddings",)).values())
    inputs = [path for path in named if path is not None]
    if inputs.count("-") > 1:
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    for output in given(options, ("output", "log", "checkpoint")).values():
        if output == "-":
            options.wrong_call("standard output (-) takes no model, log or checkpoint; give the name of a file")
        if any(_same_file(output, path) for path in inputs):
            options.wrong_call(
                f"{output} would be overwritten, but it is to be read; give another name for what is written"
            )
    for name in given(options, ("log", "checkpoint")):
        if _same_file(getattr(options, name), options.output):
            options.wrong_call(f"the {name} and the model cannot both be {options.output}")


def _same_file(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)  # Path.resolve fails at links that go in circles


def read_texts(
    options: argparse.Namespace,
    say: Callable[[str], object],
    vocabulary: "Vocabulary | None" = None,
    *,
    trains_unknown: bool = True,
) -> tuple["Corpus", "Corpus | None"]:
    """Read training and validation text, in the words of a vocabulary if there is one, and say what was found.

    `trains_unknown` says of a model that it learns what <unk> is from unknown words alone, so that it needs some.
    """
    text = _open_corpus(options, vocabulary) or _encode(options, vocabulary)
    say(f"{options.file}: {described(text)}; vocabulary of {len(text.vocabulary):,}")
    if trains_unknown and text.num_unknown == 0:
        say(
            "no word of the text is outside of the vocabulary: <unk> stays untrained, and what the model says of "
            "unknown words means nothing; --min-count 2 leaves rare words to it"
        )
    if options.valid is None:
        return text, None
    valid = read_text(options.valid, text.vocabulary, options.errors)
    say(f"{options.valid}: {described(valid)}")
    return text, valid


def _open_corpus(options: argparse.Namespace, vocabulary: "Vocabulary | None") -> "Corpus | None":
    """Open the file that is to be learned from, if it is a prepared corpus; None if it is text."""
    from fastlm.storage import is_container
    from fastlm.text.corpus import Corpus

    if not is_container(options.file):
        return None
    if superfluous := given_text_options(options):
        options.wrong_call(
            f"{options.file} is prepared, with its vocabulary and tokenizer in it; leave out {', '.join(superfluous)}"
        )
    return Corpus.open(options.file, vocabulary)


def _encode(options: argparse.Namespace, vocabulary: "Vocabulary | None") -> "Corpus":
    """Take the vocabulary that is given, or make one of the training text, and encode the text."""
    from fastlm.text.corpus import Corpus
    from fastlm.text.subwords import SUBWORD, build_vocabulary

    with _readable_twice(options.file) as path:
        vocabulary = (
            vocabulary
            or given_vocabulary(options)
            or build_vocabulary(
                path,
                vocab_size=options.vocab_size or (None if options.tokenizer == SUBWORD else VOCAB_SIZE),
                min_count=options.min_count or 1,
                tokenizer=options.tokenizer or "whitespace",
                lower_case=options.lower_case,
                errors=options.errors,
            )
        )
        return Corpus.encode(path, vocabulary, errors=options.errors)


@contextmanager
def _readable_twice(file: str) -> Iterator[str]:
    """Give a path that can be read for the vocabulary and again for the text: a copy of what comes through a pipe."""
    from fastlm.storage import read_blocks

    if file != "-" and not Path(file).is_fifo():
        yield file
        return
    with TemporaryDirectory(prefix="fastlm-") as folder:
        copy = Path(folder) / ("standard input" if file == "-" else "pipe")
        with copy.open("wb") as output:
            output.writelines(read_blocks(file))
        yield str(copy)


def read_text(path: str, vocabulary: "Vocabulary", errors: str) -> "Corpus":
    """Encode a text; or open a prepared corpus, which must be of the same vocabulary."""
    from fastlm.storage import is_container
    from fastlm.text.corpus import Corpus

    return Corpus.open(path, vocabulary) if is_container(path) else Corpus.encode(path, vocabulary, errors=errors)


def given_vocabulary(options: argparse.Namespace) -> "Vocabulary | None":
    """Return the vocabulary that --vocab names: that of a word list, or of a corpus or model."""
    from fastlm.storage import is_container
    from fastlm.text.stored import open_vocabulary
    from fastlm.text.tokenizer import make_tokenizer
    from fastlm.text.vocabulary import Vocabulary

    if options.vocab is None:
        return None
    if not is_container(options.vocab):
        chosen = make_tokenizer(options.tokenizer or "whitespace", lower_case=options.lower_case)
        return Vocabulary.read(options.vocab, tokenizer=chosen)
    if options.tokenizer is not None:
        options.wrong_call(
            f"{options.vocab} says how text is split as well; leave out --tokenizer, and --lower-case if it is there"
        )
    return open_vocabulary(options.vocab)


def described(corpus: "Corpus") -> str:
    """Return what a corpus holds, in words."""
    num_words = corpus.num_tokens - corpus.num_sentences
    unknown = 100 * corpus.num_unknown / max(1, num_words)
    return f"{num_words:,} words in {corpus.num_sentences:,} sentences, {unknown:.2f} % of them unknown"
