import gzip
import re
import shlex

import numpy as np
import pytest

import fastlm
import fastlm.data
from fastlm.cli import demo as demo_module
from fastlm.cli import main
from fastlm.cli.demo import KOREAN, SHAKESPEARE
from fastlm.cli.output import display_width
from fastlm.data import sample_text
from fastlm.models import ARCHITECTURES
from fastlm.training.trainer import Trainer

SHOWS = {"shakespeare": SHAKESPEARE, "korean": KOREAN}
SMALL_SIZES = {"embedding_dim": 4, "hidden_size": 6}


def read_sample(name):
    with gzip.open(sample_text(name), "rt", encoding="utf-8") as file:
        return file.read().split("\n")[:-1]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make the demo a matter of a second: the first 600 lines, a few units, one epoch."""
    files = {}
    for name, show in SHOWS.items():
        recipes = [r._replace(model=r.model | SMALL_SIZES, epochs=1) for r in show.recipes]
        changed = show._replace(recipes=tuple(recipes), vocabulary=show.vocabulary | {"min_count": 2})
        monkeypatch.setattr(demo_module, name.upper(), changed)
        files[name] = tmp_path / f"{name}.txt"
        files[name].write_text("".join(f"{line}\n" for line in read_sample(name)[:600]), encoding="utf-8")
    monkeypatch.setattr(fastlm.data, "sample_text", files.__getitem__)
    return files


@pytest.fixture
def run(capsys, small, tmp_path):
    """Run the demo into a directory; return what it prints, its messages, and the directory."""

    def run_demo(*options):
        directory = tmp_path / "models"
        assert main(["demo", "--threads", "1", "-o", str(directory), *options]) == 0
        return *capsys.readouterr(), directory

    return run_demo


def paragraph(text, title):
    """Return the lines below a title, up to the next title."""
    lines = text.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(title)) + 1
    rest = [*lines[start:], "end"]
    stop = next(number for number, line in enumerate(rest) if line and not line.startswith(" "))
    return [line for line in rest[:stop] if line]


@pytest.mark.parametrize("name", ["shakespeare", "korean"])
def test_what_is_printed_is_what_the_model_files_say(run, small, name):
    printed, _, directory = run(*(["--korean"] if name == "korean" else []))
    models = {kind: fastlm.load(directory / f"{kind.lower()}.fastlm") for kind in ("NNLM", "RNNLM")}
    vocabulary = models["NNLM"].vocabulary
    assert vocabulary == models["RNNLM"].vocabulary

    held_out = fastlm.Corpus.encode(small[name].read_text(encoding="utf-8").split("\n")[570:600], vocabulary)
    shares = vocabulary.counts / vocabulary.counts.sum()
    losses = -np.log(shares[held_out.ids])
    expected = [("word counts alone", np.exp([losses.mean(), losses[held_out.ids != 0].mean()]))]
    for kind, model in models.items():
        report = model.evaluate(held_out)
        expected.append((kind, (report.perplexity, report.perplexity_without_unknown)))
    rows = paragraph(printed, f"Perplexity on {held_out.num_tokens:,} held-out tokens")[1:]
    for row, (label, figures) in zip(rows, expected, strict=True):
        assert row.split() == [*label.split(), *(f"{figure:.1f}" for figure in figures)]

    predictions = paragraph(printed, "What comes next?")
    for number, prompt in enumerate(SHOWS[name].prompts):
        heading, *rows = predictions[3 * number : 3 * number + 3]
        assert heading == f"  {prompt} …"
        for row, (kind, model) in zip(rows, models.items(), strict=True):
            cells = [f"{word} {100 * probability:.1f} %" for word, probability in model.predict(prompt, k=5)]
            assert re.split("  +", row.strip()) == [kind, *cells]

    words = [word for word in SHOWS[name].words if word in vocabulary]
    assert words
    for row, word in zip(paragraph(printed, "Words used alike"), words, strict=True):
        assert re.split("  +", row.strip()) == [word, ", ".join(n.word for n in models["NNLM"].similar(word, k=4))]

    texts = paragraph(printed, "Text that they make up")
    assert [line.strip() for line in texts if line.strip() in models] == ["NNLM", "RNNLM"]
    assert 4 <= len(texts) <= 14
    for path in directory.iterdir():
        assert f"{path}  " in printed


def test_columns_stand_straight_in_korean(run):
    printed, _, _ = run("--korean")
    starts = {display_width(re.match(r"  \S+ +", row)[0]) for row in paragraph(printed, "Words used alike")}
    assert len(starts) == 1


def test_the_last_line_is_a_command_that_works(run, capsys):
    printed, _, _ = run()
    command = shlex.split(printed.strip().split("\n")[-1].removeprefix("Go on:"))
    assert command[0] == "fastlm"
    assert main(command[1:]) == 0
    assert capsys.readouterr().out.startswith("farewell, my")


def test_results_and_messages_go_different_ways(run):
    printed, errors, _ = run()
    assert "training an" not in printed
    assert errors.startswith("Shakespeare's plays: ")
    assert re.search(r"\ntraining an NNLM of [\d,]+ parameters\ntraining an RNNLM of [\d,]+ parameters\n$", errors)


def test_the_seed_decides(run):
    first, again, other = (run("--seed", seed)[0] for seed in ("3", "3", "4"))
    assert first == again != other


def test_without_a_directory_the_models_are_in_a_new_one(small, capsys, tmp_path, monkeypatch):
    temporary, here = tmp_path / "temporary", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(here)
    assert main(["demo", "--threads", "1"]) == 0
    (directory,) = temporary.iterdir()
    assert str(directory) in capsys.readouterr().out
    assert sorted(path.name for path in directory.iterdir()) == ["nnlm.fastlm", "rnnlm.fastlm"]
    assert list(here.iterdir()) == []


def test_a_place_that_cannot_be_is_found_before_the_training(small, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(fastlm.Vocabulary, "build", None)
    (tmp_path / "file").touch()
    for name in ("file", "file/models"):
        assert main(["demo", "-o", str(tmp_path / name)]) == 1
        printed, errors = capsys.readouterr()
        assert printed == ""
        assert errors.startswith(f"fastlm: cannot create the directory '{tmp_path}/{name}': ")


def test_ctrl_c_says_where_the_model_is(small, capsys, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastlm.RNNLM, "loss_and_gradients", interrupted)
    assert main(["demo", "--threads", "1", "-o", str(tmp_path)]) == 130
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.endswith(f"fastlm: interrupted; the best RNNLM so far is in {tmp_path / 'rnnlm.fastlm'}\n")
    assert fastlm.load(tmp_path / "nnlm.fastlm").architecture == "nnlm"


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--threads", "0"], ["--korea"], ["text"]], ids=" ".join)
def test_a_wrong_call_is_status_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(["demo", *arguments])
    assert stop.value.code == 2


@pytest.mark.parametrize("name", ["shakespeare", "korean"])
def test_the_real_recipes_fit_the_real_text(name):
    show = SHOWS[name]
    assert show.text == name
    vocabulary = fastlm.Vocabulary.build(read_sample(name), **show.vocabulary)
    assert all(word in vocabulary for word in show.words)
    assert all(vocabulary.encode(prompt).all() for prompt in show.prompts)
    for recipe in show.recipes:
        model = ARCHITECTURES[recipe.name.lower()](vocabulary, **recipe.model)
        Trainer(model, **recipe.training)
