"""`fastlm train --init-embeddings`."""

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.text.word2vec import read_word2vec, write_word2vec

SIZE = 5
SMALL = ["--hidden-size", "6", "--threads", "1", "--epochs", "1"]
STILL = ["--optimizer", "sgd", "--learning-rate", "1e-12"]


@pytest.fixture
def paths(tmp_path, english_lines):
    (tmp_path / "text.txt").write_text("".join(f"{line}\n" for line in english_lines * 3), encoding="utf-8")
    words = sorted({word for line in english_lines for word in line.split()})[::2]
    write_word2vec(
        tmp_path / "vectors.bin", words, np.random.default_rng(1).normal(size=(len(words), SIZE)), binary=True
    )
    return {name: str(tmp_path / name) for name in ("text.txt", "vectors.bin", "model.fastlm", "checkpoints")}


def train(capsys, paths, *options, kind="rnnlm"):
    arguments = [
        "train",
        kind,
        paths["text.txt"],
        "-o",
        paths["model.fastlm"],
        "--init-embeddings",
        paths["vectors.bin"],
    ]
    return main([*arguments, *SMALL, *options]), capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("nnlm", []),
        ("rnnlm", ["--tied"]),
        ("rnnlm", ["--embedding-dim", str(SIZE)]),
        ("rnnlm", ["--recipe", "quick"]),
        ("nnlm", ["--recipe", "nnlm-classic"]),
    ],
)
def test_a_model_as_wide_as_the_vectors_begins_with_them(capsys, paths, kind, options):
    status, errors = train(capsys, paths, *STILL, *options, kind=kind)
    assert status == 0, errors
    model, table = fastlm.load(paths["model.fastlm"]), read_word2vec(paths["vectors.bin"])
    assert f"vectors of {SIZE} dimensions for {len(table.words)} of the {len(model.vocabulary)} words" in errors
    assert model.config["embedding_dim"] == SIZE
    ids = [model.vocabulary[word] for word in table.words]
    assert model.embeddings[ids] == pytest.approx(table.vectors, abs=1e-3)  # weights of a recipe decay a little


def test_what_does_not_fit(capsys, paths, tmp_path):
    status, errors = train(capsys, paths, "--embedding-dim", "6")
    assert status == 1
    assert f"its word vectors have {SIZE} dimensions, but --embedding-dim is 6; leave that out" in errors
    write_word2vec(tmp_path / "vectors.bin", ["chat", "chien"], np.eye(2))
    status, errors = train(capsys, paths)
    assert status == 1
    assert "none of its words is in the vocabulary" in errors
    (tmp_path / "vectors.bin").write_bytes(b"3 2\nthe 1 2\n")
    status, errors = train(capsys, paths)
    assert status == 1
    assert "its first line says 3; it is cut or damaged" in errors


def test_wrong_calls(capsys, paths, tmp_path):
    for options, message in [
        (["--init", str(tmp_path / "other.fastlm")], "--init MODEL has word vectors already"),
        (["--log", paths["vectors.bin"]], "would be overwritten, but it is to be read"),
    ]:
        with pytest.raises(SystemExit) as stop:
            train(capsys, paths, *options)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_they_belong_to_the_run_that_is_resumed(capsys, paths, tmp_path):
    job = ["--checkpoint", paths["checkpoints"], "--resume", "--seed", "3"]
    assert train(capsys, paths, *job)[0] == 0
    assert train(capsys, paths, *job)[0] == 0
    words, vectors = read_word2vec(paths["vectors.bin"])
    write_word2vec(paths["vectors.bin"], words, vectors[::-1], binary=True)
    status, errors = train(capsys, paths, *job)
    assert status == 1
    assert "those of another run: initial parameters is those with the CRC-32" in errors
