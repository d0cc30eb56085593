"""`fastlm analogy` and `fastlm vectors`."""

import json

import pytest

import fastlm
from fastlm.cli import main
from fastlm.inference.similarity import analogy

WORDS = ["the", "cat", "sat", "on", "mat", "고양이"]


@pytest.fixture
def model(tmp_path):
    model = fastlm.NNLM(fastlm.Vocabulary(WORDS), context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    model.save(tmp_path / "model.fastlm")
    return model


def test_analogy(model, tmp_path, capsys):
    path = str(tmp_path / "model.fastlm")
    expected = analogy(model, "the", "cat", "sat", 2)
    assert main(["analogy", path, "the", "cat", "sat", "-k", "2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [[word, f"{cosine:.4f}"] for word, cosine in expected]
    assert main(["analogy", path, "the", "cat", "sat", "-k", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [tuple(neighbour.values()) for neighbour in result.pop("neighbours")] == expected
    assert result == {"word": "the", "like": "cat", "other": "sat"}
    assert main(["analogy", path, "the", "cats", "sat"]) == 1
    assert "did you mean 'cat'" in capsys.readouterr().err


def test_vectors(model, tmp_path, capsys):
    path = str(tmp_path / "model.fastlm")
    assert main(["vectors", path, "-o", str(tmp_path / "vectors.txt")]) == 0
    assert main(["vectors", path, "-o", str(tmp_path / "vectors.bin")]) == 0
    assert capsys.readouterr() == ("", "")
    lines = (tmp_path / "vectors.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "8 4"
    assert [line.split()[0] for line in lines[1:]] == ["<unk>", "</s>", *WORDS]
    assert [float(number) for number in lines[3].split()[1:]] == pytest.approx(model.embeddings[2].tolist(), rel=1e-6)
    assert (tmp_path / "vectors.bin").read_bytes().count(model.embeddings[7].tobytes()) == 1
