"""`fastlm filter`: lines by their perplexity."""

import json
from pathlib import Path

import pytest
from tiny_model import TinyModel

import fastlm
from fastlm.cli import main
from fastlm.inference.tokens import score

LINES = ["the cat sat on the mat", "", "the dog\tsat", "나는 고양이", "mat mat on", "the", "cat sat"] * 3


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


def run(capsys, *arguments):
    assert main(["filter", "m", *arguments]) == 0
    return capsys.readouterr()


def test_likely_lines_are_kept_in_their_order(capsys, model, text_file):
    perplexities = [score(model, line).perplexity for line in LINES]
    for limit in (1, 8, 12, 20, 10_000):
        kept = [line for line, perplexity in zip(LINES, perplexities, strict=True) if perplexity <= limit]
        output, errors = run(capsys, text_file, "--max-perplexity", str(limit))
        assert output.splitlines() == kept
        assert errors == f"{len(kept)} of {len(LINES)} lines kept\n"
        rest, _ = run(capsys, text_file, "--min-perplexity", str(limit))
        assert sorted([*rest.splitlines(), *kept]) == sorted(line for line in LINES if line)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_as_json_with_any_number_of_threads(capsys, model, text_file, threads, monkeypatch):
    monkeypatch.setattr("fastlm.inference.tokens.BATCH_TOKENS", 5)
    output, _ = run(capsys, text_file, "--max-perplexity", "1e9", "--json", "--threads", threads)
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["line"] for line in lines] == [n for n, text in enumerate(LINES, start=1) if text]
    assert [line["perplexity"] for line in lines] == pytest.approx(
        [score(model, line["text"]).perplexity for line in lines]
    )


def test_lines_of_unknown_words_are_left_out(capsys, model, text_file):
    known = [line for line in LINES if line and "dog" not in line]
    output, errors = run(capsys, text_file, "--max-unknown", "0")
    assert output.splitlines() == known
    assert errors == f"{len(known)} of {len(LINES)} lines kept\n"
    half = ["dog cat", "dog cat sat", "dog bird cat"]
    path = Path(text_file).with_name("half.txt")
    path.write_text("".join(f"{line}\n" for line in half), encoding="utf-8")
    assert run(capsys, str(path), "--max-unknown", "0.5")[0].splitlines() == half[:2]
    assert run(capsys, str(path), "--max-unknown", "0.5", "--max-perplexity", "1")[0] == ""


def test_lines_that_are_not_utf8(capsys, model, tmp_path, caplog):
    (tmp_path / "bad").write_bytes(b"the cat\n\xff\nthe mat\n")
    output, errors = run(capsys, str(tmp_path / "bad"), "--max-perplexity", "1e9", "--errors", "skip", "--json")
    assert [json.loads(line)["line"] for line in output.splitlines()] == [1, 3]
    assert errors == "2 of 2 lines kept\n"
    assert "0 invalid characters were replaced, 1 lines left out" in caplog.text
    output, errors = run(capsys, str(tmp_path / "bad"), "--max-perplexity", "1e9", "--errors", "replace")
    assert (output, errors) == ("the cat\n\ufffd\nthe mat\n", "3 of 3 lines kept\n")
    assert "1 invalid characters were replaced, 0 lines left out" in caplog.text


def test_what_is_wrong(capsys, model, tmp_path, text_file):
    with pytest.raises(SystemExit, match="2"):
        main(["filter", "m", text_file])
    assert "give --max-perplexity" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["filter", "m", text_file, "--min-perplexity", "9", "--max-perplexity", "8"])
    assert "no line is above 9 and below 8" in capsys.readouterr().err
    (tmp_path / "bad").write_text("the\nthe </s>\n")
    assert main(["filter", "m", str(tmp_path / "bad"), "--max-perplexity", "9"]) == 1
    assert "line 2" in capsys.readouterr().err
