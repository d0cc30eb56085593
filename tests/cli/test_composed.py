"""The verbs about several models and about adaptation: evaluate, mix, adapt; and --adapt and --documents."""

import json
import math

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.inference.documents import joined, split_documents


@pytest.fixture(scope="module")
def folder(tmp_path_factory, english_lines):
    """Return a folder with two networks, two n-gram models, one of another vocabulary, and texts."""
    folder = tmp_path_factory.mktemp("models")
    train, valid = english_lines[:14] * 4, english_lines[14:]
    vocabulary = fastlm.Vocabulary.build(train)
    corpus = fastlm.Corpus.encode(train, vocabulary)
    sizes = {"embedding_dim": 6, "hidden_size": 8}
    models = {
        "rnnlm": fastlm.RNNLM(vocabulary, **sizes),
        "nnlm": fastlm.NNLM(vocabulary, context_size=2, **sizes),
        "ngram": fastlm.NGramLM(vocabulary, order=3).fit(corpus),
        "counts": fastlm.NGramLM(vocabulary, order=3, smoothing="none").fit(corpus),
        "other": fastlm.NGramLM(fastlm.Vocabulary(["x", "y"]), order=1).fit(
            fastlm.Corpus.from_ids([2, 3, 1], fastlm.Vocabulary(["x", "y"]))
        ),
    }
    for name in ("rnnlm", "nnlm"):
        fastlm.Trainer(models[name], batch_size=8, learning_rate=0.05, threads=1).fit(corpus, epochs=3)
    for name, model in models.items():
        model.save(folder / f"{name}.fastlm")
    (folder / "valid.txt").write_text("".join(f"{line}\n" for line in valid))
    fastlm.Mixture([models["rnnlm"], models["ngram"]]).save(folder / "mixture.fastlm")
    (folder / "long.txt").write_text("".join(f"{line}\n" for line in valid * 12))
    (folder / "documents.txt").write_text("\n".join([*valid[:2], "", *valid[2:4], "", "", *valid[4:], ""]))
    invalid = [valid[0].encode(), b"not \xff", *(line.encode() for line in (valid[1], "", valid[2], ""))]
    (folder / "invalid.txt").write_bytes(b"\n".join(invalid))
    (folder / "cleaned.txt").write_text("\n".join([*valid[:2], "", valid[2], ""]))
    corpus.save(folder / "train.fastcorpus")
    return folder


@pytest.fixture
def run(capsys, folder, monkeypatch):
    """Run a command, in the folder of the models, that must succeed; return its output."""
    monkeypatch.chdir(folder)

    def run_command(*arguments):
        status = main(arguments)
        output, errors = capsys.readouterr()
        assert status == 0, errors
        return output

    return run_command


@pytest.fixture
def fail(capsys, folder, monkeypatch):
    """Run a command that must fail; return status and message."""
    monkeypatch.chdir(folder)

    def run_command(*arguments):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        output, errors = capsys.readouterr()
        assert output == ""
        return status, errors.splitlines()[-1]

    return run_command


def load(folder, *names):
    models = [fastlm.load(folder / f"{name}.fastlm") for name in names]
    return models[0] if len(models) == 1 else models


def encode(folder, model):
    return fastlm.Corpus.encode(folder / "valid.txt", model.vocabulary)


# mix


def test_mix(run, folder, tmp_path):
    output = str(tmp_path / "mixture.fastlm")
    found = json.loads(run("mix", "rnnlm.fastlm", "ngram.fastlm", "-o", output, "--tune", "valid.txt", "--json"))
    expected = fastlm.Mixture(load(folder, "rnnlm", "ngram"))
    expected.tune(encode(folder, expected))
    assert [(part["model"], part["architecture"], part["weight"]) for part in found["models"]] == [
        ("rnnlm.fastlm", "rnnlm", pytest.approx(expected.weights[0])),
        ("ngram.fastlm", "ngram", pytest.approx(expected.weights[1])),
    ]
    report = json.loads(run("evaluate", output, "valid.txt", "--json"))
    assert report["perplexity"] == pytest.approx(expected.evaluate(encode(folder, expected)).perplexity)
    assert len(run("score", output, "valid.txt").splitlines()) == 6
    assert len(run("predict", output, "the cat", "-k", "3").splitlines()) == 3
    assert "mixture" in run("info", output)
    assert run("generate", output, "--seed", "1") == run("generate", output, "--seed", "1")


