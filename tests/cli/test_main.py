import argparse
import subprocess
import sys

import pytest

import fastlm
from fastlm.cli import main
from fastlm.cli.main import build_parser
from fastlm.errors import DataError, FileError

VERBS = ["evaluate", "score", "predict", "generate", "similar", "info"]
HEAVY = {"numpy", "scipy", "tqdm", "threadpoolctl", "zstandard", "tokenizers"}


def run_python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)


@pytest.fixture
def run_verb(monkeypatch):
    """Run a command whose verb does what it is given."""

    def run(action):
        parser = argparse.ArgumentParser()
        parser.set_defaults(run=lambda options: action())
        monkeypatch.setattr(sys.modules["fastlm.cli.main"], "build_parser", lambda: parser)
        return main([])

    return run


def fail(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("line 3: a NUL byte"), 1, "line 3: a NUL byte"),
        (FileError("cannot read 'x'"), 1, "cannot read 'x'"),
        (FileNotFoundError(2, "No such file or directory", "x.fastlm"), 1, "x.fastlm: No such file or directory"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (ValueError("k must be 1, got 0"), 1, "k must be 1, got 0"),
        (ValueError(), 1, "ValueError"),
        (ImportError("this needs the package 'tokenizers'"), 1, "this needs the package 'tokenizers'"),
        (MemoryError(), 1, "out of memory"),
        (MemoryError("Unable to allocate 8 TiB"), 1, "out of memory: Unable to allocate 8 TiB"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_failure_is_one_line_and_a_status(run_verb, capsys, error, status, message):
    assert run_verb(fail(error)) == status
    assert capsys.readouterr() == ("", f"fastlm: {message}\n")


def test_success_is_status_0(run_verb, capsys):
    assert run_verb(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_mistake_of_ours_is_not_hidden(run_verb):
    with pytest.raises(TypeError):
        run_verb(fail(TypeError("bug")))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["evaluate"],
        ["evaluate", "m"],
        ["evaluate", "m", "f", "--num-streams", "0"],
        ["evaluate", "m", "f", "--num", "4"],
        ["evaluate", "m", "f", "--errors", "ignore"],
        ["score", "m", "f", "g"],
        ["predict", "m"],
        ["predict", "m", "the", "-k", "0"],
        ["predict", "m", "the", "-k", "many"],
        ["predict", "m", "th\udc80"],
        ["generate", "m", "--temperature", "-1"],
        ["generate", "m", "--temperature", "nan"],
        ["generate", "m", "--temperature", "hot"],
        ["generate", "m", "--top-p", "0"],
        ["generate", "m", "--top-p", "1.5"],
        ["generate", "m", "--top-p", "nan"],
        ["generate", "m", "--top-k", "2.5"],
        ["generate", "m", "--seed", "-1"],
        ["similar", "m"],
    ],
)
def test_a_wrong_call_is_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert "usage: fastlm" in errors


def test_the_wrong_value_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "m", "the", "-k", "zero"])
    assert "argument -k: expected a whole number of at least 1, got 'zero'" in capsys.readouterr().err


def test_version(capsys, monkeypatch):
    monkeypatch.setattr(fastlm, "__version__", "1.2.3", raising=False)
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == "fastlm 1.2.3\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_a_function(capsys, verb):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "MODEL" in capsys.readouterr().out
    assert verb in build_parser().format_help()


def test_help_imports_nothing_heavy():
    code = f"""
import sys
from fastlm.cli import main
try:
    main(["--help"])
except SystemExit:
    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = run_python(code)
    assert done.stderr == "[]\n"
    assert "evaluate" in done.stdout


def test_a_closed_pipe_is_quiet():
    code = """
import sys
from fastlm.cli import main, use
def flood(options):
    while True:
        print("text")
use.info = flood
sys.exit(main(["info", "m"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_a_failure():
    code = """
import sys
from fastlm.cli import main, use
use.info = lambda options: print("text")
sys.exit(main(["info", "m"]))
"""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == "fastlm: No space left on device\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_a_failure_of_what_the_parser_prints_too():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from fastlm.cli import main; sys.exit(main(['--version']))"],
            stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "fastlm: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("closed", "output", "errors"),
    [
        (">&-", "", "said\n"),
        ("2>&-", 'text\n{"a": 1}\n', ""),
        (">&- 2>&-", "", ""),
        ("<&-", 'text\n{"a": 1}\n', "said\n"),
    ],
)
def test_a_stream_that_the_caller_has_closed_loses_text_and_nothing_else(closed, output, errors):
    code = """
import sys
from fastlm.cli import main, use
from fastlm.cli.output import print_json
def answer(options):
    print("text")
    print_json({"a": 1})
    print("said", file=sys.stderr)
use.info = answer
sys.exit(main(["info", "m"]))
"""
    command = ["sh", "-c", f'exec "$0" -W error -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, errors)


def test_ctrl_c_while_the_call_is_read(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["fastlm.cli.main"], "build_parser", fail(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == "fastlm: interrupted\n"
