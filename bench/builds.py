"""Time a wheel built for any x86-64 against one built with -march=native: the kernels choose for the CPU at run time.

Both are built from this checkout and installed beside each other; processes of the two take turns.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import print_row, spread

BUILDS = {"baseline": "", "native": "-march=native"}
SETTINGS = ["rnnlm,20,100", "rnnlm,20,200", "rnnlm,20,650", "nnlm,256,200"]
STEP = """
import sys
from contenders import Setting, fastlm_step
from machine import seconds_a_call
kind, batch, hidden = sys.argv[1].split(",")
step = fastlm_step(Setting(kind, int(batch), int(hidden)))
print(min(seconds_a_call(step) for _ in range(8)))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=6, help="processes of each build (default: 6)")


def run(options: argparse.Namespace) -> int:
    bench = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in BUILDS.items():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{folder}/{name}"]
            subprocess.run([*command, str(bench.parent)], env=os.environ | {"CFLAGS": flags}, check=True)
        print_row(["a step, one thread", "time of the baseline build / time with -march=native"], head=True)
        for setting in SETTINGS:
            ratios = []
            for _ in range(options.rounds):
                seconds = {}
                for name in BUILDS:
                    path = os.pathsep.join([f"{folder}/{name}", str(bench)])
                    command = [sys.executable, "-P", "-c", STEP, setting]
                    printed = subprocess.run(
                        command, env=os.environ | {"PYTHONPATH": path}, check=True, stdout=subprocess.PIPE
                    ).stdout
                    seconds[name] = float(printed)
                ratios.append(seconds["baseline"] / seconds["native"])
            print_row([setting.replace(",", " "), f"{spread(ratios)}, least {np.min(ratios):.2f}"])
    return 0