def test_mix_takes_weights(run, folder, tmp_path):
    output = str(tmp_path / "mixture.fastlm")
    text = run("mix", "nnlm.fastlm", "ngram.fastlm", "-o", output, "--weights", "0.25,0.75", "--quiet")
    assert text == "0.2500  nnlm   nnlm.fastlm\n0.7500  ngram  ngram.fastlm\n"
    assert fastlm.load(output).weights == (0.25, 0.75)
    run("mix", "nnlm.fastlm", "ngram.fastlm", "-o", output, "--quiet")
    assert fastlm.load(output).weights == (0.5, 0.5)


def test_mix_names_words_that_differ(fail, tmp_path):
    status, message = fail("mix", "ngram.fastlm", "other.fastlm", "-o", str(tmp_path / "m"))
    assert status == 1
    assert "'x', 'y' only in the second" in message
    assert "only in the first" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mix", "ngram.fastlm", "-o", "m"], "one model is no mixture"),
        (["mix", "ngram.fastlm", "nnlm.fastlm", "-o", "nnlm.fastlm"], "nnlm.fastlm would be overwritten"),
        (["mix", "ngram.fastlm", "nnlm.fastlm", "-o", "-"], "standard output (-) takes no model"),
        (["mix", "ngram.fastlm", "nnlm.fastlm", "-o", "m", "--weights", "1"], "got 1 for 2 models"),
        (["mix", "ngram.fastlm", "nnlm.fastlm", "-o", "m", "--weights", "0.2,0.3"], "expected numbers that sum to 1"),
        (["mix", "a", "b", "-o", "m", "--weights", "0.5,0.5", "--tune", "valid.txt"], "leave out --weights"),
        (["evaluate", "ngram.fastlm", "valid.txt", "--weights", "1"], "there is one model"),
        (["evaluate", "ngram.fastlm", "valid.txt", "--tune", "valid.txt"], "there is one model"),
        (["evaluate", "a", "b", "valid.txt", "--weights", "0.1,0.2,0.7"], "got 3 for 2 models"),
        (["evaluate", "a", "b", "valid.txt", "--weights", "0.1,0.9", "--tune", "x"], "leave out --weights"),
        (["evaluate", "a", "b", "valid.txt", "--unnormalised"], "only for one model by itself"),
        (["evaluate", "a", "b", "-", "--tune", "-"], "standard input (-) can be read for one purpose"),
        (["evaluate", "a", "valid.txt", "--per-word", "--num-streams", "4"], "leave out --num-streams"),
        (["evaluate", "a", "valid.txt", "--per-word", "--unnormalised"], "leave out --unnormalised"),
        (["adapt", "rnnlm.fastlm", "-o", "rnnlm.fastlm"], "rnnlm.fastlm would be overwritten"),
        (["adapt", "rnnlm.fastlm", "-o", "-"], "standard output (-) takes no model"),
        (["adapt", "rnnlm.fastlm", "-o", "m", "--documents"], "argument --documents: it is about the text of --tune"),
        (["adapt", "rnnlm.fastlm", "-o", "m", "--cache-weight", "1"], "below 1"),
        (["adapt", "rnnlm.fastlm", "-o", "m", "--segment-size", "0"], "at least 1"),
    ],
)
def test_wrong_calls(fail, arguments, message):
    status, said = fail(*arguments)
    assert status == 2
    assert message in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "ngram.fastlm", "valid.txt", "--adapt"], "no network is in ngram.fastlm"),
        (["evaluate", "ngram.fastlm", "train.fastcorpus", "--documents"], "is a prepared corpus"),
        (["evaluate", "ngram.fastlm", "train.fastcorpus", "--per-word"], "is a prepared corpus"),
        (["adapt", "ngram.fastlm", "-o", "m", "--learning-rate", "0.1"], "not learned by gradients"),
        (["adapt", "rnnlm.fastlm", "-o", "m", "--decay", "2"], "decay is 2.0, expected from 0 to 1"),
        (["adapt", "mixture.fastlm", "-o", "m"], "mixture.fastlm is a mixture, in which networks learn each by itself"),
        (["adapt", "mixture.fastlm", "-o", "m", "--train", "train.fastcorpus"], "adapt the networks, then mix"),
        (["adapt", "ngram.fastlm", "-o", "m", "--decay", "0.2"], "--decay is for networks, and ngram.fastlm holds"),
        (["adapt", "ngram.fastlm", "-o", "m", "--segment-size", "5"], "--segment-size is for networks"),
        (["adapt", "ngram.fastlm", "-o", "m", "--flatness", "0"], "--flatness is for networks"),
        (["adapt", "rnnlm.fastlm", "-o", "m", "--tune", "train.fastcorpus", "--documents"], "is a prepared corpus"),
        (["adapt", "missing.fastlm", "-o", "m"], "missing.fastlm"),
    ],
)
def test_what_cannot_be_done(fail, arguments, message):
    status, said = fail(*arguments)
    assert status == 1
    assert message in said


