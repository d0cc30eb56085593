"""The verb freeze, and the verbs that use what it writes."""

import json

import pytest

import fastlm
from fastlm.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory, english_lines):
    """Return a folder with a model that can be frozen, one that cannot, one that is, and texts."""
    folder = tmp_path_factory.mktemp("models")
    train, valid = english_lines[:14] * 4, english_lines[14:]
    vocabulary = fastlm.Vocabulary.build(train)
    corpus = fastlm.Corpus.encode(train, vocabulary)
    sizes = {"embedding_dim": 6, "hidden_size": 8, "context_size": 3}
    for name, strength in [("model", 0.1), ("plain", 0.0)]:
        model = fastlm.NNLM(vocabulary, **sizes, self_normalising=strength)
        fastlm.Trainer(model, batch_size=8, learning_rate=0.03, threads=1).fit(corpus, epochs=3)
        model.save(folder / f"{name}.fastlm")
    fastlm.FrozenNNLM.of(fastlm.load(folder / "model.fastlm")).save(folder / "frozen.fastlm")
    (folder / "valid.txt").write_text("".join(f"{line}\n" for line in valid))
    (folder / "nbest.txt").write_text("".join(f"0 ||| {line} ||| a= 1 ||| 2\n" for line in valid[:3]))
    return folder


@pytest.fixture
def run(capsys, folder, monkeypatch):
    """Run a command in the folder of the models; return its output, or with a status above 0 what it complains of."""
    monkeypatch.chdir(folder)

    def run_command(*arguments, status=0):
        try:
            found = main(arguments)
        except SystemExit as stop:
            found = stop.code
        output, errors = capsys.readouterr()
        assert found == status, errors
        return errors if status else output

    return run_command


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_model_is_frozen_and_measured(run, folder, dtype):
    output = run("freeze", "model.fastlm", "-o", "new.fastlm", "--dtype", dtype, "--valid", "valid.txt", "--json")
    facts = json.loads(output)
    model, frozen = (fastlm.load(folder / f"{name}.fastlm") for name in ("model", "new"))
    corpus = fastlm.Corpus.encode(folder / "valid.txt", model.vocabulary)
    assert facts["perplexity_before"] == pytest.approx(model.evaluate(corpus).perplexity)
    assert facts["perplexity"] == frozen.evaluate(corpus).perplexity == frozen.info["held_out_perplexity"]
    assert facts["perplexity"] == pytest.approx(facts["perplexity_before"], rel=1e-5 if dtype == "float32" else 0.02)
    assert facts["perplexity_of_scores"] == frozen.evaluate(corpus, normalised=False).perplexity
    assert facts["perplexity_of_scores"] == pytest.approx(facts["perplexity"], rel=1e-5)  # log Z is 0 in the mean
    assert facts["log_norm_mean"] == frozen.info["held_out_log_norm_mean"] > 0
    assert facts["file_size"] == (folder / "new.fastlm").stat().st_size
    assert frozen.config["dtype"] == facts["dtype"] == dtype


def test_from_training_to_queries(run, folder):
    sizes = ["--embedding-dim", "4", "--hidden-size", "4", "--epochs", "1", "--threads", "1", "--quiet"]
    run("train", "nnlm", "valid.txt", "-o", "trained.fastlm", "--self-normalising", "0.25", *sizes)
    assert fastlm.load(folder / "trained.fastlm").config["self_normalising"] == 0.25
    run("freeze", "trained.fastlm", "-o", "new.fastlm", "--quiet")
    frozen = fastlm.load(folder / "new.fastlm")
    assert frozen.info["frozen_from"]["self_normalising"] == 0.25
    assert frozen.info["training"]["epochs"] == 1


def test_info_shows_what_was_measured(run):
    shown = run("freeze", "model.fastlm", "-o", "new.fastlm", "--valid", "valid.txt")
    assert "perplexity before" in shown
    facts = dict(line.split("  ", 1) for line in run("info", "new.fastlm").splitlines())
    assert facts["architecture"].strip() == "frozen"
    assert float(facts["info: held_out_log_norm_99"]) >= 0
    assert float(facts["info: held_out_perplexity"]) > 1


def test_without_held_out_text_nothing_is_measured(run, folder):
    assert "perplexity" not in run("freeze", "model.fastlm", "-o", "new.fastlm")
    assert "held_out_perplexity" not in fastlm.load(folder / "new.fastlm").info


