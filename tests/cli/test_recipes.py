"""fastlm train --recipe, and fastlm plot of what it logs."""

import json
from pathlib import Path

import pytest

import fastlm
from fastlm.cli import main
from fastlm.cli.recipes import NAMES

SMALL = ["--embedding-dim", "6", "--hidden-size", "6", "--epochs", "1", "--threads", "1"]


@pytest.fixture
def text(tmp_path: Path, english_lines: list[str]) -> str:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in english_lines * 3), encoding="utf-8")
    return str(path)


@pytest.fixture
def train(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Train by a recipe; return the model."""

    def run(kind: str, name: str, *arguments: str):
        model = str(tmp_path / "model.fastlm")
        status = main(["train", kind, text, "--valid", text, "-o", model, "--recipe", name, "--quiet", *arguments])
        assert (status, capsys.readouterr().err) == (0, "")
        return fastlm.load(model)

    return run


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_the_command_line_does_what_python_does(train, text: str, kind: str, name: str) -> None:
    model = train(kind, name, *SMALL)
    recipe = fastlm.recipe(name, embedding_dim=6, hidden_size=6, epochs=1)
    same = recipe.model(recipe.vocabulary(text))
    corpus = fastlm.Corpus.encode(text, same.vocabulary)
    recipe.trainer(same, threads=1).fit(corpus, corpus)
    assert model.info["recipe"] == same.info["recipe"]
    assert model.info["recipe"]["name"] == name
    assert model.config == same.config
    if "time_limit" not in recipe.settings:
        for array, value in same.parameters.items():
            assert (model.parameters[array] == value).all()


def test_options_beside_it_override(train) -> None:
    model = train("rnnlm", "lstm", *SMALL, "--no-tied", "--no-random-bptt-len", "--dropout", "0", "--optimizer", "sgd")
    assert (model.config["cell"], model.config["tied"], model.config["output_dropout"]) == ("lstm", False, None)
    training = model.info["training"]
    assert (training["random_bptt_len"], training["optimizer"], training["learning_rate"]) == (False, "sgd", 0.5)
    overridden = {"embedding_dim", "hidden_size", "epochs", "tied", "random_bptt_len", "dropout", "optimizer"}
    assert set(model.info["recipe"]["overridden"]) == overridden


def test_another_output_layer_leaves_out_the_options_of_the_recipes(train) -> None:
    assert train("rnnlm", "gru", *SMALL, "--output", "adaptive").config["output"] == "adaptive"


def test_how_text_is_split_is_a_setting(train) -> None:
    model = train("rnnlm", "subword", *SMALL, "--vocab-size", "60")
    assert model.vocabulary.tokenizer.spec["kind"] == "huggingface"
    assert len(model.vocabulary) <= 60
    chars = train("rnnlm", "subword", *SMALL, "--tokenizer", "char")
    assert chars.vocabulary.tokenizer.spec == {"kind": "char"}


def test_words_that_come_from_elsewhere_stay(train, text: str, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("the\ncat\n")
    model = train("rnnlm", "lstm", *SMALL, "--vocab", str(words))
    assert model.vocabulary.words == ("<unk>", "</s>", "the", "cat")
    corpus = tmp_path / "text.fastcorpus"
    assert main(["prepare", text, "-o", str(corpus), "--quiet"]) == 0
    output = str(tmp_path / "prepared.fastlm")
    job = ["--recipe", "quick", "-o", output, "--quiet"]
    assert main(["train", "rnnlm", str(corpus), *job, *SMALL]) == 0
    further = ["--init", output, "--recipe", "quick", *SMALL, "-o", str(tmp_path / "further.fastlm"), "--quiet"]
    assert main(["train", "rnnlm", text, *further]) == 0


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (
            "nnlm",
            "lstm",
            "lstm is a recipe for rnnlm, not for nnlm: call fastlm train rnnlm --recipe lstm, or take nnlm",
        ),
        ("rnnlm", "nnlm", "nnlm is a recipe for nnlm, not for rnnlm: call fastlm train nnlm --recipe nnlm, or take el"),
        ("rnnlm", "lstn", "there is no recipe 'lstn'; for rnnlm there are elman, gru, lstm"),
    ],
)
def test_a_wrong_name_is_a_wrong_call(
    text: str, kind: str, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", kind, text, "-o", "model", "--recipe", name])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--vocab", "words.txt", "--tokenizer", "subword"]])
def test_subwords_are_not_of_a_list(text: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["train", "rnnlm", text, "-o", "m", *arguments], ["prepare", text, "-o", "c", *arguments[2:]]):
        with pytest.raises(SystemExit) as stop:
            main(verb)
        assert stop.value.code == 2
        assert "argument --tokenizer: subwords are learned" in capsys.readouterr().err


def test_a_recipe_of_subwords_takes_no_other_words(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = str(tmp_path / "text.fastcorpus")
    assert main(["prepare", text, "-o", corpus, "--quiet"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["train", "rnnlm", corpus, "-o", str(tmp_path / "model"), "--recipe", "subword", "--quiet"])
    assert stop.value.code == 2
    assert "'subword' is for subwords, but the words that are given" in capsys.readouterr().err


def test_names_of_logs_are_names(train, tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    log, seen = tmp_path / "_r$x^$.jsonl", []
    train("rnnlm", "gru", *SMALL, "--log", str(log))
    save = figure.Figure.savefig

    def savefig(self, *arguments, **options):
        seen.extend(text.get_text() for text in self.axes[0].get_legend().get_texts())
        save(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure.Figure, "savefig", savefig)
        assert main(["plot", str(log), "-o", str(tmp_path / "curves.png")]) == 0
    assert [text.split(",")[0] for text in seen] == ["_r$x^$", "validation", "training"]


def test_info_prints_the_recipe(train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("rnnlm", "gru", *SMALL)
    path = str(tmp_path / "model.fastlm")
    assert main(["info", path]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert rows["recipe"].strip() == "gru, with embedding_dim 6, epochs 1, hidden_size 6"
    assert main(["info", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["recipe"] == {"name": "gru", "overridden": {"embedding_dim": 6, "epochs": 1, "hidden_size": 6}}
    assert set(facts["info"]) == {"training"}


def test_logs_are_drawn(train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    log, picture = str(tmp_path / "gru.jsonl"), tmp_path / "curves.png"
    train("rnnlm", "gru", *SMALL, "--log", log)
    assert json.loads(Path(log).read_text().splitlines()[0])["recipe"] == "gru"
    assert main(["plot", log, log, "-o", str(picture), "--against", "minutes"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", log, "-o", str(tmp_path / "curves.doc")]) == 1
    assert "does not end as a picture" in capsys.readouterr().err
