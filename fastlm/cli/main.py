"""The command `fastlm`: finds the verb, runs it, and turns what goes wrong into one line and an exit status.

Results go to standard output, everything else to standard error. The status is 0; 1 for a failure; 2 for a wrong
call; 130 if interrupted; 143 if terminated. Nothing heavy is imported before a verb runs, so that `fastlm --help`
answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from fastlm.cli import adapt, convert, demo, evaluate, filter, freeze, mix, plot, prepare, rescore, train, use, words
from fastlm.cli.output import prepare_streams
from fastlm.cli.termination import Terminated
from fastlm.errors import FastLMError

__all__ = ["build_parser", "main"]

VERB_MODULES = (prepare, train, evaluate, use, rescore, filter, words, mix, freeze, adapt, convert, plot, demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The words after `fastlm`; those of the process if None.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SystemExit
        By the parser: status 2 for a wrong call, 0 after `--help` and `--version`.
    """
    prepare_streams()
    try:
        try:
            options = build_parser().parse_args(arguments)
        finally:  # --help and --version end here
            sys.stdout.flush()
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", status=130)
    except Terminated as stop:
        return _fail(str(stop) or "terminated", status=143)
    except BrokenPipeError:  # whoever reads has read enough
        _discard(sys.stdout)
        return 1
    except MemoryError as error:
        return _fail(f"out of memory{f': {error}' if str(error) else ''}")
    except (FastLMError, OSError, ValueError, ImportError) as error:  # an ImportError: an optional package is missing
        return _fail(_message(error))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line; parsed options have the verb's function as `run`."""
    parser = argparse.ArgumentParser(
        prog="fastlm", description="Train, measure and use neural language models on a CPU.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in VERB_MODULES:
        module.add_parser(verbs)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> None:
        from fastlm import __version__

        print(f"fastlm {__version__}")
        parser.exit()


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, FastLMError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _fail(message: str, status: int = 1) -> int:
    """Print a message in place of a traceback and return the exit status."""
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, most likely, which the message is about
        _discard(sys.stdout)
    print(f"fastlm: {message}", file=sys.stderr)
    return status


def _discard(stream: TextIO) -> None:
    """Send what is left in a stream that cannot be written to nowhere, so that closing it does not fail as well."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
