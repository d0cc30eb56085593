"""What can go wrong with files, data and training runs, as exceptions of this package.

A caller's wrong argument is a plain `ValueError`; these are for what lies outside the call. Each kind is
also the built-in exception that a caller would catch who does not know fastlm.
"""

__all__ = ["DataError", "FastLMError", "FileError", "ModelFileError", "TrainingError"]


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
