"""`fastlm analogy`, `fastlm vectors` and `fastlm plot-words`."""

import gzip
import json
import sys

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
    assert main(["vectors", path, "-o", str(tmp_path / "vectors.bin.gz")]) == 0
    assert gzip.decompress((tmp_path / "vectors.bin.gz").read_bytes()) == (tmp_path / "vectors.bin").read_bytes()
    assert capsys.readouterr() == ("", "")
    lines = (tmp_path / "vectors.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "8 4"
    assert [line.split()[0] for line in lines[1:]] == ["<unk>", "</s>", *WORDS]
    assert [float(number) for number in lines[3].split()[1:]] == pytest.approx(model.embeddings[2].tolist(), rel=1e-6)
    assert (tmp_path / "vectors.bin").read_bytes().count(model.embeddings[7].tobytes()) == 1


def test_plot_words(model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, picture = str(tmp_path / "model.fastlm"), tmp_path / "map.png"
    assert main(["plot-words", path, "-o", str(picture), "-n", "5"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot-words", path, "-o", str(picture), "--words", "the,cat,mats"]) == 1
    assert "'mats' is not in the model's vocabulary; did you mean 'mat'" in capsys.readouterr().err
    (tmp_path / "words.txt").write_text("the\ncat\nmats\n<unk>\nmat\n", encoding="utf-8")
    assert main(["plot-words", path, "-o", str(tmp_path / "map.svg"), "--words", str(tmp_path / "words.txt")]) == 0
    assert "2, are left out: mats <unk>" in capsys.readouterr().err
    assert (tmp_path / "map.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert main(["plot-words", path, "-o", str(tmp_path / "map.doc"), "-n", "5"]) == 1
    assert "does not end as a picture" in capsys.readouterr().err
    assert main(["plot-words", str(tmp_path / "none"), "-o", str(tmp_path / "map.doc")]) == 1  # before all else
    assert "does not end as a picture" in capsys.readouterr().err
    many = ",".join(["the", "cat", "sat"] * 100)  # as a name of a file, too long to ask for
    assert main(["plot-words", path, "-o", str(picture), "--words", many]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["plot-words", path, "-o", str(picture), "-k", "4"])
    assert "give the word, with --near" in capsys.readouterr().err


def test_what_is_read_is_not_overwritten(model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, words = tmp_path / "model.png", tmp_path / "words.png"
    model.save(path)
    words.write_text("the\ncat\nmat\n")
    before = path.read_bytes(), words.read_bytes()
    for call in (
        ["vectors", path, "-o", path],
        ["plot-words", path, "-o", path, "-n", "5"],
        ["plot-words", path, "-o", words, "--words", words],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(list(map(str, call)))
        assert "would be overwritten" in capsys.readouterr().err
    assert (path.read_bytes(), words.read_bytes()) == before


def test_plot_neighbours(model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    near = [neighbour.word for neighbour in model.similar("cat", 4)]
    call = ["plot-words", str(tmp_path / "model.fastlm"), "-o", str(tmp_path / "map.svg"), "--near", "cat", "-k", "4"]
    status = main(call)
    if status:  # a word among them is Korean
        assert "no font that is installed has" in capsys.readouterr().err
    else:
        drawn = (tmp_path / "map.svg").read_text(encoding="utf-8")
        assert all(f"<!-- {word} -->" in drawn for word in ["cat", *near])


def test_without_matplotlib(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert main(["plot-words", str(tmp_path / "model.fastlm"), "-o", str(tmp_path / "map.png")]) == 1
    assert 'pip install "fastlm[plot]"' in capsys.readouterr().err