# evaluate


def test_evaluate_puts_models_beside_each_other(run, folder):
    mixture = fastlm.Mixture(load(folder, "rnnlm", "ngram", "counts"))
    reports = mixture.compare(encode(folder, mixture))
    names = ["rnnlm.fastlm", "ngram.fastlm", "counts.fastlm"]
    lines = run("evaluate", *names, "valid.txt").splitlines()
    assert " ".join(lines[0].split()) == "weight perplexity without unknown words loss bits a character"
    for line, name, report in zip(lines[1:4], names, reports[:3], strict=True):
        assert line.split()[:3] == [name, "0.3333", f"{report.perplexity:,.2f}"]
    assert lines[4].split()[:2] == ["mixture", f"{reports[3].perplexity:,.2f}"]
    assert str(reports[3]) in "\n".join(lines)
    found = json.loads(run("evaluate", *names, "valid.txt", "--json"))
    assert [part["model"] for part in found["models"]] == names
    assert found["models"][2]["report"]["perplexity"] is None  # infinite
    assert found["mixture"]["perplexity"] == pytest.approx(reports[3].perplexity)


@pytest.mark.parametrize(("options", "num_streams"), [([], 16), (["--num-streams", "2"], 2), (["--documents"], 1)])
def test_evaluate_tunes_the_weights(run, folder, options, num_streams):
    models = load(folder, "rnnlm", "ngram")
    text = fastlm.Corpus.encode(folder / "long.txt", models[0].vocabulary)
    weights = {count: fastlm.Mixture(models).tune(text, num_streams=count).weights for count in (1, 2, 16)}
    assert len(set(weights.values())) == 3
    command = ["evaluate", "rnnlm.fastlm", "ngram.fastlm", "long.txt", "--json", *options]
    found = json.loads(run(*command, "--tune", "long.txt"))
    assert [part["weight"] for part in found["models"]] == list(weights[num_streams])
    given = json.loads(run(*command, "--weights", "0.5,0.5"))
    assert given["mixture"]["perplexity"] > found["mixture"]["perplexity"]


def test_evaluate_names_the_models_of_a_mixture_file(run, tmp_path):
    output = str(tmp_path / "mixture.fastlm")
    run("mix", "nnlm.fastlm", "ngram.fastlm", "-o", output)
    found = json.loads(run("evaluate", output, "rnnlm.fastlm", "valid.txt", "--json"))
    assert [part["model"] for part in found["models"]] == [f"{output}: nnlm", f"{output}: ngram", "rnnlm.fastlm"]


def test_evaluate_word_by_word(run, folder):
    models = load(folder, "rnnlm", "ngram")
    mixture = fastlm.Mixture(models)
    text = fastlm.Corpus.encode(folder / "valid.txt", mixture.vocabulary)
    columns = np.array([model.token_log_probs(text) for model in (*models, mixture)])
    rows = [
        line.split("\t")
        for line in run("evaluate", "rnnlm.fastlm", "ngram.fastlm", "valid.txt", "--per-word").splitlines()
    ]
    assert " ".join(row[-1] for row in rows[:9]) == "the wind came from the hill </s> the woman"
    assert [row[0] for row in rows[:9]] == ["1"] * 7 + ["2"] * 2
    assert {row[1] for row in rows} == {"0", "1"}
    np.testing.assert_allclose(np.array([row[2:5] for row in rows], float).T, columns, atol=2e-6)
    alone = [line.split("\t") for line in run("evaluate", "ngram.fastlm", "valid.txt", "--per-word").splitlines()]
    assert [row[2] for row in alone] == [row[3] for row in rows]
    first = json.loads(
        run("evaluate", "rnnlm.fastlm", "ngram.fastlm", "valid.txt", "--per-word", "--json").splitlines()[0]
    )
    assert (first["line"], first["word"], len(first["log_probs"])) == (1, rows[0][-1], 3)


def test_word_by_word_each_model_reads_the_text_once(run, folder, monkeypatch):
    from fastlm.inference import tokens

    calls = []
    score_lines = tokens.score_lines

    def recorded(model, lines, **options):
        calls.append((model.architecture, options["threads"]))
        return score_lines(model, lines, **options)

    monkeypatch.setattr(tokens, "score_lines", recorded)
    names = ["mixture.fastlm", "counts.fastlm"]
    output = run("evaluate", *names, "valid.txt", "--per-word", "--threads", "2", "--weights", "0.8,0.2")
    assert calls == [("rnnlm", 2), ("ngram", 2), ("ngram", 2)]
    mixture = fastlm.Mixture(load(folder, "mixture", "counts"), [0.8, 0.2])
    text = encode(folder, mixture)
    columns = [model.token_log_probs(text) for model in (*mixture.models, mixture)]
    found = np.array([line.split("\t")[2:6] for line in output.splitlines()], float).T
    np.testing.assert_allclose(found, columns, atol=2e-6)


