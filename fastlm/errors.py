"""What can go wrong with files, data and training runs, as exceptions of this package.

A caller's wrong argument is a plain `ValueError`; these are for what lies outside the call. Each kind is
also the built-in exception that a caller would catch who does not know fastlm.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DataError", "FastLMError", "FileError", "ModelFileError", "TrainingError", "compiled_modules"]


class FastLMError(Exception):
    """Any failure that fastlm itself reports."""


class DataError(FastLMError, ValueError):
    """Text or ids that cannot be used as they are: invalid UTF-8, nothing in them, a reserved word."""


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
