"""Train the models of the README on the Penn Treebank with its commands, and print its table.

Each row runs the command line as a user would, in a process of its own, then `fastlm evaluate` on the saved model.
The Penn Treebank is not free to ship: put ptb.train.txt and ptb.valid.txt (or .gz, .xz), in the usual form of
Mikolov et al. with 10,000 words, into the folder named by --data.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import product_rate

ROWS = {
    "nnlm": "train nnlm {train} --valid {valid} -o {model}",
    "rnnlm": "train rnnlm {train} --valid {valid} -o {model}",
}
WORDS = ("monday", "january", "three", "ford", "president", "profit")
HEADER = "| command | parameters | epochs | minutes | tokens/s | GFLOP/s of this machine | validation perplexity |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which (default: all): {', '.join(ROWS)}")
    parser.add_argument("--keep", type=Path, help="a folder to leave the models in")


def run(options: argparse.Namespace) -> int:
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        raise SystemExit(f"python bench quality: no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    train, valid = (find(options.data, name) for name in ("ptb.train.txt", "ptb.valid.txt"))
    print(HEADER, "| --- " * HEADER.count(" |") + "|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        models = {row: folder / f"ptb.{row}.fastlm" for row in options.rows or ROWS}
        for row, model in models.items():
            print(measure(ROWS[row], train, valid, model), flush=True)
        for model in models.values():
            print_neighbours(model)
    return 0


def find(folder: Path, name: str) -> Path:
    for suffix in ("", ".gz", ".xz", ".zst"):
        if (folder / (name + suffix)).exists():
            return folder / (name + suffix)
    raise SystemExit(f"python bench quality: no {name} (or .gz, .xz, .zst) in {folder.absolute()}; name it by --data")


def measure(command: str, train: Path, valid: Path, model: Path) -> str:
    rate = product_rate(2048)
    words = [word.format(train=train, valid=valid, model=model) for word in command.split()]
    began = time.perf_counter()
    history = fastlm(*words)["history"]["epochs"]
    minutes = (time.perf_counter() - began) / 60
    report = fastlm("evaluate", model, valid)
    facts = fastlm("info", model)
    speed = np.median([epoch["tokens_per_second"] for epoch in history])
    shown = "fastlm " + command.format(train="ptb.train.txt", valid="ptb.valid.txt", model=model.name)
    return (
        f"| `{shown}` | {facts['num_parameters']:,} | {len(history)} | {minutes:.1f} | {speed:,.0f} "
        f"| {rate:.0f} | {report['perplexity']:.2f} |"
    )


def print_neighbours(model: Path) -> None:
    print(f"\nNearest words in {model.name}\n")
    for word in WORDS:
        neighbours = fastlm("similar", model, word, "-k", "5")["neighbours"]
        print(f"    {word:10} {', '.join(neighbour['word'] for neighbour in neighbours)}")


def fastlm(*arguments: str | Path) -> dict:
    words = [sys.executable, "-P", "-m", "fastlm", *map(str, arguments), "--json"]
    result = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"python bench quality: {shlex.join(words)}: exit status {result.returncode}")
    return json.loads(result.stdout)
