"""The benches start, and their contenders train the same model."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[1] / "bench")


BENCHES = ("builds", "kills", "large", "ngram", "precision", "quality", "speed")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in BENCHES)])
def test_the_benches_start(arguments: list[str]) -> None:
    command = [sys.executable, "-P", BENCH, *arguments]
    assert "usage: python bench" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


LEARN = """
import json, sys
sys.path.insert(0, sys.argv[3])
from contenders import CONTENDERS, Setting, takes_part
setting = Setting(sys.argv[1], int(sys.argv[2]), 16)
steps = [CONTENDERS[name](setting) for name in ("fastlm", "numpy") if takes_part(name, setting)]
print(json.dumps([[step() for _ in range(10)] for step in steps]))
"""


@pytest.mark.parametrize(("kind", "batch"), [("rnnlm", 2), ("gru", 2), ("lstm", 2), ("nnlm", 32)])
def test_the_contenders_learn_alike(kind: str, batch: int) -> None:
    # In a process of its own: a contender holds BLAS at one thread for as long as it lives.
    command = [sys.executable, "-P", "-c", LEARN, kind, str(batch), BENCH]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for losses in json.loads(result.stdout):
        assert losses[0] == pytest.approx(math.log(10_000), abs=0.05)  # nothing is known yet
        assert losses[-1] < losses[0]
