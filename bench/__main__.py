"""Measure fastlm, on this machine: `python bench quality` and what else `python bench --help` names."""

import argparse
import sys
from pathlib import Path

import builds
import kills
import large
import ngram
import precision
import quality
import speed

BENCHES = {
    "builds": builds,
    "kills": kills,
    "large": large,
    "ngram": ngram,
    "precision": precision,
    "quality": quality,
    "speed": speed,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__)
    benches = parser.add_subparsers(metavar="BENCH", required=True)
    for name, module in BENCHES.items():
        bench = benches.add_parser(name, help=(module.__doc__ or "").partition("\n")[0], description=module.__doc__)
        bench.add_argument("--data", type=Path, default=Path(), help="the folder of the corpora (default: this one)")
        module.add_arguments(bench)
        bench.set_defaults(run=module.run)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
