"""The benches start, and their contenders train the same model."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fastlm
from fastlm.text.subwords import build_vocabulary

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


@pytest.fixture
def spelling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("spelling")


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        ("whitespace", ["고양이는", "漢字", "고양이는"]),
        ("char", ["漢", "字"]),
        ("subword", ["漢", "字"]),
    ],
)
def test_what_is_unknown_is_found(
    spelling: ModuleType, korean_lines: list[str], tokenizer: str, expected: list[str]
) -> None:
    if tokenizer == "subword":
        pytest.importorskip("tokenizers")
    vocabulary = build_vocabulary([*korean_lines, "는"], vocab_size=400, tokenizer=tokenizer)
    text = ["고양이는 漢字 산에서", "고양이는"]
    assert list(spelling.unknown_words(text, vocabulary)) == expected
    assert fastlm.Corpus.encode(text, vocabulary).num_unknown == len(expected)


def test_what_is_unknown_costs_what_its_spelling_does(spelling: ModuleType, tmp_path: Path) -> None:
    vocabulary = fastlm.Vocabulary(["the", "cat"])
    train, valid = tmp_path / "train.txt", tmp_path / "valid.txt"
    train.write_text("the cat dog\n" * 9 + "the god\nthe good cat\nthe bee\n")

    def bits(words: str) -> float:
        valid.write_text(f"the cat {words}\n")
        cost: float = spelling.spelling_bits(train, valid, vocabulary)
        return cost

    assert bits("the cat") == 0.0
    assert 0 < bits("dog") < bits("god") < bits("beg")  # often, once, and never unknown to the model
    assert bits("dog beg") == pytest.approx(bits("dog") + bits("beg"))
    assert bits("z") > spelling.BITS_OF_ANY > bits("beg")
    train.write_text("the cat\n")  # nothing to learn spelling from
    assert bits("dog") == 4 * spelling.BITS_OF_ANY


def test_the_korean_rows_say_what_spelling_costs(tmp_path: Path, korean_lines: list[str]) -> None:
    for part, lines in (("train", korean_lines), ("valid", [*korean_lines[:4], "강아지는 산에서 노래를"])):
        (tmp_path / f"nsmc.{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    small = "--embedding-dim 4 --hidden-size 4 --epochs 1 --threads 1 --vocab-size 20 --output softmax"
    folder = tmp_path / "results"
    command = [sys.executable, "-P", BENCH, "quality", "korean-word", "--data", str(tmp_path), "--folder", str(folder)]
    printed = subprocess.run([*command, "--with", small], capture_output=True, text=True, check=True).stdout
    result = json.loads((folder / "korean-word.json").read_text())
    report = result["report"]
    spelled = report["bits_per_character"] + result["spelling_bits"] / report["num_characters"]
    assert result["spelling_bits"] > 0
    assert f"{report['bits_per_character']:.3f} | {spelled:.3f} |" in printed
    nothing = subprocess.run([*command[:-1], str(tmp_path), "--show"], capture_output=True, text=True, check=True)
    assert "nothing of korean is measured" in nothing.stderr


def test_unseen_asks_models_of_any_text(tmp_path: Path, english_lines: list[str]) -> None:
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in english_lines))
    vocabulary = fastlm.Vocabulary.build(english_lines)
    words = [word for word in vocabulary.words if word[0] != "<"]
    last, unseen = words[0], next(w for w in words if not any(f"{words[0]} {w}" in line for line in english_lines))
    fastlm.RNNLM(vocabulary, cell="lstm", embedding_dim=4, hidden_size=4).save(tmp_path / "lstm.fastlm")
    command = [sys.executable, "-P", BENCH, "ngram", "unseen", "--data", str(tmp_path), "--text", "text"]
    command += ["--rnnlm", str(tmp_path / "lstm.fastlm")]
    found = subprocess.run([*command, "--context", last, "--word", unseen], capture_output=True, text=True, check=True)
    rows = [line for line in found.stdout.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| 0 |  | 5-gram, maximum likelihood |")
    assert [row.split(" | ")[2] for row in rows[3:5]] == ["5-gram, Kneser-Ney", "lstm.fastlm"]
    assert f'but "{last} {unseen}" 0 times' in found.stdout
    for wrong, message in [
        (["--word", unseen], "--context and --word go together"),
        (["--context", last, "--word", unseen, "--nnlm", "nope"], "python bench ngram: cannot read 'nope'"),
    ]:
        failed = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
        assert message in failed.stderr


def test_mixtures_are_measured(tmp_path: Path, english_lines: list[str]) -> None:
    for part, lines in (("train", english_lines[:14] * 4), ("valid", english_lines[14:])):
        (tmp_path / f"ptb.{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    vocabulary = fastlm.Vocabulary.build(english_lines[:14])
    fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=4).save(tmp_path / "rnnlm.fastlm")
    command = [sys.executable, "-P", BENCH, "ngram", "mixture", "--data", str(tmp_path)]
    command += ["--rnnlm", str(tmp_path / "rnnlm.fastlm")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.strip("|").split("|") for line in found.splitlines() if line.startswith("| ")][2:]
    names = [(row[0].strip(), row[1].strip()) for row in rows]
    ways = ["", "dynamic evaluation", "cache", "both"]
    assert names == [("5-gram", ""), ("5-gram", "cache"), *(("rnnlm.fastlm", way) for way in ways)]
    for row in rows[2:]:
        perplexity, mixed = float(row[2]), float(row[3].split()[0])
        assert mixed <= perplexity + 0.01
    assert ["learning rate" in row[5] for row in rows[2:]] == [False, True, False, True]
    assert ["cache size" in row[5] for row in rows[2:]] == [False, False, True, True]
