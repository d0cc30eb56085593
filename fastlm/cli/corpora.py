"""Texts and prepared corpora, as the verbs take them."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["described", "given_vocabulary", "open_corpus", "read_text"]


def open_corpus(options: argparse.Namespace) -> "Corpus | None":
    """Open the file that is to be learned from, if it is a prepared corpus; None if it is text."""
    from fastlm.cli.options import given_text_options
    from fastlm.storage import is_container
    from fastlm.text.corpus import Corpus

    if not is_container(options.file):
        return None
    if given := given_text_options(options):
        options.wrong_call(
            f"{options.file} is prepared, with its vocabulary and tokenizer in it; leave out {', '.join(given)}"
        )
    return Corpus.open(options.file)


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
