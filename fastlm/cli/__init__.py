"""The command line: `fastlm VERB …`, one function a verb."""

from fastlm.cli.main import main

__all__ = ["main"]
