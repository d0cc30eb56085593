"""What the verbs print: JSON, and tables whose columns stand straight in any script; and what they may overwrite."""

import argparse
import json
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["check_output", "display_width", "prepare_streams", "print_json", "print_table", "teller"]


def check_output(options: argparse.Namespace, output: str, inputs: Iterable[str]) -> None:
    """Refuse to write over a file that is to be read, by whatever name, as a wrong call."""
    if output != "-" and any(os.path.realpath(output) == os.path.realpath(path) for path in inputs):
        options.wrong_call(f"{output} would be overwritten, but it is to be read; give another name")


def prepare_streams() -> None:
    r"""Let standard output and error take any text.

    The encoding stays the one of the terminal or of PYTHONIOENCODING; a character that it lacks is printed as an
    escape like \uac00 instead of ending the command. What goes to a stream that the caller has closed goes nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # until the process ends
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; numbers that are not finite, which JSON lacks, become null."""
    can_print_all = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(_finite(value), ensure_ascii=not can_print_all, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells as columns aligned at their left, two spaces apart."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell + " " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def display_width(text: str) -> int:
    """Return the number of terminal columns that a text takes: two for a Hangul syllable, none for an accent."""
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"} or "\u1160" <= character <= "\u11ff":
        return 0  # also the vowels and finals of decomposed Hangul, which are drawn into their syllable
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def teller(*, quiet: bool) -> Callable[[str], object]:
    """Return what tells the user a message, on standard error; silent if `quiet`."""
    if quiet:
        return lambda message: None
    return lambda message: print(message, file=sys.stderr, flush=True)
