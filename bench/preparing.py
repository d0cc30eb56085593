"""`fastlm prepare` against `wc -w`, which reads the same text, finds the words, and counts them."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from zipf import write_text

WORKERS = (1, 2)
VOCAB_SIZE = 100_000
NUM_TOKENS = 20_000_000  # of a text made by rule, where there is no real one


def print_rates(options: argparse.Namespace) -> None:
    """Print bytes a second of whole commands, taking turns, the start of Python included."""
    with tempfile.TemporaryDirectory() as scratch:
        text = options.data / "docs.train.txt"
        if not text.exists():
            text = Path(scratch) / "zipf.txt"
            write_text(text, NUM_TOKENS, num_words=800_000)
        print_row(["text", "MB", "`LC_ALL=C wc -w`, MB/s", *(f"prepare, {cores(n)}" for n in WORKERS), "two over one"])
        print_row(["---"] * (4 + len(WORKERS)))
        for times in (1, 10):
            files = [str(text)] * times
            turns: dict[int, list[float]] = {workers: [] for workers in (0, *WORKERS)}
            for _ in range(options.rounds):
                for workers, seconds in turns.items():
                    seconds.append(seconds_of(files, workers, Path(scratch) / "corpus"))
            print_row(cells(text.name + (f", {times} times" if times > 1 else ""), text.stat().st_size * times, turns))


def seconds_of(files: Sequence[str], workers: int, corpus: Path) -> float:
    """Return the time of `wc` for no workers, of `prepare` for one or more, on so many cores."""
    command = ["wc", "-w", *files]
    if workers:
        options = ["-o", str(corpus), "--vocab-size", str(VOCAB_SIZE), "--workers", str(workers), "--quiet"]
        command = [sys.executable, "-P", "-m", "fastlm", "prepare", *files, *options]
    corpus.unlink(missing_ok=True)
    allowed = sorted(os.sched_getaffinity(0))[: max(1, workers)]
    began = time.perf_counter()
    subprocess.run(
        command,
        env=os.environ | {"LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    return time.perf_counter() - began


def cells(name: str, size: int, turns: dict[int, list[float]]) -> list[str]:
    """Describe a row: rates of the quickest turns, and medians of the ratios of neighbours with their quartiles."""
    wc, *prepared = (np.array(seconds) for seconds in turns.values())
    rates = [f"{size / 1e6 / seconds.min():.0f} MB/s, {ratios(wc, seconds)} of wc" for seconds in prepared]
    return [name, f"{size / 1e6:.0f}", f"{size / 1e6 / wc.min():.0f}", *rates, ratios(prepared[0], prepared[1])]


def ratios(one: np.ndarray, other: np.ndarray) -> str:
    low, middle, high = np.percentile(one / other, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f}; of the quickest turns {one.min() / other.min():.2f})"


def cores(number: int) -> str:
    return "one core" if number == 1 else f"{number} cores"


def print_row(row: Sequence[str]) -> None:
    print("| " + " | ".join(row) + " |", flush=True)
