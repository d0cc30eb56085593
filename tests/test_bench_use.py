"""The bench of models in use prints its rows, whatever its texts are packed in, and says in a line what it lacks."""

import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm

BENCH = str(Path(__file__).parents[1] / "bench")
SMALL = ("--sentences", "1", "--tokens", "20", "--rounds", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, english_lines: list[str]) -> Path:
    """Return a folder with packed texts, a window model that can be frozen, and another file of that name."""
    folder = tmp_path_factory.mktemp("data")
    lines = [f"{one} {other}" for one, other in zip(english_lines, english_lines[::-1], strict=True)]
    text = "".join(f"{line}\n" for line in lines).encode()
    (folder / "ptb.train.txt.xz").write_bytes(lzma.compress(text))
    (folder / "ptb.valid.txt.gz").write_bytes(gzip.compress(text))
    (folder / "docs.valid.txt").write_bytes(text)
    vocabulary = fastlm.Vocabulary.build(lines)
    model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=6, self_normalising=0.1)
    fastlm.Trainer(model, batch_size=8, threads=1).fit(fastlm.Corpus.encode(lines, vocabulary), epochs=1)
    for name in ("window", "other"):
        (folder / name).mkdir()
    model.save(folder / "window" / "nnlm.fastlm")
    fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=4, context="continuous").save(folder / "other/nnlm.fastlm")
    return folder


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    """Run the bench in a folder; return its output, or with a status above 0 what it complains of."""
    command = [sys.executable, "-P", BENCH, "use", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert found.returncode == status, found.stderr
    return found.stderr if status else found.stdout


def tables(output: str) -> dict[str, list[list[str]]]:
    """Return the rows of each part, without its head."""
    parts = (part.splitlines() for part in output.split("## ")[1:])
    return {name: [line[2:-2].split(" | ") for line in lines if line.startswith("| ")][2:] for name, *lines in parts}


def test_all_parts_print_their_rows(folder: Path) -> None:
    found = tables(run(folder, *SMALL, "--model", "window/nnlm.fastlm", "--window", "window/nnlm.fastlm"))
    assert list(found) == ["rescore", "threads", "score", "frozen"]
    assert [row[:2] for row in found["rescore"]] == [["nnlm", "shared places"], ["nnlm", "own places"]]
    assert all(float(row[-1]) < 1e-5 for row in found["rescore"])
    assert [(row[0], row[-1]) for row in found["threads"]] == [("nnlm", "0")]
    assert [row[0] for row in found["score"]] == ["sentence", "continuous"]
    assert all(20 <= int(row[1]) < 40 for row in found["score"])
    assert [row[0] for row in found["frozen"]] == ["nnlm, float32", "nnlm, int8", "5-gram"]
    before, after = map(float, found["frozen"][0][1:3])
    assert after == pytest.approx(before, abs=0.02)


def test_files_of_one_name_have_rows_of_their_own(folder: Path) -> None:
    paths = ["window/nnlm.fastlm", "other/nnlm.fastlm"]
    rows = tables(run(folder, "rescore", *SMALL, "--model", paths[0], "--model", paths[1]))["rescore"]
    assert [row[0] for row in rows] == [path for path in paths for _ in range(2)]
    assert [row[5] != "" for row in rows] == [True, True, False, False]  # continuous text is one batch, not many


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no ptb.train.txt (or .gz, .xz, .zst) in"),
        (["score", "--data", "nowhere"], "no docs.valid.txt (or .gz, .xz, .zst) in"),
        (["rescore", "--model", "none.fastlm"], "'none.fastlm'"),
        (["rescore", "--model", "docs.valid.txt"], "docs.valid.txt"),
    ],
)
def test_what_is_missing_is_said_in_a_line(folder: Path, arguments: list[str], message: str) -> None:
    errors = run(folder, *arguments, status=1)
    assert errors.startswith("python bench use: ")
    assert errors.count("\n") == 1
    assert message in errors