@pytest.mark.parametrize("valid", [[], ["--valid", "valid.txt"]])
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_what_is_not_measured_is_said(folder, monkeypatch, capsys, valid, quiet):
    monkeypatch.chdir(folder)
    assert main(["freeze", "model.fastlm", "-o", "new.fastlm", *valid, *quiet]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is not measured; give" in line]
    assert len(said) == int(not valid and not quiet)


def test_evaluate_is_exact_unless_it_is_told_otherwise(run):
    exact = json.loads(run("evaluate", "frozen.fastlm", "valid.txt", "--json"))
    original = json.loads(run("evaluate", "model.fastlm", "valid.txt", "--json"))
    scores = json.loads(run("evaluate", "frozen.fastlm", "valid.txt", "--json", "--unnormalised"))
    assert exact["perplexity"] == pytest.approx(original["perplexity"], rel=1e-5)
    assert exact["normalised"]
    assert not scores["normalised"]
    assert scores["perplexity"] != exact["perplexity"]
    names = ("frozen.fastlm", "model.fastlm")
    words = [run("evaluate", name, "valid.txt", "--per-word").splitlines() for name in names]
    for one, other in zip(*words, strict=True):
        assert float(one.split("\t")[2]) == pytest.approx(float(other.split("\t")[2]), abs=1e-4)


def test_score_filter_and_rescore_take_scores_or_normalise(run):
    """With --normalise the figures are those of the model that was frozen."""

    def scores(name, *options):
        return [float(line.split("\t")[0]) for line in run("score", name, "valid.txt", *options).splitlines()]

    assert scores("frozen.fastlm", "--normalise") == pytest.approx(scores("model.fastlm"), abs=1e-3)
    assert scores("frozen.fastlm") != pytest.approx(scores("model.fastlm"), abs=1e-3)

    def perplexities(name, *options):
        lines = run("filter", name, "valid.txt", "--max-perplexity", "1e9", "--json", *options).splitlines()
        return [json.loads(line)["perplexity"] for line in lines]

    assert perplexities("frozen.fastlm", "--normalise") == pytest.approx(perplexities("model.fastlm"), rel=1e-4)
    assert perplexities("frozen.fastlm") != pytest.approx(perplexities("model.fastlm"), rel=1e-4)

    def rescored(name, *options):
        lines = run("rescore", name, "nbest.txt", *options).splitlines()
        return [float(line.split("FastLM0= ")[1].split()[0]) for line in lines]

    assert rescored("frozen.fastlm", "--normalise") == pytest.approx(rescored("model.fastlm"), abs=1e-3)
    assert rescored("frozen.fastlm") != pytest.approx(rescored("model.fastlm"), abs=1e-3)


def test_the_other_verbs(run):
    assert len(run("predict", "frozen.fastlm", "the", "-k", "3").splitlines()) == 3
    assert run("generate", "frozen.fastlm", "--seed", "1")
    assert len(run("similar", "frozen.fastlm", "the", "-k", "2").splitlines()) == 2


def test_what_cannot_be_frozen(run):
    errors = run("freeze", "plain.fastlm", "-o", "new.fastlm", status=1)
    assert "its scores are no probabilities before they are normalised" in errors
    assert "fastlm train nnlm --self-normalising 0.1" in errors
    assert "it is of the kind 'frozen'" in run("freeze", "frozen.fastlm", "-o", "new.fastlm", status=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.fastlm", "-o", "model.fastlm"], "model.fastlm would be overwritten"),
        (["model.fastlm", "-o", "valid.txt", "--valid", "valid.txt"], "valid.txt would be overwritten"),
        (["model.fastlm", "-o", "-"], "takes no model"),
        (["model.fastlm", "-o", "m", "--dtype", "int4"], "invalid choice: 'int4'"),
        (["model.fastlm"], "-o/--model"),
    ],
)
def test_a_wrong_call(run, arguments, message):
    assert message in run("freeze", *arguments, status=2)


def test_a_file_that_is_none(run):
    assert "No such file" in run("freeze", "missing.fastlm", "-o", "new.fastlm", status=1)
    assert "cannot use" in run("freeze", "valid.txt", "-o", "new.fastlm", status=1)
