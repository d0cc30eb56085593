"""What it takes to spell the words that a model reads as <unk>, so that bits a character are those of the same text.

A model's own bits charge an unknown word as <unk>, whatever it says: with many of them in a text, much of it is never
predicted. Here each is spelled as well, character by character and to its end, by a Kneser-Ney n-gram model of
characters that is estimated from the words unknown to the model in its training text. A character that this has never
seen costs as if all code points of Unicode were alike. P(<unk>) P(spelling) is then a distribution over all words that
can be written, for word, subword and character models alike.
"""

import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import fastlm
from fastlm.text.source import TextReader
from fastlm.text.tokenizer import HuggingFaceTokenizer

ORDER = 6
BITS_OF_ANY = math.log2(0x110000)


def spelling_bits(train: Path, valid: Path, vocabulary: fastlm.Vocabulary) -> float:
    """Return the bits that the unknown words of `valid` take beside those of <unk>."""
    unknown = list(unknown_words(valid, vocabulary))
    if not unknown:
        return 0.0
    words = list(unknown_words(train, vocabulary))
    if not words:
        return sum(BITS_OF_ANY * (len(word) + 1) for word in unknown)
    characters = fastlm.Vocabulary.build(words, tokenizer="char")
    speller = fastlm.NGramLM(characters, order=ORDER).fit(fastlm.Corpus.encode(words, characters))
    log_prob = speller.evaluate(fastlm.Corpus.encode(unknown, characters)).log_prob
    never_seen = "".join(unknown_words(unknown, characters))
    return BITS_OF_ANY * len(never_seen) - log_prob / math.log(2)


def unknown_words(text: Path | list[str], vocabulary: fastlm.Vocabulary) -> Iterator[str]:
    """Yield what stands in a text, or in lines of text, where there is no word of the vocabulary."""
    known, tokenizer = frozenset(vocabulary.words), vocabulary.tokenizer
    for block in TextReader(text).line_blocks():
        lines = [unicodedata.normalize("NFC", line) for line in block]
        if not isinstance(tokenizer, HuggingFaceTokenizer):
            yield from (word for line in lines for word in tokenizer.tokenize(line) if word not in known)
            continue
        for line, pieces in zip(lines, tokenizer.inner.encode_batch(lines, add_special_tokens=False), strict=True):
            for piece, (start, stop) in zip(pieces.tokens, pieces.offsets, strict=True):
                if piece == tokenizer.own_unknown or piece not in known:
                    yield line[start:stop]
