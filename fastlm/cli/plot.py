"""The verb `plot`: learning curves of runs."""

import argparse
from typing import Any

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "draw the learning curves of runs, from their logs"
    parser = verbs.add_parser(
        "plot",
        help=purpose,
        description=f"{purpose.capitalize()}: validation perplexity solid, training perplexity dashed, the best epoch "
        'as a dot. It needs matplotlib: pip install "fastlm[plot]".',
        allow_abbrev=False,
    )
    parser.set_defaults(run=plot)
    parser.add_argument("logs", metavar="LOG", nargs="+", help="what fastlm train --log has written")
    parser.add_argument("-o", "--output", metavar="PICTURE", required=True, help="a .png, .svg or .pdf to write")
    parser.add_argument(
        "--against", choices=("epochs", "minutes", "steps"), default="epochs", help="the horizontal axis (epochs)"
    )


def plot(options: argparse.Namespace) -> None:
    """Draw all logs into one picture."""
    from fastlm.training.curves import draw_curves, read_curves

    draw_curves(read_curves(options.logs), options.output, against=options.against)
