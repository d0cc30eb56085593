"""Text to tokens and back.

A tokenizer is described by its `spec`, a small JSON object that is stored with the vocabulary and so with every
model: raw text is split the same way when the model is used. "whitespace", "word" and "char" keep `<unk>`, `<s>` and
`</s>` whole.
"""

import functools
import json
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastlm.errors import DataError, FileError

__all__ = ["Tokenizer", "TokenizerChoice", "make_tokenizer", "tokenizer_from_spec"]

UNKNOWN = "<unk>"
END = "</s>"
START = "<s>"
BLANK = "▁"  # stands for a space between characters, as in sentencepiece

EXPECTED = "expected 'whitespace', 'word', 'char', the path of a Hugging Face tokenizer.json, or a callable"


class Tokenizer(ABC):
    """Splits lines of text into tokens; immutable, and equal to any other of the same `spec`.

    Examples
    --------
    >>> tokenizer = make_tokenizer("word", lower_case=True)
    >>> tokenizer.tokenize("The cat's 1,000 hats.")
    ['the', "cat's", '1,000', 'hats', '.']
    >>> tokenizer.detokenize(["나는", "학교에", "간다", "."])
    '나는 학교에 간다.'
    """

    @property
    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The JSON object from which `tokenizer_from_spec` makes this tokenizer again."""

    @abstractmethod
    def tokenize(self, line: str) -> list[str]:
        """Split one line, given without its line end."""

    def tokenize_lines(self, lines: list[str]) -> list[list[str]]:
        """Split many lines."""
        return [self.tokenize(line) for line in lines]

    @abstractmethod
    def detokenize(self, tokens: Sequence[str]) -> str:
        """Put tokens together as readable text."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(json.dumps(self.spec, sort_keys=True))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec['kind']}>"


TokenizerChoice = str | os.PathLike[str] | Tokenizer | Callable[[str], Iterable[str]]


def make_tokenizer(choice: TokenizerChoice, *, lower_case: bool = False) -> Tokenizer:
    """Make a tokenizer by name.

    Parameters
    ----------
    choice : str, path-like, callable or Tokenizer
        "whitespace": split at spaces and tabs, change nothing; for text that is split already.
        "word": Unicode words, numbers and punctuation.
        "char": characters.
        The path of a Hugging Face tokenizer.json: that tokenizer (needs ``pip install "fastlm[tokenizers]"``).
        A callable that takes a line and returns its tokens: stored by name, to be given again on load.
        A Tokenizer is returned as it is.
    lower_case : bool, default False
        Turn words into lower case; for "word" alone.

    Returns
    -------
    Tokenizer

    Raises
    ------
    ValueError
        If there is no such tokenizer, or `lower_case` is asked of another than "word".
    FileError
        If the tokenizer.json cannot be read.

    Examples
    --------
    >>> make_tokenizer("word").tokenize("It's 3.5 km, isn't it?")
    ["It's", '3.5', 'km', ',', "isn't", 'it', '?']
    """
    if choice == "word":
        return WordTokenizer(lower_case=lower_case)
    if lower_case:
        raise ValueError(f"lower_case=True with the tokenizer {choice!r}: only 'word' changes case; use that one")
    if isinstance(choice, Tokenizer):
        return choice
    if choice == "whitespace":
        return WhitespaceTokenizer()
    if choice == "char":
        return CharTokenizer()
    if isinstance(choice, os.PathLike) or (isinstance(choice, str) and choice.endswith(".json")):
        return HuggingFaceTokenizer(_read_json(choice))
    if callable(choice):
        return CallableTokenizer(_qualified_name(choice), choice)
    raise ValueError(f"unknown tokenizer {choice!r}: {EXPECTED}")


