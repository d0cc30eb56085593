"""Files that a verb reads and the model that it writes: calls in which they get in each other's way are wrong calls."""

import argparse

from fastlm.cli.output import check_output

__all__ = ["check_inputs", "check_model_file"]


def check_inputs(options: argparse.Namespace, *inputs: str | None) -> None:
    """Refuse to read standard input for two purposes."""
    if inputs.count("-") > 1:
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")


def check_model_file(options: argparse.Namespace, *inputs: str | None) -> None:
    """Refuse to write a model to standard output, or over what is to be read."""
    if options.output == "-":
        options.wrong_call("standard output (-) takes no model; give the name of a file")
    check_output(options, options.output, [path for path in inputs if path is not None])
