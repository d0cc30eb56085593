"""What can go wrong with files, data and training runs, as exceptions of this package.

A caller's wrong argument is a plain `ValueError`; these are for what lies outside the call. Each kind is
also the built-in exception that a caller would catch who does not know fastlm.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["DataError", "FastLMError", "FileError", "LineError", "ModelFileError", "TrainingError", "compiled_modules"]


class FastLMError(Exception):
    """Any failure that fastlm itself reports."""


class DataError(FastLMError, ValueError):
    """Text or ids that cannot be used as they are: invalid UTF-8, nothing in them, a reserved word."""


class LineError(DataError):
    """What is wrong in a line of a text.

    Attributes
    ----------
    name : str
        That of the text.
    line : int
        From 1.
    problem : str
        What it is, what was expected, and what to do.
    """

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}, line {line}: {problem}")
        self.name = name
        self.line = line
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.line, self.problem)


class FileError(FastLMError, OSError):
    """A file that cannot be opened, read or written."""


class ModelFileError(FastLMError, ValueError):
    """A file that is not the model, vocabulary or corpus it should be: damaged, foreign, or too new."""


class TrainingError(FastLMError, ValueError):
    """A training run that cannot go on, because its loss or its gradients are not finite."""


@contextmanager
def compiled_modules(package: str) -> Iterator[None]:
    """Say what to do where the compiled modules of a package are not found: in a checkout, before any build."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"{package}."):
            raise
        raise ImportError(
            f"there is no compiled module {error.name}; this looks like a source checkout: install it with "
            "'pip install .' and run Python from another directory"
        ) from error