# Adaptation


def test_adapt(run, folder, tmp_path):
    output = str(tmp_path / "adapted.fastlm")
    before = (folder / "rnnlm.fastlm").read_bytes()
    found = json.loads(run("adapt", "rnnlm.fastlm", "-o", output, "--tune", "valid.txt", "--decay", "0.25", "--json"))
    assert found["decay"] == 0.25
    adapted = fastlm.load(output)
    assert adapted.settings.learning_rate == found["learning_rate"]
    report = json.loads(run("evaluate", output, "valid.txt", "--json"))
    assert report["perplexity"] == pytest.approx(found["perplexity"], rel=1e-5)
    assert report["num_streams"] == 1
    assert (folder / "rnnlm.fastlm").read_bytes() == before
    table = [" ".join(line.split()) for line in run("info", output).splitlines()]
    assert {
        "architecture adapted",
        "config: decay 0.25",
        "config: model0 rnnlm",
        "config: model0: hidden_size 8",
    } < set(table)
    assert run("predict", output, "the cat", "-k", "1")


def test_adapt_without_tuning(run, tmp_path):
    output = str(tmp_path / "adapted.fastlm")
    table = run("adapt", "ngram.fastlm", "-o", output, "--cache-size", "50", "--quiet")
    assert "cache size     50\n" in table
    assert fastlm.load(output).settings.cache_size == 50


def test_adapt_by_gradient_sizes(run, fail, folder, tmp_path):
    output = str(tmp_path / "adapted.fastlm")
    found = json.loads(run("adapt", "rnnlm.fastlm", "-o", output, "--train", "train.fastcorpus", "--json"))
    assert found["learning_rate"] == 0.5
    model = load(folder, "rnnlm")
    sizes = fastlm.gradient_sizes(model, fastlm.Corpus.open(folder / "train.fastcorpus", model.vocabulary))
    text = encode(folder, model)
    expected = fastlm.Adapted(model, gradient_sizes=sizes).token_log_probs(text)
    assert fastlm.load(output).token_log_probs(text).tobytes() == expected.tobytes()
    status, message = fail("adapt", "ngram.fastlm", "-o", output, "--train", "train.fastcorpus")
    assert (status, message) == (1, "fastlm: a NGramLM has no gradients; give a network")
    for wrong in (["--train", output], ["--train", "-", "--tune", "-"]):
        assert fail("adapt", "rnnlm.fastlm", "-o", output, *wrong)[0] == 2


def test_adapt_gives_a_mixture_and_counts_a_cache(run, tmp_path):
    output = str(tmp_path / "adapted.fastlm")
    assert run("adapt", "mixture.fastlm", "-o", output, "--learning-rate", "0", "--quiet")
    assert fastlm.load(output).model.architecture == "mixture"
    assert run("adapt", "ngram.fastlm", "-o", output, "--cache-weight", "0.2", "--quiet")


def test_adapt_reads_documents_afresh(run, tmp_path):
    output = str(tmp_path / "adapted.fastlm")
    command = ["adapt", "rnnlm.fastlm", "-o", output, "--tune", "documents.txt", "--json", "--quiet"]
    found = json.loads(run(*command, "--documents"))
    report = json.loads(run("evaluate", output, "documents.txt", "--documents", "--json"))
    assert found["perplexity"] == pytest.approx(report["perplexity"], rel=1e-5)
    assert found["num_tokens"] == report["num_tokens"]
    assert json.loads(run(*command))["perplexity"] != pytest.approx(report["perplexity"], rel=1e-5)


def test_the_switch_of_the_scorer(run, folder):
    model = load(folder, "rnnlm")
    adapted = fastlm.Adapted(model)
    report = json.loads(run("evaluate", "rnnlm.fastlm", "valid.txt", "--adapt", "--json"))
    assert report["perplexity"] == pytest.approx(adapted.evaluate(encode(folder, model)).perplexity, rel=1e-5)
    total = sum(
        float(line.split("\t")[0]) for line in run("score", "rnnlm.fastlm", "valid.txt", "--adapt").splitlines()
    )
    assert total == pytest.approx(report["log_prob"], rel=1e-5)
    found = json.loads(run("evaluate", "rnnlm.fastlm", "ngram.fastlm", "valid.txt", "--adapt", "--json"))
    assert found["models"][0]["report"]["perplexity"] == pytest.approx(report["perplexity"], rel=1e-5)


