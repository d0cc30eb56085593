"""Kinds of option values: what is not one of them is a wrong call, and the parser says so."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

__all__ = [
    "VOCAB_SIZE",
    "add_errors",
    "add_text_options",
    "check_text_options",
    "duration",
    "finite_float",
    "fraction",
    "given",
    "given_text_options",
    "non_negative_float",
    "positive_duration",
    "positive_float",
    "rising_numbers",
    "share",
    "text",
    "tokenizer",
    "weights",
    "whole_number",
]

VOCAB_SIZE = 20_000
UNITS = (86_400, 3600, 60, 1)  # seconds of a day, an hour, a minute


def add_errors(parser: argparse._ActionsContainer) -> None:
    """Add the option that says what to do about text that is not UTF-8."""
    parser.add_argument(
        "--errors",
        choices=("strict", "replace", "skip"),
        default="strict",
        help="what to do with a line that is not UTF-8: stop, put U+FFFD for wrong bytes, or leave it out",
    )


def add_text_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how a text is split, and which of its words are kept."""
    group.add_argument(
        "--vocab-size",
        metavar="N",
        type=whole_number(3),
        default=None,
        help=f"at most so many words, <unk> and </s> among them ({VOCAB_SIZE}; 8000 for subword)",
    )
    group.add_argument(
        "--min-count", metavar="N", type=whole_number(1), default=None, help="leave out words that are rarer (1)"
    )
    group.add_argument(
        "--vocab",
        metavar="FILE",
        default=None,
        help="take the words of a list, one a line; or words and tokenizer of a corpus or model",
    )
    group.add_argument(
        "--tokenizer",
        metavar="NAME",
        type=tokenizer,
        default=None,
        help="whitespace, word, char, subword, which is learned from the text, or the path of a Hugging Face "
        "tokenizer.json (whitespace)",
    )
    group.add_argument("--lower-case", action="store_true", default=False, help="for the tokenizer word")
    add_errors(group)


def check_text_options(options: argparse.Namespace) -> None:
    """Refuse such options that do not go together, as a wrong call."""
    if options.vocab is not None and (options.vocab_size or options.min_count):
        options.wrong_call(
            "argument --vocab: a list of words is taken as it is; leave out --vocab-size and --min-count"
        )
    if options.vocab is not None and options.tokenizer == "subword":
        options.wrong_call("argument --tokenizer: subwords are learned together with the vocabulary; leave out --vocab")
    if options.lower_case and options.tokenizer != "word":
        options.wrong_call(
            f"argument --lower-case: the tokenizer {options.tokenizer or 'whitespace'} keeps case; "
            "give --tokenizer word"
        )


def given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the named options that the caller has given, where the parser leaves out the others."""
    return {name: value for name, value in vars(options).items() if name in names}


def given_text_options(options: argparse.Namespace) -> list[str]:
    """Name those of the options about splitting and keeping words that the caller has given."""
    names = ("vocab_size", "min_count", "vocab", "tokenizer", "lower_case")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a converter for whole numbers of at least `minimum` and at most `maximum`."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got {value!r}")
        if maximum is not None and number > maximum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at most {maximum}, got {value!r}")
        return number

    return convert


def rising_numbers(value: str) -> list[int]:
    """Convert whole numbers above 0 with commas between, each larger than the one before."""
    try:
        numbers = [int(number) for number in value.split(",")]
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1 or sorted(set(numbers)) != numbers:
        raise argparse.ArgumentTypeError(f"expected rising whole numbers above 0, like 2000,10000, got {value!r}")
    return numbers


def non_negative_float(value: str) -> float:
    """Convert a finite number of at least 0."""
    number = _float(value)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {value!r}")
    return number


def finite_float(value: str) -> float:
    """Convert a finite number."""
    number = _float(value)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {value!r}")
    return number


def positive_float(value: str) -> float:
    """Convert a number above 0; infinity is one."""
    number = _float(value)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {value!r}")
    return number


def fraction(value: str) -> float:
    """Convert a number above 0 and at most 1."""
    number = _float(value)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, got {value!r}")
    return number


def share(value: str) -> float:
    """Convert a number of at least 0 and below 1."""
    number = _float(value)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0 and below 1, got {value!r}")
    return number


def weights(value: str) -> list[float]:
    """Convert numbers of at least 0, with commas between, that sum to 1."""
    numbers = [_float(number) for number in value.split(",")]
    if not all(number >= 0 for number in numbers) or not abs(sum(numbers) - 1) < 1e-6:
        raise argparse.ArgumentTypeError(f"expected numbers that sum to 1, like 0.7,0.3, got {value!r}")
    return numbers


def duration(value: str) -> float:
    """Convert a duration with its units to seconds: 90s, 10m, 1h30m, 2d."""
    parts = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", value)
    seconds = sum(unit * _float(part or "0") for unit, part in zip(UNITS, parts.groups(), strict=True)) if parts else 0
    if not parts or not any(parts.groups()) or not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"expected a duration with its unit, as 90s, 10m, 2h or 1h30m, got {value!r}")
    return seconds


def positive_duration(value: str) -> float:
    """Convert a duration above 0."""
    seconds = duration(value)
    if not seconds:
        raise argparse.ArgumentTypeError(f"expected a duration above 0, got {value!r}")
    return seconds


def tokenizer(value: str) -> str:
    """Take the name of a tokenizer, or the path of one."""
    if value not in ("whitespace", "word", "char", "subword") and not value.endswith(".json"):
        raise argparse.ArgumentTypeError(
            f"expected whitespace, word, char, subword or the path of a Hugging Face tokenizer.json, got {value!r}"
        )
    return value


def text(value: str) -> str:
    """Take a text that the shell gave in the encoding of the system, and nothing else."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"expected text in the terminal's encoding, got {value!r}") from None
    return value


def _float(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan
