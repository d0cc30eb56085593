"""The options of the output layer, and what the verbs say of it."""

import argparse
import inspect
import json

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.cli.main import build_parser
from fastlm.cli.output_layer import KINDS, OPTIONS
from fastlm.models.outputs import USED_BY
from fastlm.nn.outputs import OUTPUTS

SMALL = ["--embedding-dim", "4", "--hidden-size", "6", "--batch-size", "4", "--threads", "1", "--epochs", "2"]
CHOICES = {
    "softmax": [],
    "class": ["--num-classes", "5"],
    "adaptive": ["--cutoffs", "9,30"],
    "sampled": ["--num-samples", "20", "--noise-power", "0.5", "--self-normalising", "0.25"],
    "nce": ["--num-samples", "20", "--noise-power", "1"],
}


@pytest.fixture
def text(tmp_path, english_lines):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in english_lines * 3), encoding="utf-8")
    return str(path)


@pytest.fixture
def output(tmp_path):
    return str(tmp_path / "model.fastlm")


@pytest.fixture
def run(capsys):
    def run_command(*arguments, status=0):
        assert main(arguments) == status
        return capsys.readouterr()

    return run_command


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["nnlm", "rnnlm"])
def test_train_evaluate_and_info(run, text, output, architecture, kind):
    chosen = ["--output", kind, *CHOICES[kind]]
    printed, _ = run("train", architecture, text, "--valid", text, "-o", output, *SMALL, *chosen)
    model = fastlm.load(output)
    report = model.evaluate(fastlm.Corpus.encode(text, model.vocabulary))
    assert printed == f"{report}\n"
    assert run("evaluate", output, text).out == printed
    assert json.loads(run("evaluate", output, text, "--json").out) == report.to_dict()
    assert (report.log_norm_mean is not None) == (kind in ("sampled", "nce"))
    info = run("info", output).out
    assert f"config: output {kind}" in " ".join(info.split())
    if kind == "adaptive":
        assert "config: cutoffs 9 30" in " ".join(info.split())


def test_options_reach_the_model(run, text, output):
    run("train", "rnnlm", text, "-o", output, *SMALL, "--output", "sampled", *CHOICES["sampled"])
    config = fastlm.load(output).config
    expected = {"output": "sampled", "num_samples": 20, "noise_power": 0.5, "self_normalising": 0.25}
    assert {name: config[name] for name in expected} == expected
    run("train", "rnnlm", text, "-o", output, *SMALL, "--output", "class", "--cutoffs", "2,5,30")
    assert fastlm.load(output).config["cutoffs"] == [2, 5, 30]


def test_the_model_file_has_a_long_name_too(run, text, output):
    run("train", "nnlm", text, "--model", output, *SMALL)
    assert fastlm.load(output).config["output"] == "softmax"


def test_many_cutoffs_are_not_all_shown(run, text, output):
    run("train", "nnlm", text, "-o", output, *SMALL, "--output", "class", "--cutoffs", ",".join(map(str, range(1, 21))))
    shown = " ".join(run("info", output).out.split())
    assert "config: cutoffs 1 2 3 4 5 6 7 8 … (20 in all)" in shown
    assert json.loads(run("info", output, "--json").out)["config"]["cutoffs"] == list(range(1, 21))


def test_words_of_a_list_are_counted_in_the_text(run, text, output, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("unicorn\nthe\ncat\n")
    run("train", "nnlm", text, "-o", output, *SMALL, "--vocab", str(words), "--output", "adaptive")
    vocabulary = fastlm.load(output).vocabulary
    corpus = fastlm.Corpus.encode(text, vocabulary)
    assert vocabulary.words[2:] == ("unicorn", "the", "cat")
    assert vocabulary.counts.tolist() == np.bincount(corpus.ids, minlength=5).tolist()


def test_unnormalised(run, text, output):
    run("train", "nnlm", text, "-o", output, *SMALL, "--output", "nce", "--num-samples", "9")
    exact, quick = (json.loads(run("evaluate", output, text, "--json", *more).out) for more in ([], ["--unnormalised"]))
    assert (exact["normalised"], quick["normalised"]) == (True, False)
    assert exact["log_norm_99"] >= exact["log_norm_mean"] > 0
    assert quick["log_norm_mean"] is quick["log_norm_99"] is None
    assert abs(exact["loss"] - quick["loss"]) <= exact["log_norm_mean"] + 1e-6
    assert "not normalised" in run("evaluate", output, text, "--unnormalised").out


def test_what_cannot_do_without_normalisation_says_so(run, text, output):
    run("train", "nnlm", text, "-o", output, *SMALL)
    result = run("evaluate", output, text, "--unnormalised", status=1)
    assert result.out == ""
    assert "only models with output 'sampled' or 'nce'" in result.err


def test_training_goes_on_with_the_layer_of_the_model(run, text, output, tmp_path):
    run("train", "nnlm", text, "-o", output, *SMALL, "--output", "nce", "--num-samples", "9")
    further = str(tmp_path / "further.fastlm")
    epochs = ["--batch-size", "4", "--threads", "1", "--epochs", "1"]
    run("train", "nnlm", text, "-o", further, "--init", output, *epochs)
    run("train", "nnlm", text, "-o", further, "--init", output, *epochs, "--output", "nce", "--num-samples", "9")
    assert fastlm.load(further).config == fastlm.load(output).config
    errors = run("train", "nnlm", text, "-o", further, "--init", output, "--num-samples", "7", status=1).err
    assert "has num_samples 9, but 7 was asked for" in errors
    errors = run("train", "nnlm", text, "-o", further, "--init", output, "--output", "softmax", status=1).err
    assert "has output nce, but softmax was asked for" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "m.fastlm"], "invalid choice: 'm.fastlm'"),
        (["--num-samples", "5"], "argument --num-samples: only --output sampled or nce uses it, not softmax"),
        (["--output", "class", "--noise-power", "1"], "argument --noise-power: only --output sampled or nce uses it"),
        (["--output", "nce", "--self-normalising", "1"], "only --output softmax or sampled uses it, not nce"),
        (["--output", "adaptive", "--num-classes", "9"], "only --output class uses it, not adaptive"),
        (["--output", "class", "--num-classes", "9", "--cutoffs", "5"], "leave out one of them"),
        (["--output", "class", "--num-classes", "1"], "at least 2"),
        (["--output", "class", "--tied"], "argument --tied: only --output softmax or sampled or nce uses it"),
        (["--output", "sampled", "--num-samples", "0"], "at least 1"),
        (["--output", "sampled", "--noise-power", "-1"], "at least 0"),
        (["--output", "adaptive", "--cutoffs", "9,5"], "expected rising whole numbers above 0, like 2000,10000"),
        (["--output", "adaptive", "--cutoffs", "0,5"], "rising whole numbers"),
        (["--output", "adaptive", "--cutoffs", "many"], "rising whole numbers"),
        (["--output", "adaptive", "--cutoffs", ""], "rising whole numbers"),
    ],
)
def test_a_wrong_call(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(["train", "rnnlm", "f", "-o", "m", *arguments])
    output, errors = capsys.readouterr()
    assert (stop.value.code, output) == (2, "")
    assert message in errors


def test_the_options_are_those_of_the_library():
    assert tuple(OUTPUTS) == KINDS
    assert set(OPTIONS) == set(USED_BY)
    parser = build_parser()
    for name in ("train", "rnnlm"):
        verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = verbs.choices[name]
    helps = {action.dest: action.help for action in parser._actions}
    for kind in ("sampled", "nce"):
        parameters = inspect.signature(OUTPUTS[kind]).parameters
        assert all(helps[name].endswith(f"({parameters[name].default})") for name in ("num_samples", "noise_power"))
    defaults = [inspect.signature(OUTPUTS[k]).parameters["self_normalising"].default for k in ("softmax", "sampled")]
    assert helps["self_normalising"].endswith("(softmax {:g}, sampled {})".format(*defaults))