def tokenizer_from_spec(spec: Mapping[str, Any], function: Callable[[str], Iterable[str]] | None = None) -> Tokenizer:
    """Make the tokenizer that a spec describes.

    Parameters
    ----------
    spec : mapping
        A tokenizer's `spec`.
    function : callable, optional
        What a spec of kind "callable" stands for. Without it, the tokenizer is made all the same, and raises an error
        as soon as it is used.

    Returns
    -------
    Tokenizer

    Raises
    ------
    DataError
        If the spec describes no tokenizer of this version.
    ValueError
        If `function` is given, and the spec is of another kind.

    Examples
    --------
    >>> tokenizer_from_spec({"kind": "word", "lower_case": True}).tokenize("The End")
    ['the', 'end']
    """
    if function is not None and (spec.get("kind") != "callable" or not callable(function)):
        raise ValueError(
            f"got {function!r} for a tokenizer of kind {spec.get('kind')!r}: only one of kind 'callable' is given "
            f"again, as that callable; leave it out"
        )
    match dict(spec):
        case {"kind": "callable", "name": str(name), **rest} if not rest:
            return CallableTokenizer(name, function)
        case {"kind": "whitespace", **rest} if not rest:
            return WhitespaceTokenizer()
        case {"kind": "word", "lower_case": bool(lower_case), **rest} if not rest:
            return WordTokenizer(lower_case=lower_case)
        case {"kind": "char", **rest} if not rest:
            return CharTokenizer()
        case {"kind": "huggingface", "json": str(text), **rest} if not rest:
            return HuggingFaceTokenizer(text)
    raise DataError(
        f"unknown tokenizer {str(dict(spec))[:200]}: expected one of the kinds whitespace, word, char, huggingface "
        f"and callable; it may come from a newer version of fastlm"
    )


class WhitespaceTokenizer(Tokenizer):
    """Splits at spaces and tabs, and changes nothing."""

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "whitespace"}

    def tokenize(self, line: str) -> list[str]:
        return [token for token in line.replace("\t", " ").split(" ") if token]

    def detokenize(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


@functools.cache
def _extender() -> str:
    """Build the pattern of what stays with the character before it; `re` has no name for combining marks.

    The astral ones stand apart: `re` looks the others up in a bitmap, but only in a class without astral characters.
    """
    places = [place for place in range(0x300, 0x20000) if unicodedata.category(chr(place))[0] == "M"]
    tags_and_selectors = [*range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0)]
    near = "".join(chr(place) for place in places if place < 0x10000)
    astral = "".join(chr(place) for place in [*places, *range(0x1F3FB, 0x1F400), *tags_and_selectors] if place > 0xFFFF)
    return rf"(?:[{near}]|(?=[\U00010000-\U0010ffff])[{astral}])"


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of the tokens of "word" and "char"."""
    special = f"{UNKNOWN}|{END}|{START}"
    extender = _extender()
    flag = "[\U0001f1e6-\U0001f1ff]{2}"
    # A user-perceived character, near enough to the rules of Unicode's annex 29: emoji are joined by U+200D.
    character = rf"(?:{flag}|\S{extender}*+(?:\u200d\S{extender}*+)*+)"
    # Zero-width joiners stand between the letters of Persian and Indic words.
    letters = rf"[^\W_]++(?:(?:{extender}|[\u200c\u200d])++[^\W_]*+)*+"
    inner = r"(?:['’‐‑\-\u00ad]|(?<=\d)[.,](?=\d))"  # apostrophes and hyphens; points and commas between digits
    word = rf"{letters}(?:{inner}{letters})*+"
    return re.compile(rf"{word}|{special}|{character}"), re.compile(rf"{special}|{character}|\s")


class WordTokenizer(Tokenizer):
    """Splits text into words, numbers and punctuation, normalised to NFC.

    A word is a run of letters, combining marks and digits, with apostrophes and hyphens inside; a number keeps the
    points and commas between its digits; everything else but white space is a token for each character, an emoji with
    its modifiers being one. A Korean eojeol is a word, whether of syllables or of single jamo.

    Parameters
    ----------
    lower_case : bool, default False
    """

    CLOSING = frozenset(".,!?;:%)]}…’”»›。、，！？；：）］｝」』】》〉")
    OPENING = frozenset("([{$#@“‘«‹¿¡（［｛「『【《〈")
    NO_SPACE_AFTER = OPENING | frozenset("。、，！？；：」』】》〉）］｝")

    def __init__(self, *, lower_case: bool = False) -> None:
        self.lower_case = lower_case

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "word", "lower_case": self.lower_case}

    def tokenize(self, line: str) -> list[str]:
        tokens = _patterns()[0].findall(unicodedata.normalize("NFC", line))
        if self.lower_case:
            return [unicodedata.normalize("NFC", token.lower()) for token in tokens]
        return tokens

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Join with spaces, but not before closing punctuation, nor after opening; straight quotes take turns."""
        pieces: list[str] = []
        glued = True  # no space before the next token
        quote_is_open = False
        for token in tokens:
            closes = token in self.CLOSING or (token == '"' and quote_is_open)
            if not glued and not closes:
                pieces.append(" ")
            pieces.append(token)
            if token == '"':
                quote_is_open = not quote_is_open
            glued = token in self.NO_SPACE_AFTER or (token == '"' and quote_is_open)
        return "".join(pieces)


