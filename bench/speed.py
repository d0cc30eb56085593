"""Time whole training steps against the machine's matrix products, PyTorch and NumPy, and one thread against two.

Contenders take turns, a few steps each, many times over, so that a busy machine disturbs all of them alike; what is
printed are medians of the ratios of neighbours, with the first and third quartile. One thread against one thread,
but for the tables that say so. PyTorch is optional: `pip install torch`.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from contenders import CONTENDERS, Setting, takes_part
from forward import evaluation, print_use
from kernel_profile import print_profile
from machine import print_row, product_rate, seconds_a_call, spread, two_products
from threadpoolctl import threadpool_limits

SETTINGS = [
    *(Setting("rnnlm", batch, hidden) for batch in (20, 64) for hidden in (100, 200, 650)),
    *(Setting(cell, 20, hidden) for cell in ("gru", "lstm") for hidden in (200, 650)),
    *(Setting("nnlm", batch, hidden) for batch in (256, 1024) for hidden in (100, 200, 650)),
    Setting("window", 512, 512),
]
PARTS = ("steps", "precision", "threads", "use", "profile", "memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=12, help="turns of each contender (default: 12)")
    parser.add_argument("--only", default="", help='settings whose name has this in it, like "rnnlm batch 20"')
    parser.add_argument("--part", choices=PARTS, action="append", help="one table, or several (default: all)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # the bench calls itself: CONTENDER,KIND,BATCH,HIDDEN


def run(options: argparse.Namespace) -> int:
    if options.memory_of:
        name, kind, batch, hidden = options.memory_of.split(",")
        print(json.dumps(memory_grown(name, Setting(kind, int(batch), int(hidden)))))
        return 0
    names = [name for name in CONTENDERS if name != "torch" or importlib.util.find_spec("torch")]
    if "torch" not in names:
        print("PyTorch is not installed: it is left out (pip install torch)\n")
    settings = [setting for setting in SETTINGS if options.only in str(setting)]
    tables = {
        "steps": lambda: print_steps(settings, names, options.rounds),
        "precision": lambda: print_precision(settings, names, options.rounds),
        "threads": lambda: print_threads(settings, options.rounds),
        "use": lambda: print_use(settings, options.rounds),
        "profile": lambda: print_profile(settings),
        "memory": lambda: print_memory(settings, names),
    }
    for part in options.part or PARTS:
        tables[part]()
        print()
    return 0


def print_steps(settings: Sequence[Setting], names: Sequence[str], rounds: int) -> None:
    """Print the share of the BLAS rate that a step reaches, and its speed against the others."""
    others = [name for name in names if name != "fastlm"]
    header = ["one thread", "GFLOP/s of BLAS", "tokens/s", "share of the BLAS rate"]
    print_row([*header, *(f"times {name}" for name in others), *(f"share, {name}" for name in others)], head=True)
    for setting in settings:
        with threadpool_limits(1, "blas"):
            steps = {name: CONTENDERS[name](setting) for name in names if takes_part(name, setting)}
            turns: dict[str, list[float]] = {name: [] for name in steps}
            rates = []
            for _ in range(rounds):
                for name, step in steps.items():
                    turns[name].append(seconds_a_call(step))
                rates.append(product_rate())
        rate = max(rates)
        shares = {name: spread(setting.flops / 1e9 / np.array(turns[name]) / rate) for name in steps}
        ratios = {name: spread(np.array(turns[name]) / np.array(turns["fastlm"])) for name in steps}
        cells = [str(setting), f"{rate:.0f}", f"{setting.tokens / np.median(turns['fastlm']):,.0f}", shares["fastlm"]]
        print_row([*cells, *(figures.get(name, "") for figures in (ratios, shares) for name in others)])


def print_precision(settings: Sequence[Setting], names: Sequence[str], rounds: int) -> None:
    """Print what steps gain where products are of bfloat16, and PyTorch's, by autocast, beside them."""
    from fastlm.nn.parallel import possible_precisions

    if "bfloat16" not in possible_precisions():
        print("this CPU has no AMX: bfloat16 is left out")
        return
    names = [name for name in names if name != "numpy"]
    header = ["one thread, bfloat16", "tokens/s", "GFLOP/s", "times float32"]
    print_row([*header, *(f"times {name}" for name in names[1:])], head=True)
    for setting in settings:
        rounded = replace(setting, precision="bfloat16")
        with threadpool_limits(1, "blas"):
            steps = {"float32": CONTENDERS["fastlm"](setting)}
            steps |= {name: CONTENDERS[name](rounded) for name in names if takes_part(name, setting)}
            turns: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(rounds):
                for name, step in steps.items():
                    turns[name].append(seconds_a_call(step))
        seconds = float(np.median(turns["fastlm"]))
        ratios = {name: spread(np.array(turn) / np.array(turns["fastlm"])) for name, turn in turns.items()}
        cells = [str(setting), f"{setting.tokens / seconds:,.0f}", f"{setting.flops / seconds / 1e9:.0f}"]
        print_row([*cells, *(ratios.get(name, "") for name in ("float32", *names[1:]))])


def print_threads(settings: Sequence[Setting], rounds: int) -> None:
    """Print how much two threads are worth, and whether the second core was there for them."""
    print_row(["two threads over one", "training", "evaluation", "NumPy's products", "second core"], head=True)
    for setting in settings:
        two = Setting(setting.kind, setting.batch, setting.hidden, threads=2)
        step, step_of_two = CONTENDERS["fastlm"](setting), CONTENDERS["fastlm"](two)
        text, text_of_two = evaluation(setting), evaluation(two)
        training, evaluating, free = [], [], []
        for _ in range(rounds):
            training.append(seconds_a_call(step) / seconds_a_call(step_of_two))
            evaluating.append(seconds_a_call(text) / seconds_a_call(text_of_two))
            free.append(two_products())
        verdict = "free" if np.median(free) > 1.9 else "NOT free: the ratios say little"
        print_row([str(setting), spread(training), spread(evaluating), spread(free), verdict])


def print_memory(settings: Sequence[Setting], names: Sequence[str]) -> None:
    """Print how much the peak resident memory has grown since the bare import, each contender in its own process."""
    print_row(["MB grown above the import", *names], head=True)
    for setting in settings:
        cells = [str(setting)]
        for name in names:
            if not takes_part(name, setting):
                cells.append("")
                continue
            word = f"{name},{setting.kind},{setting.batch},{setting.hidden}"
            command = [sys.executable, "-P", str(Path(__file__).parent), "speed", "--memory-of", word]
            cells.append(f"{json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout):.0f}")
        print_row(cells)


def memory_grown(name: str, setting: Setting) -> float:
    """Peak resident megabytes after ten steps, less those after the import."""
    modules = {"fastlm": ("fastlm.models", "fastlm.nn.optimizers"), "torch": ("torch",), "numpy": ()}
    for module in modules[name]:
        importlib.import_module(module)
    with threadpool_limits(1, "blas"):
        before = peak_megabytes()
        step = CONTENDERS[name](setting)
        for _ in range(10):
            step()
    return peak_megabytes() - before


def peak_megabytes() -> float:
    """Peak resident memory of this process, from Linux; getrusage would begin with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