@pytest.mark.parametrize("options", [[], ["--adapt"]])
def test_documents_are_read_afresh(run, folder, options):
    model = load(folder, "rnnlm")
    adapted = fastlm.Adapted(model) if options else model
    lines = (folder / "documents.txt").read_text().splitlines()
    documents = [fastlm.Corpus.encode(document, model.vocabulary) for document in split_documents(lines)]
    assert len(documents) == 3
    expected = joined(adapted.evaluate(document, num_streams=1) for document in documents)
    report = json.loads(run("evaluate", "rnnlm.fastlm", "documents.txt", "--documents", "--json", *options))
    assert report["log_prob"] == pytest.approx(expected.log_prob, rel=1e-6)
    assert report["num_empty_lines"] == 3
    output = run("score", "rnnlm.fastlm", "documents.txt", "--documents", *options)
    assert sum(float(line.split("\t")[0]) for line in output.splitlines()) == pytest.approx(expected.log_prob, rel=1e-6)
    together = json.loads(run("evaluate", "rnnlm.fastlm", "documents.txt", "--json", "--num-streams", "1", *options))
    assert not math.isclose(together["log_prob"], report["log_prob"], rel_tol=1e-6)
    both = json.loads(
        run("evaluate", "rnnlm.fastlm", "ngram.fastlm", "documents.txt", "--documents", "--json", *options)
    )
    assert both["models"][0]["report"]["log_prob"] == pytest.approx(expected.log_prob, rel=1e-6)


@pytest.mark.parametrize("models", [["rnnlm.fastlm"], ["rnnlm.fastlm", "ngram.fastlm"]])
def test_lines_that_are_left_out_end_no_document(run, caplog, models):
    def report(*arguments):
        found = json.loads(run("evaluate", *models, *arguments, "--documents", "--json"))
        return found.get("mixture", found)

    cleaned = report("cleaned.txt")
    assert (cleaned["num_empty_lines"], cleaned["num_sentences"]) == (1, 3)
    assert not caplog.records
    assert report("invalid.txt", "--errors", "skip") == cleaned | {"num_skipped": 1}
    assert "0 invalid characters were replaced, 1 lines left out" in caplog.text
    caplog.clear()
    replaced = report("invalid.txt", "--errors", "replace")
    assert (replaced["num_replaced"], replaced["num_skipped"], replaced["num_sentences"]) == (1, 0, 4)
    assert "1 invalid characters were replaced, 0 lines left out" in caplog.text


@pytest.mark.parametrize("command", [["evaluate", "--per-word"], ["score", "--per-word"]])
def test_lines_that_are_left_out_are_counted_and_read_over(run, caplog, command):
    def rows(*arguments):
        lines = run(command[0], "rnnlm.fastlm", *arguments, *command[1:], "--documents").splitlines()
        return [line.split("\t") for line in lines]

    cleaned = rows("cleaned.txt")
    found = rows("invalid.txt", "--errors", "skip")
    assert {row[0] for row in cleaned} == {"1", "2", "4"}
    assert {row[0] for row in found} == {"1", "3", "5"}
    assert [row[1:] for row in found] == [row[1:] for row in cleaned]
    assert "1 lines left out" in caplog.text


@pytest.mark.parametrize("options", [[], ["--no-distribution"]])
def test_lines_that_are_left_out_are_counted_in_a_table(run, folder, caplog, tmp_path, options):
    def rows(*arguments):
        run("score", "rnnlm.fastlm", *arguments, *options, "--table", str(tmp_path / "table"), "--documents")
        return [line.split("\t") for line in (tmp_path / "table").read_text().splitlines()[1:]]

    cleaned = rows("cleaned.txt")
    found = rows("invalid.txt", "--errors", "skip")
    assert {row[0] for row in found} == {"1", "3", "5"}
    assert [row[1:] for row in found] == [row[1:] for row in cleaned]
    assert "1 lines left out" in caplog.text


def test_a_wrong_document_is_named(fail, tmp_path):
    (tmp_path / "wrong.txt").write_text("the cat\n\nthe </s> dog\n")
    status, said = fail("evaluate", "rnnlm.fastlm", str(tmp_path / "wrong.txt"), "--documents")
    assert status == 1
    assert "wrong.txt, line 3: " in said
    (tmp_path / "wrong.txt").write_text("\n \n")
    assert "no word in 2 lines" in fail("evaluate", "rnnlm.fastlm", str(tmp_path / "wrong.txt"), "--documents")[1]
