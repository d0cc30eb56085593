"""Subwords: a tokenizer that is learned from the text itself, by byte-pair encoding."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlm.errors import DataError
from fastlm.text.source import TextReader, TextSource
from fastlm.text.tokenizer import BLANK, UNKNOWN, HuggingFaceTokenizer
from fastlm.text.vocabulary import Vocabulary
from fastlm.text.wordlist import NUM_SPECIALS

__all__ = ["SUBWORD", "build_vocabulary", "learn_subwords"]

SUBWORD = "subword"
NUM_SUBWORDS = 8_000


def learn_subwords(source: TextSource, size: int = NUM_SUBWORDS, *, errors: str = "strict") -> HuggingFaceTokenizer:
    """Learn from a text into which pieces its words are best split: byte-pair encoding (Sennrich et al. 2016).

    It begins with characters, and joins the two pieces that stand beside each other most often, again and again. So
    frequent words stay whole, rare ones are spelled, and none is unknown whose characters are not. A piece that begins
    a word begins with "▁".

    Parameters
    ----------
    source : str, path-like or iterable of str
        A path (.gz, .xz and .zst are decompressed), or lines of text.
    size : int
        Pieces, at most; of characters the most frequent half of so many.
    errors : {"strict", "replace", "skip"}
        What to do about invalid UTF-8 and NUL; see `Vocabulary.build`.

    Returns
    -------
    HuggingFaceTokenizer
        The same for the same text. It needs no file: it is stored with the vocabulary.

    Raises
    ------
    ImportError
        If the package `tokenizers` is missing.
    DataError
        If the text is empty, or cannot be read as text.

    Examples
    --------
    >>> tokenizer = learn_subwords(["low lower", "new newer", "slow slower", "long longer"], size=20)
    >>> tokenizer.tokenize("new slower")
    ['▁ne', 'w', '▁slo', 'wer']
    >>> tokenizer.detokenize(tokenizer.tokenize("new slower"))
    'new slower'
    """
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    except ImportError as error:
        raise ImportError(
            "subwords are learned by the package 'tokenizers', which is not there; install it: "
            'pip install "fastlm[tokenizers]"'
        ) from error
    source = _readable_twice(source, errors)
    characters = Counter(character for line in _normalised_lines(source, errors) for character in line)
    del characters[" "]  # which Metaspace puts "▁" for
    if not characters:
        raise DataError(f"{TextReader(source).name}: no text to learn subwords from; give one that is not empty")
    # Chosen here, by count and code: the package takes whichever of equally frequent ones its hash table has first.
    frequent = sorted(characters, key=lambda character: (-characters[character], character))[: max(1, size // 2 - 1)]
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    # Blanks of any kind and number are one, and none at the ends, as in sentencepiece.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(BLANK)
    tokenizer.decoder = decoders.Metaspace(BLANK)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=[BLANK, *frequent],
        limit_alphabet=1 + len(frequent),
        special_tokens=[UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_normalised_lines(source, errors), trainer)
    return HuggingFaceTokenizer(tokenizer.to_str())


def build_vocabulary(
    source: TextSource,
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
    tokenizer: str = "whitespace",
    lower_case: bool = False,
    errors: str = "strict",
) -> Vocabulary:
    """Build a vocabulary as `Vocabulary.build` does, or one of subwords, which are learned from the text before.

    All pieces that were learned are in it, also those that the text has only as parts of longer ones: another text may
    have them by themselves. (With a `min_count` above 1 they are as rare as others that it leaves out.)

    Parameters
    ----------
    source : str, path-like or iterable of str
    vocab_size : int, optional
        Largest size, ``<unk>`` and ``</s>`` included; 8,000 for subwords if not given.
    min_count, lower_case, errors
        See `Vocabulary.build`.
    tokenizer : str
        "subword", or what `Vocabulary.build` takes.

    Examples
    --------
    >>> text = ["low lower", "new newer", "slow slower", "long longer"]
    >>> build_vocabulary(text, vocab_size=21, tokenizer="subword").tokenizer.tokenize("longer")
    ['▁long', 'er']
    """
    if tokenizer != SUBWORD:
        return Vocabulary.build(
            source, max_size=vocab_size, min_count=min_count, tokenizer=tokenizer, lower_case=lower_case, errors=errors
        )
    if lower_case:
        raise ValueError("lower_case=True with the tokenizer 'subword': only 'word' changes case; use that one")
    size, source = vocab_size or NUM_SUBWORDS, _readable_twice(source, errors)
    learned = learn_subwords(source, size - 1, errors=errors)  # </s> is no piece of the text
    seen = Vocabulary.build(source, max_size=size, min_count=min_count, tokenizer=learned, errors=errors)
    unseen = sorted(learned.inner.get_vocab().keys() - set(seen.words)) if min_count == 1 else []
    assert seen.counts is not None  # it was built
    counts = np.concatenate([seen.counts, np.zeros(len(unseen), np.int64)])
    return Vocabulary([*seen.words[NUM_SPECIALS:], *unseen], counts, tokenizer=learned)


def _readable_twice(source: TextSource, errors: str) -> TextSource:
    if not isinstance(source, str | os.PathLike):
        return list(source)
    is_pipe = source == "-" or Path(source).is_fifo()
    return list(TextReader(source, errors).lines()) if is_pipe else source


def _normalised_lines(source: TextSource, errors: str) -> Iterator[str]:
    for lines in TextReader(source, errors).line_blocks():
        for line in lines:
            yield " ".join(unicodedata.normalize("NFC", line).split())
