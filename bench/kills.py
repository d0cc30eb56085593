"""Kill training runs with SIGKILL at random moments, resume each, and compare the final model byte for byte.

A run is `fastlm train … --checkpoint DIRECTORY --resume` in a process of its own, on a text made by rule, of several
kinds in turn. It is killed one to five times and then left alone; its model and its log must be those of a run that was
never killed and knew of no checkpoints. The process notes in a byte of shared memory what it is doing, so that the
table can say where the kills fell: before training (importing and reading), while the run is taken up again, in a step,
while a checkpoint is written, in validation, and while the best model is saved.
"""

import argparse
import json
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

PHASES = ("start", "resuming", "step", "checkpoint", "validation", "saving", "end")
MOST_KILLS = 5  # of one run
NUM_WORDS, NUM_LINES, NUM_VALID = 3000, 250, 300
KINDS = (
    "rnnlm --bptt-len 20",
    "rnnlm --bptt-len 20 --cell lstm --output nce --num-samples 64 --optimizer adagrad",
    "rnnlm --bptt-len 20 --cell gru --context sentence --optimizer asgd --output class",
    "nnlm --output adaptive",
)
OPTIONS = (
    *("--embedding-dim", "48", "--hidden-size", "48", "--batch-size", "8", "--epochs", "24"),
    *("--learning-rate", "0.0005", "--patience", "99", "--threads", "2", "--quiet"),
)
CHECKPOINTS = ("--checkpoint-every", "0.05s", "--resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="how many (50)")
    parser.add_argument("--seed", type=int, help="of the moments; other ones in each run if not given")


def run(options: argparse.Namespace) -> int:
    seed = random.randrange(10**6) if options.seed is None else options.seed
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_texts(folder)
        references = [reference(folder / str(number), kind, folder) for number, kind in enumerate(KINDS)]
        phases = [Counter[str]() for _ in KINDS]
        runs, different = [0] * len(KINDS), [0] * len(KINDS)
        for number, (kind, (expected, seconds)) in cycle(enumerate(zip(KINDS, references, strict=True))):
            left = options.kills - sum(counter.total() for counter in phases)
            if left == 0:
                break
            job = Job(folder / f"{number}.{runs[number]}", kind, folder)
            phases[number] += job.suffer(min(MOST_KILLS, left), moments, seconds)
            runs[number] += 1
            different[number] += job.result() != expected
    print(f"| seed {seed} | kills | runs |", " | ".join(PHASES), "| runs with other bytes |")
    print("| --- " * (len(PHASES) + 4) + "|")
    for kind, counter, num_runs, num_different in zip(KINDS, phases, runs, different, strict=True):
        fell = " | ".join(str(counter[name]) for name in PHASES)
        print(f"| `{kind}` | {counter.total()} | {num_runs} | {fell} | {num_different} |")
    return 1 if any(different) else 0


def write_texts(folder: Path) -> None:
    """Words as frequent as in a text, p(k) ~ 1 / k, in lines of twelve."""
    rng = random.Random(1)
    weights = [1 / k for k in range(1, NUM_WORDS + 1)]
    words = [f"w{k}" for k in range(NUM_WORDS)]
    for name, count in (("train", NUM_LINES), ("valid", NUM_VALID)):
        lines = (" ".join(rng.choices(words, weights, k=12)) for _ in range(count))
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


class Job:
    """A run in a folder of its own."""

    def __init__(self, folder: Path, kind: str, texts: Path) -> None:
        folder.mkdir(parents=True)
        self.model, self.log = folder / "model.fastlm", folder / "log.jsonl"
        self.status = folder / "status"
        self.status.write_bytes(b"\0")
        files = (str(texts / "train"), "--valid", str(texts / "valid"), "-o", str(self.model), "--log", str(self.log))
        self.arguments = ["train", *kind.split(), *files, *OPTIONS]
        self.checkpoints = ["--checkpoint", str(folder / "checkpoints"), *CHECKPOINTS]

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        self.status.write_bytes(b"\0")
        return subprocess.Popen([sys.executable, "-P", __file__, str(self.status), *self.arguments, *more])

    def suffer(self, kills: int, moments: random.Random, seconds: float) -> Counter[str]:
        """Be killed up to so many times, then run to the end; return in which phases the kills fell."""
        phases: Counter[str] = Counter()
        for _ in range(moments.randint(1, kills)):
            process = self.start(*self.checkpoints)
            try:
                process.wait(moments.uniform(0, seconds))
                break
            except subprocess.TimeoutExpired:
                process.kill()
            if process.wait() == 0:
                break
            phases[PHASES[self.status.read_bytes()[0]]] += 1
        check(self.start(*self.checkpoints))
        return phases

    def result(self) -> tuple[bytes, list[Any]]:
        """Return the model, and the log without what depends on the clock and the directory of checkpoints."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        timed = {"seconds", "tokens_per_second"}
        return self.model.read_bytes(), [{k: v for k, v in line.items() if k not in timed} for line in lines[1:]]


def reference(folder: Path, kind: str, texts: Path) -> tuple[tuple[bytes, list[Any]], float]:
    """Run without checkpoints for the result, and with them for the time that it takes."""
    plain, timed = Job(folder / "plain", kind, texts), Job(folder / "timed", kind, texts)
    check(plain.start())
    began = time.perf_counter()
    check(timed.start(*timed.checkpoints))
    return plain.result(), time.perf_counter() - began


def check(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise SystemExit(f"python bench kills: a run has ended with status {process.returncode}")


def note_phases(status: Path) -> None:
    """Let this process say in a byte of a file what it is doing; what it does stays the same."""
    from fastlm.training import best, checkpoints, learner, run

    with status.open("r+b") as file:
        byte = mmap.mmap(file.fileno(), 1)

    def noted(phase: str, after: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            byte[0] = PHASES.index(phase)
            try:
                return function(*arguments, **options)
            finally:
                byte[0] = PHASES.index(after)

        return call

    checkpoints.Checkpoints.save = noted("checkpoint", "step", checkpoints.Checkpoints.save)
    best.Best.keep = noted("saving", "step", best.Best.keep)
    learner.Learner.step = noted("step", "step", learner.Learner.step)
    run.evaluate = noted("validation", "step", run.evaluate)
    run.Run.run = noted("resuming", "end", run.Run.run)


if __name__ == "__main__":
    note_phases(Path(sys.argv[1]))
    from fastlm.cli import main

    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (the report of every run is of no interest)
    sys.exit(main(sys.argv[2:]))
