import gzip
import io
import json
import math
import sys

import numpy as np
import pytest
from tiny_model import TinyModel

import fastlm
from fastlm.cli import main
from fastlm.cli.output import display_width
from fastlm.errors import ModelFileError
from fastlm.inference.beam import beam_search
from fastlm.inference.evaluation import evaluate
from fastlm.inference.generation import generate, predict, sample
from fastlm.inference.similarity import similar
from fastlm.text.corpus import Corpus

LINES = ["the cat sat on the mat", "", "the dog\tsat", "나는 고양이"]


@pytest.fixture(params=["sentence", "continuous"])
def model(request, monkeypatch):
    """Return the model that the command line loads, whatever file it names."""
    model = TinyModel(request.param)
    model.loads = []

    def load(path, *, verify=True, tokenizer=None):
        model.loads.append((path, verify))
        return model

    monkeypatch.setattr(fastlm, "load", load, raising=False)
    return model


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("".join(f"{line}\n" for line in LINES).encode())
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command that must succeed and say nothing on standard error; return its output."""

    def run_command(*arguments):
        status = main(arguments)
        output, errors = capsys.readouterr()
        assert (status, errors) == (0, "")
        return output

    return run_command


@pytest.fixture
def fail(capsys):
    """Run a command that must fail; return its one line on standard error."""

    def run_command(*arguments):
        status = main(arguments)
        output, errors = capsys.readouterr()
        assert (status, output, errors.count("\n")) == (1, "", 1)
        return errors

    return run_command


def test_evaluate(run, model, text_file):
    report = evaluate(model, Corpus.encode(text_file, model.vocabulary))
    assert run("evaluate", "m", text_file) == f"{report}\n"
    assert json.loads(run("evaluate", "m", text_file, "--json")) == report.to_dict()
    assert model.loads == [("m", True)] * 2


def test_evaluate_takes_streams_and_no_checksums(run, model, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("the cat sat\n" * 200)
    report = json.loads(run("evaluate", "m", str(path), "--json", "--num-streams", "3", "--no-verify"))
    assert report["num_streams"] == (3 if model.context == "continuous" else None)
    assert model.loads == [("m", False)]


def test_evaluate_says_null_where_there_is_no_number(run, model, text_file):
    model.near[:, 0] = -np.inf
    report = json.loads(run("evaluate", "m", text_file, "--json"))
    assert report["perplexity"] is None
    assert report["perplexity_without_unknown"] > 1


def test_score_gives_a_line_for_a_line(run, model, text_file):
    lines = [line.split("\t", 3) for line in run("score", "m", text_file).splitlines()]
    expected = model.text_log_probs([line.replace("\t", " ") for line in LINES])
    totals = [expected[:7].sum(), 0, expected[7:11].sum(), expected[11:].sum()]
    assert [float(line[0]) for line in lines] == pytest.approx(totals, abs=1e-6)
    assert [line[1:] for line in lines] == [
        ["7", "0", LINES[0]],
        ["0", "0", ""],
        ["4", "1", LINES[2]],
        ["3", "0", LINES[3]],
    ]


def test_score_per_word(run, model, text_file):
    rows = [line.split("\t") for line in run("score", "m", text_file, "--per-word").splitlines()]
    expected = model.text_log_probs([line.replace("\t", " ") for line in LINES])
    assert [float(row[1]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [row[0] for row in rows] == ["1"] * 7 + ["3"] * 4 + ["4"] * 3
    assert [row[2:] for row in rows[7:11]] == [["0", "the"], ["1", "dog"], ["0", "sat"], ["0", "</s>"]]


def test_score_as_json_lines(run, model, text_file):
    plain = [json.loads(line) for line in run("score", "m", text_file, "--json").splitlines()]
    assert [line["line"] for line in plain] == [1, 2, 3, 4]
    assert [line["text"] for line in plain] == LINES
    assert plain[1] == {"line": 2, "text": "", "log_prob": 0, "num_tokens": 0, "num_unknown": 0, "perplexity": None}
    detailed = [json.loads(line) for line in run("score", "m", text_file, "--json", "--per-word").splitlines()]
    for line, brief in zip(detailed, plain, strict=True):
        tokens = line.pop("tokens")
        assert line == brief
        assert sum(token["log_prob"] for token in tokens) == pytest.approx(line["log_prob"])
    assert tokens[-1] == {"word": "</s>", "log_prob": tokens[-1]["log_prob"], "unknown": False}


def test_score_reads_standard_input(run, model, text_file, monkeypatch):
    expected = run("score", "m", text_file)
    for arguments in ([], ["-"], ["--unbuffered"]):
        data = "".join(f"{line}\n" for line in LINES).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert run("score", "m", *arguments) == expected


def test_score_without_standard_input(fail, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "there is no standard input" in fail("score", "m")


def test_unbuffered_scores_every_line_at_once(run, model, text_file):
    run("score", "m", text_file)
    together = model.calls[:]
    run("score", "m", text_file, "--unbuffered")
    assert together == [14]
    assert model.calls[1:] == [7, 4, 3]


def test_score_of_what_is_no_text(run, fail, model, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"the cat\nthe \xff\nsat\n")
    assert "line 2: invalid UTF-8" in fail("score", "m", str(path))
    assert run("score", "m", str(path), "--errors", "skip").splitlines()[1].split("\t") == ["0.000000", "0", "0", ""]
    assert run("score", "m", str(path), "--errors", "replace").splitlines()[1].endswith("\t3\t1\tthe \ufffd")


def test_score_reads_compressed_files_and_any_line_end(run, model, text_file, tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + "\r\n".join(LINES).encode()))
    assert run("score", "m", str(path)) == run("score", "m", text_file)


def test_only_a_line_feed_ends_a_line(run, model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat\u2028sat\x0b\x85on\n", encoding="utf-8")
    assert run("score", "m", str(path), "--json").count("\n") == 1


def test_reserved_words_name_their_line(fail, model, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("the cat\nthe <s>\n")
    assert "line 2" in fail("score", "m", str(path))


def test_missing_files(fail, model, tmp_path):
    for verb in ("evaluate", "score"):
        assert "nowhere.txt" in fail(verb, "m", str(tmp_path / "nowhere.txt"))


def test_a_model_file_that_is_none(fail, monkeypatch):
    def load(path, **options):
        raise ModelFileError(f"{path}: not a fastlm model")

    monkeypatch.setattr(fastlm, "load", load, raising=False)
    for arguments in (["evaluate", "m", "f"], ["score", "m"], ["predict", "m", "a"], ["generate", "m"], ["info", "m"]):
        assert fail(*arguments) == "fastlm: m: not a fastlm model\n"


def test_predict(run, model):
    predictions = predict(model, "the cat", 3)
    rows = [line.split() for line in run("predict", "m", "the cat", "-k", "3").splitlines()]
    assert [row[0] for row in rows] == [prediction.word for prediction in predictions]
    assert [float(row[1]) for row in rows] == pytest.approx([p.probability for p in predictions], abs=1e-6)
    result = json.loads(run("predict", "m", "the cat", "-k", "3", "--json"))
    assert result["text"] == "the cat"
    assert [tuple(prediction.values()) for prediction in result["predictions"]] == predictions


def test_predict_leaves_unknown_out_unless_asked(run, model):
    assert "<unk>" not in run("predict", "m", "")
    assert "<unk>" in run("predict", "m", "", "--unknown")


def test_columns_stand_straight_beside_hangul(run, model):
    before_number = [line[: line.index("0.")] for line in run("predict", "m", "the", "-k", "100").splitlines()]
    assert any("고양이" in text for text in before_number)
    assert {display_width(text) for text in before_number} == {len("고양이") * 2 + 2}


def test_generate(run, model):
    options = ["--prompt", "the cat", "--max-tokens", "6", "--temperature", "0.7", "--top-k", "5", "--top-p", "0.9"]
    expected = generate(model, "the cat", max_tokens=6, temperature=0.7, top_k=5, top_p=0.9, seed=3)
    assert run("generate", "m", *options, "--seed", "3") == f"{expected}\n"
    result = json.loads(run("generate", "m", *options, "--seed", "3", "--json"))
    assert result == {"prompt": "the cat", "seed": 3, "texts": [expected]}


def test_several_samples_are_reproducible_and_differ(run, model):
    texts = json.loads(run("generate", "m", "--seed", "3", "-n", "8", "--json"))["texts"]
    assert len(texts) == 8
    assert len(set(texts)) > 1
    assert texts[0] == generate(model, seed=3)
    assert json.loads(run("generate", "m", "--seed", "3", "--num-samples", "8", "--json"))["texts"] == texts


def test_generate_past_the_end(run, model):
    output = run("generate", "m", "--max-tokens", "60", "--seed", "1", "--no-stop")
    assert output == generate(model, max_tokens=60, seed=1, stop_at_end=False) + "\n"
    assert output.count("\n") > 2


def test_generate_with_scores_and_stop_words(run, model):
    options = ["--prompt", "the", "-n", "4", "--seed", "3", "--stop", "mat", "--stop", "on", "--scores"]
    expected = sample(model, "the", 4, seed=3, stop=["mat", "on"])
    assert run("generate", "m", *options) == "".join(f"{text.log_prob:.6f}\t{text.text}\n" for text in expected)
    result = json.loads(run("generate", "m", *options, "--json"))
    assert result["log_probs"] == [text.log_prob for text in expected]


def test_generate_by_beam_search(run, model, capsys):
    expected = beam_search(model, "the", 3, beam_size=7, max_tokens=5)
    output = run("generate", "m", "--prompt", "the", "--beam", "7", "-n", "3", "--max-tokens", "5")
    assert output == "".join(f"{text.text}\n" for text in expected)
    for option in (["--seed", "1"], ["--temperature", "0.5"], ["--no-stop"], ["--top-k", "3"]):
        with pytest.raises(SystemExit, match="2"):
            main(["generate", "m", "--beam", "7", *option])
        assert f"leave out {option[0]}" in capsys.readouterr().err


def test_generate_refuses_a_prompt_of_two_lines(fail, model):
    assert "one line of text, got 2" in fail("generate", "m", "--prompt", "the\ncat")


def test_similar(run, fail, model):
    neighbours = similar(model, "cat", 3)
    rows = [line.split() for line in run("similar", "m", "cat", "-k", "3").splitlines()]
    assert [row[0] for row in rows] == [neighbour.word for neighbour in neighbours]
    assert [float(row[1]) for row in rows] == pytest.approx([n.similarity for n in neighbours], abs=1e-4)
    result = json.loads(run("similar", "m", "cat", "-k", "3", "--json"))
    assert [tuple(neighbour.values()) for neighbour in result["neighbours"]] == neighbours
    assert "did you mean 'cat'" in fail("similar", "m", "catt")


def test_info(run, model, tmp_path):
    path = tmp_path / "model.fastlm"
    path.write_bytes(bytes(1234))
    facts = json.loads(run("info", str(path), "--json"))
    assert facts["file"] == str(path)
    assert facts["file_size"] == 1234
    assert facts["checksums"] == "verified"
    assert (facts["architecture"], facts["context"], facts["vocab_size"]) == ("tiny", model.context, 9)
    assert facts["num_parameters"] == 2 * 10 * 9
    assert facts["parameters"]["near"] == {"shape": [10, 9], "dtype": "float64"}
    assert facts["config"] == {"context": model.context, "width": None}
    assert facts["info"] == {"epochs": 3, "valid_perplexity": None}
    assert facts["tokenizer"] == {"kind": "whitespace"}
    assert json.loads(run("info", str(path), "--json", "--no-verify"))["checksums"] == "not verified"


def test_info_as_a_table(run, model, tmp_path):
    path = tmp_path / "model.fastlm"
    path.write_bytes(bytes(1234))
    rows = dict(line.split("  ", 1) for line in run("info", str(path)).splitlines())
    rows = {name.strip(): value.strip() for name, value in rows.items()}
    assert rows["file size"] == "1,234"
    assert rows["num parameters"] == "180"
    assert rows["config: context"] == model.context
    assert rows["info: epochs"] == "3"
    assert rows["parameters: near"] == "10 x 9 float64"
    assert math.isinf(float(rows["info: valid_perplexity"]))
