"""Large corpora and vocabularies on one machine: the speed of `fastlm prepare`, memory, and output layers.

Parts are functions of the options in files of their own, each of which prints its table; the names below choose them.
"""

import argparse
from collections.abc import Callable

import large_outputs
import memory
import preparing

PARTS: dict[str, Callable[[argparse.Namespace], object]] = {
    "prepare": preparing.print_rates,
    "memory": memory.print_growth,
    "samples": large_outputs.print_samples,
    "prose": large_outputs.print_prose,
    "penn": large_outputs.print_penn,
    "full": large_outputs.print_full,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help=f"parts whose name has this in it: {', '.join(PARTS)} (all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: 5)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # the bench calls itself: KIND,CONTEXT,CORPUS


def run(options: argparse.Namespace) -> int:
    if options.memory_of:
        print(memory.peak_of_training(*options.memory_of.split(",", 2)))
        return 0
    chosen = [part for name, part in PARTS.items() if options.only in name]
    if not chosen:
        raise SystemExit(f"python bench large: no part {options.only!r}; there are {', '.join(PARTS)}")
    for number, part in enumerate(chosen):
        print(end="\n" if number else "")
        part(options)
    return 0
