"""`fastlm score --table`: all tokens of a text as TSV and Parquet."""

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TinyModel

import fastlm
from fastlm.cli import main
from fastlm.inference.measures import measure_tokens

LINES = ["the cat sat on the mat", "", "the dog\tsat", "나는 고양이"]
WORDS = [word for line in LINES if line for word in [*line.split(), "</s>"]]


@pytest.fixture(params=["sentence", "continuous"])
def model(request, monkeypatch):
    model = TinyModel(request.param)
    monkeypatch.setattr(fastlm, "load", lambda path, *, verify=True: model, raising=False)
    return model


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return str(path)


def check(lines, table):
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["line", "place", "word", "id", "surprisal", "entropy", "rank"][: len(rows[0])]
    assert [row[2] for row in rows[1:]] == WORDS
    for row, record in zip(rows[1:], table.tolist(), strict=True):
        assert [int(row[0]), int(row[1]), int(row[3])] == list(record[:3])
        assert [float(cell) for cell in row[4:]] == pytest.approx(record[3:], abs=1e-6)


@pytest.mark.parametrize("options", [[], ["--threads", "2"], ["--no-distribution"]], ids=str)
def test_a_table_with_tabs(model, text_file, tmp_path, options, capsys):
    table = measure_tokens(model, LINES, distribution="--no-distribution" not in options)
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.tsv"), *options]) == 0
    assert capsys.readouterr() == ("", "")
    check((tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines(), table)


def test_a_compressed_table(model, text_file, tmp_path, capsys):
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.tsv.gz")]) == 0
    check(gzip.decompress((tmp_path / "out.tsv.gz").read_bytes()).decode().splitlines(), measure_tokens(model, LINES))
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.tsv.zst")]) == 1
    assert "ends in .zst, which is read but not written; take .gz" in capsys.readouterr().err


def test_a_table_on_standard_output(model, text_file, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["score", "m", text_file, "--table", "-"]) == 0
    check(output.buffer.getvalue().decode().splitlines(), measure_tokens(model, LINES))


def test_a_parquet_table(model, text_file, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.parquet")]) == 0
    found = parquet.read_table(tmp_path / "out.parquet")
    table = measure_tokens(model, LINES)
    assert found.column_names == ["line", "place", "word", "id", "surprisal", "entropy", "rank"]
    assert found["word"].to_pylist() == WORDS
    for name in table.dtype.names:
        assert found[name].to_pylist() == table[name].tolist()


def test_row_groups_are_not_small(model, text_file, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fastlm.inference.measures.BATCH_TOKENS", 1)
    monkeypatch.setattr("fastlm.cli.token_table.ROW_GROUP", 10)
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.parquet")]) == 0
    groups = parquet.ParquetFile(tmp_path / "out.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [11, 3]
    assert parquet.read_table(tmp_path / "out.parquet")["word"].to_pylist() == WORDS


def test_what_is_certain_is_no_surprise(model, text_file, tmp_path):
    model.near[:], model.far[:] = -np.inf, 0.0
    model.near[:, 1] = 0.0  # </s> has all of the probability
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.tsv"), "--no-distribution"]) == 0
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert {(row[2] == "</s>", row[4]) for row in rows} == {(True, "0.000000"), (False, "inf")}


@pytest.mark.parametrize("name", ["text.txt", "link"])
def test_what_is_read_is_not_overwritten(model, text_file, tmp_path, name, capsys):
    (tmp_path / "link").symlink_to(text_file)
    with pytest.raises(SystemExit, match="2"):
        main(["score", "m", text_file, "--table", str(tmp_path / name)])
    assert "would be overwritten" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["score", str(tmp_path / name), "-", "--table", text_file])
    assert Path(text_file).read_text(encoding="utf-8").splitlines() == LINES


def test_without_pyarrow_it_says_what_to_install(model, text_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["score", "m", text_file, "--table", str(tmp_path / "out.parquet")]) == 1
    assert "pip install 'fastlm[parquet]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize("option", ["--json", "--per-word", "--unbuffered"])
def test_what_does_not_go_with_a_table(model, text_file, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        main(["score", "m", text_file, "--table", "-", option])
    assert f"leave out {option}" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["score", "m", text_file, "--no-distribution"])
    assert "give --table" in capsys.readouterr().err
