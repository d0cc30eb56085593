"""The benches start, and their contenders train the same model."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[1] / "bench")


BENCHES = ("builds", "kills", "large", "ngram", "precision", "quality", "speed", "use")


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


@pytest.mark.parametrize(("kind", "batch"), [("rnnlm", 2), ("gru", 2), ("lstm", 2), ("nnlm", 32), ("window", 64)])
def test_the_contenders_learn_alike(kind: str, batch: int) -> None:
    # In a process of its own: a contender holds BLAS at one thread for as long as it lives.
    command = [sys.executable, "-P", "-c", LEARN, kind, str(batch), BENCH]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for losses in json.loads(result.stdout):
        assert losses[0] == pytest.approx(math.log(10_000), abs=0.2)  # nothing is known yet
        assert losses[-1] < losses[0]


def test_quality_measures_a_row_once(tmp_path: Path, english_lines: list[str]) -> None:
    for part in ("train", "valid"):
        (tmp_path / f"ptb.{part}.txt").write_text("".join(f"{line}\n" for line in english_lines * 3))
    small = "--embedding-dim 6 --hidden-size 6 --epochs 1 --threads 1"
    folder = tmp_path / "results"
    command = [sys.executable, "-P", BENCH, "quality", "elman", "--data", str(tmp_path), "--folder", str(folder)]
    first = subprocess.run([*command, "--with", small], capture_output=True, text=True, check=True)
    assert "--recipe elman --embedding-dim 6" in first.stdout
    assert "| 118, 60 |" in first.stdout
    assert {path.name for path in folder.iterdir()} == {"elman.fastlm", "elman.jsonl", "elman.json", "recipes.md"}
    again = subprocess.run([*command, "--with", small], capture_output=True, text=True, check=True)
    assert again.stdout == first.stdout
    assert again.stderr == ""  # nothing was trained
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "is the result of another command" in other.stderr


PARSED = """
import sys
sys.path.insert(0, sys.argv[1])
from quality import shown
from quality_runs import TABLES
from fastlm.cli.main import build_parser
runs = {run for table in TABLES.values() for run in table.runs}
assert len({run.name for run in runs}) == len(runs)
for table in TABLES.values():
    for run in table.runs:
        build_parser().parse_args(shown(run, table.corpus, "").split()[1:])
"""


def test_all_rows_of_quality_are_commands() -> None:
    subprocess.run([sys.executable, "-P", "-c", PARSED, BENCH], check=True)