class CharTokenizer(Tokenizer):
    """Splits text into characters, normalised to NFC, so that a Hangul syllable is whole.

    Combining marks, modifiers and joined emoji stay with their base character. White space is the token "▁", so a
    literal "▁" and a tab come back as spaces.
    """

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "char"}

    def tokenize(self, line: str) -> list[str]:
        tokens = _patterns()[1].findall(unicodedata.normalize("NFC", line))
        return [BLANK if token.isspace() else token for token in tokens]

    def detokenize(self, tokens: Sequence[str]) -> str:
        return "".join(" " if token == BLANK else token for token in tokens)


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the package `tokenizers`, kept as the text of its tokenizer.json.

    No special tokens are added. The tokenizer's own unknown token is `<unk>` here.

    Parameters
    ----------
    text : str
        The contents of a tokenizer.json.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "huggingface", "json": self.text}

    @functools.cached_property
    def inner(self) -> Any:
        """The `tokenizers.Tokenizer`, made when it is first needed."""
        try:
            import tokenizers
        except ImportError as error:
            raise ImportError(
                "this text is split by a Hugging Face tokenizer, which needs the package 'tokenizers'; "
                'install it: pip install "fastlm[tokenizers]"'
            ) from error
        try:
            inner = tokenizers.Tokenizer.from_str(self.text)
        except Exception as error:  # the package raises nothing more precise
            raise DataError(
                f"not a Hugging Face tokenizer.json ({error}): expected the file of one tokenizer"
            ) from error
        inner.no_padding()
        inner.no_truncation()
        return inner

    @functools.cached_property
    def own_unknown(self) -> str | None:
        """What the tokenizer calls a token that it does not know."""
        unknown: str | None = getattr(self.inner.model, "unk_token", None)
        return unknown

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}

    def tokenize(self, line: str) -> list[str]:
        return self.tokenize_lines([line])[0]

    def tokenize_lines(self, lines: list[str]) -> list[list[str]]:
        lines = [unicodedata.normalize("NFC", line) for line in lines]
        encodings = self.inner.encode_batch(lines, add_special_tokens=False)
        own = self.own_unknown
        return [[UNKNOWN if token == own else token for token in encoding.tokens] for encoding in encodings]

    def detokenize(self, tokens: Sequence[str]) -> str:
        decoder = self.inner.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))


class CallableTokenizer(Tokenizer):
    """Any function from a line, normalised to NFC, to its tokens.

    Parameters
    ----------
    name : str
        The function's full name, for the spec.
    function : callable or None
        None: it was not given again; using the tokenizer raises an error.
    """

    def __init__(self, name: str, function: Callable[[str], Iterable[str]] | None) -> None:
        self.name = name
        self.function = function

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "callable", "name": self.name}

    def tokenize(self, line: str) -> list[str]:
        if self.function is None:
            raise ValueError(
                f"this text is split by the Python function {self.name}, which is not stored in the file: "
                f"give it again as tokenizer=… when you load"
            )
        tokens = list(self.function(unicodedata.normalize("NFC", line)))
        for token in tokens:
            if not isinstance(token, str):
                raise ValueError(f"the tokenizer {self.name} gave {token!r}: expected strings")
        return tokens

    def detokenize(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


def _qualified_name(function: Callable[[str], Iterable[str]]) -> str:
    """module.qualname of a function, or of the class of a callable object."""
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(named, "__module__", None)  # methods of built-in types have none
    return f"{module}.{named.__qualname__}" if module else str(named.__qualname__)


def _read_json(path: str | os.PathLike[str]) -> str:
    """Text of a tokenizer.json, which must at least be JSON."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"cannot read the tokenizer {os.fspath(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot use the tokenizer {os.fspath(path)!r}: it is not UTF-8 ({error})") from error
    try:
        json.loads(text)
    except ValueError as error:
        raise DataError(f"cannot use the tokenizer {os.fspath(path)!r}: it is not JSON ({error})") from error
    return text
