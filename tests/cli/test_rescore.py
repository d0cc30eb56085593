"""`fastlm rescore` on the lists of Moses and of Kaldi."""

import gzip

import pytest
from tiny_model import TinyModel

import fastlm
from fastlm.cli import main
from fastlm.inference.tokens import score

MOSES = """\
0 ||| the cat sat ||| LM0= -12.5 ||| -4.25
0 ||| the cat sat on ||| LM0= -12.5 ||| -4.5
0 ||| cat sat on the mat ||| LM0= -2 ||| -100
7 ||| 나는 고양이 ||| LM0= -12.5 ||| -4.25
"""
KALDI = "u1-1 the cat sat\nu1-2 the cat\nu2-1 on the mat\n"
COSTS = "u1-1 4.5\nu1-2 2.5\nu2-1 1\n"


@pytest.fixture
def model(monkeypatch):
    model = TinyModel()
    monkeypatch.setattr(fastlm, "load", lambda path, *, verify=True: model, raising=False)
    return model


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="list"):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write_file


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        assert main(["rescore", "m", *arguments]) == 0
        output, errors = capsys.readouterr()
        assert errors == ""
        return output.splitlines()

    return run_command


@pytest.fixture
def fail(capsys):
    def run_command(*arguments, status=1):
        try:
            found = main(["rescore", "m", *arguments])
        except SystemExit as stop:
            found = stop.code
        output, errors = capsys.readouterr()
        assert (found, output) == (status, "")
        return errors.splitlines()[-1]

    return run_command


def test_moses_features_are_appended(run, model, write):
    lines = run(write(MOSES))
    for line, given in zip(lines, MOSES.splitlines(), strict=True):
        number, text, features, total = given.split(" ||| ")
        log_prob = score(model, text).log_prob
        assert line == f"{number} ||| {text} ||| {features} FastLM0= {log_prob:.6f} ||| {total}"


def test_moses_totals_are_combined_and_put_in_order(run, model, write):
    lines = [line.split(" ||| ") for line in run(write(MOSES), "--weight", "-20", "--feature", "RNN")]
    texts = [line.split(" ||| ")[1] for line in MOSES.splitlines()]
    totals = {text: float(line.split(" ||| ")[3]) for text, line in zip(texts, MOSES.splitlines(), strict=True)}
    expected = {text: totals[text] - 20 * score(model, text).log_prob for text in texts}
    assert [line[1] for line in lines] == [*sorted(texts[:3], key=lambda text: -expected[text]), texts[3]]
    assert [line[1] for line in lines] != texts
    assert {line[1]: float(line[3]) for line in lines} == pytest.approx(expected, abs=1e-5)
    assert all(" RNN= -" in line[2] for line in lines)


def test_kaldi_costs(run, model, write):
    log_probs = [score(model, line.partition(" ")[2]).log_prob for line in KALDI.splitlines()]
    lines = [line.split() for line in run(write(KALDI))]
    assert [line[0] for line in lines] == ["u1-1", "u1-2", "u2-1"]
    assert [float(line[1]) for line in lines] == pytest.approx([-log_prob for log_prob in log_probs], abs=1e-5)
    lines = [line.split() for line in run(write(KALDI), "--weight", "0.5", "--costs", write(COSTS, "costs"))]
    expected = [cost - 0.5 * log_prob for cost, log_prob in zip([4.5, 2.5, 1], log_probs, strict=True)]
    assert [float(line[1]) for line in lines] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("threads", ["2", "5"])
def test_threads_do_not_matter(run, model, write, threads):
    text = "".join(MOSES.replace("0 |||", f"{number} |||").replace("7 |||", f"x{number} |||") for number in range(20))
    assert run(write(text), "--threads", threads) == run(write(text), "--threads", "1")


def test_compressed_lists_and_given_formats(run, model, write):
    assert run(write(MOSES, "list.gz")) == run(write(MOSES), "--format", "moses")
    assert run(write("")) == []


def test_what_is_not_utf8(run, fail, model, write, caplog):
    path = write(b"0 ||| the \xff ||| LM0= 1 ||| 2\n")
    error = fail(path)
    assert "line 1: invalid UTF-8 (byte 0xff); convert the list to UTF-8, or give --errors replace" in error
    assert "skip" not in error
    assert "invalid choice: 'skip'" in fail(path, "--errors", "skip", status=2)
    assert not caplog.text
    assert run(path, "--errors", "replace")[0].startswith("0 ||| the \ufffd ||| ")
    costs = write(b"u1-1 1\n\xff-1 2\n", "costs")
    run(write(b"u1-1 the\n\xff-1 the\n"), "--errors", "replace", "--weight", "1", "--costs", costs)
    assert caplog.text.count("1 invalid characters were replaced, 0 lines left out") == 3


def test_what_is_wrong_with_a_list(fail, model, write):
    assert "line 2: 1 fields" in fail(write(MOSES.splitlines()[0] + "\n" + "the cat\n"))
    assert "line 1: the key is 'the'" in fail(write("the cat\n"))
    assert "line 1: 1 fields" in fail(write(KALDI), "--format", "moses")
    assert "utterance u1, hypothesis 2: " in fail(write("u1-1 cat\nu1-2 the </s>\n"))
    assert "line 2: the cost of u2-1" in fail(
        write(KALDI), "--costs", write("u1-1 1\nu2-1 1\n", "costs"), "--weight", "1"
    )


def test_wrong_calls(fail, model, write):
    assert "give --weight" in fail(write(KALDI), "--costs", "costs", status=2)
    assert "give those, with --costs" in fail(write(KALDI), "--weight", "1", status=2)
    assert "leave it out" in fail(write(MOSES), "--weight", "1", "--costs", "costs", status=2)
    assert "one purpose only" in fail("-", "--weight", "1", "--costs", "-", status=2)
    assert "without blanks" in fail(write(MOSES), "--feature", "my score", status=2)
    assert "finite number" in fail(write(MOSES), "--weight", "inf", status=2)
