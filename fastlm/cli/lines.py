"""Lines of a text one at a time, as they come through a pipe."""

from collections.abc import Iterator

from fastlm.errors import DataError
from fastlm.storage import Source, open_binary

__all__ = ["read_lines"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"


def read_lines(path: Source, errors: str = "strict") -> Iterator[str]:
    r"""Yield the lines of a text, each as soon as it is there.

    Parameters
    ----------
    path
        A file (plain, .gz, .xz or .zst), or "-" for standard input.
    errors
        What becomes of invalid UTF-8 and NUL: "strict" raises an error, "replace" puts U+FFFD in their place, "skip"
        yields an empty line instead of the line, so that all lines keep their numbers.

    Yields
    ------
    str
        A line without its line end, `\n` or `\r\n`; the first one without a byte-order mark.

    Raises
    ------
    FileError
        If the file cannot be read.
    DataError
        If a line is not UTF-8 or holds a NUL byte; the message names the line.
    """
    with open_binary(path) as file:
        for number, line in enumerate(file, start=1):
            data = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            data = data.removesuffix(b"\n").removesuffix(b"\r")
            problem = _problem(data)
            if problem is None:
                yield data.decode()
            elif errors == "replace":
                yield data.decode(errors="replace").replace("\0", REPLACEMENT)
            elif errors == "skip":
                yield ""
            else:
                name = "standard input" if path == "-" else path
                raise DataError(
                    f"{name}, line {number}: {problem}; expected text in UTF-8: convert it, or pass --errors replace "
                    "to put U+FFFD there, or --errors skip to leave such lines out"
                )


def _problem(data: bytes) -> str | None:
    """Say what keeps bytes from being text."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 (byte 0x{data[error.start]:02x})"
    return "a NUL byte" if b"\0" in data else None
