"""Kinds of option values: what is not one of them is a wrong call, and the parser says so."""

import argparse
import math
import re
from collections.abc import Callable

__all__ = [
    "add_errors",
    "duration",
    "fraction",
    "non_negative_float",
    "positive_duration",
    "positive_float",
    "share",
    "text",
    "tokenizer",
    "whole_number",
]


UNITS = (86_400, 3600, 60, 1)  # seconds of a day, an hour, a minute


def add_errors(parser: argparse._ActionsContainer) -> None:
    """Add the option that says what to do about text that is not UTF-8."""
    parser.add_argument(
        "--errors",
        choices=("strict", "replace", "skip"),
        default="strict",
        help="what to do with a line that is not UTF-8: stop, put U+FFFD for wrong bytes, or leave it out",
    )


def whole_number(minimum: int) -> Callable[[str], int]:
    """Return a converter for whole numbers of at least `minimum`."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got {value!r}")
        return number

    return convert


def non_negative_float(value: str) -> float:
    """Convert a finite number of at least 0."""
    number = _float(value)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {value!r}")
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
    if value not in ("whitespace", "word", "char") and not value.endswith(".json"):
        raise argparse.ArgumentTypeError(
            f"expected whitespace, word, char or the path of a Hugging Face tokenizer.json, got {value!r}"
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
