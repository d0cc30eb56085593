"""`fastlm train` as a job: killed, stopped, resumed, limited in time, and gone on with from a model."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.cli.main import build_parser

# A process that has the usual handler of Ctrl-C, also where the tests run in the background without one.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from fastlm.cli import main; sys.exit(main(sys.argv[1:]))"
)
SMALL = ["--embedding-dim", "3", "--hidden-size", "4", "--batch-size", "16", "--threads", "1", "--quiet"]
needs_signals = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")


class Job:
    """A command line that a job script starts again and again: 540 steps an epoch, six epochs."""

    def __init__(self, folder: Path, lines: list[str]) -> None:
        self.text, self.output, self.log, self.checkpoints = (
            folder / name for name in ("text", "model.fastlm", "log", "checkpoints")
        )
        self.text.write_text("".join(f"{line}\n" for line in lines * 60))
        valid = folder / "valid"
        valid.write_text("".join(f"{line}\n" for line in lines))
        self.arguments = ["train", "nnlm", str(self.text), "--valid", str(valid), "-o", str(self.output), *SMALL]
        self.arguments += ["--epochs", "6", "--log", str(self.log), "--patience", "9"]
        self.checkpoint = ["--checkpoint", str(self.checkpoints), "--checkpoint-every", "0.02s", "--resume"]

    def start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PROGRAM, *self.arguments, *self.checkpoint]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def result(self) -> tuple[bytes, list[Any]]:
        return self.output.read_bytes(), [untimed(line) for line in self.log.read_text().splitlines()[1:]]

    def wait_for(self, num_lines: int, process: "subprocess.Popen[str]") -> None:
        """Wait until the log of a running process has so many lines."""
        while process.poll() is None and (not self.log.exists() or self.log.read_bytes().count(b"\n") < num_lines):
            time.sleep(0.001)
        assert process.poll() is None, process.communicate()


def untimed(line: str) -> dict[str, Any]:
    return {name: v for name, v in json.loads(line).items() if name not in {"seconds", "tokens_per_second"}}


@pytest.fixture
def job(tmp_path: Path, english_lines: list[str]) -> Job:
    return Job(tmp_path, english_lines)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, english_lines: list[str]) -> tuple[bytes, list[Any]]:
    """Return the result of the job that nobody disturbs."""
    job = Job(tmp_path_factory.mktemp("whole"), english_lines)
    assert main(job.arguments) == 0
    return job.result()


@needs_signals
def test_three_kills_at_random_moments_change_no_byte(job: Job, whole: tuple[bytes, list[Any]]) -> None:
    seed = random.randrange(10**6)  # other moments in every run of the tests; a failure shows which
    moments = random.Random(seed)
    for num_lines in sorted(moments.sample(range(2, len(whole[1]) - 5), 3)):
        with job.start() as process:
            job.wait_for(num_lines, process)
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
            assert process.wait() == -signal.SIGKILL, f"seed {seed}: {process.communicate()}"
    with job.start() as process:
        assert process.wait() == 0, f"seed {seed}: {process.communicate()}"
    assert job.result() == whole, f"seed {seed}"
    assert not list(job.output.parent.rglob("*.tmp"))


@needs_signals
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_save_say_so_and_have_their_status(
    job: Job, whole: tuple[bytes, list[Any]], number: signal.Signals, status: int, word: str
) -> None:
    with job.start() as process:
        job.wait_for(12, process)
        process.send_signal(number)
        printed, errors = process.communicate()
        assert (process.returncode, printed, errors.count("\n")) == (status, "", 1)
    best = fastlm.load(job.output).info["training"]
    perplexity = np.exp(best["valid_loss"])
    where = f"{word}; the model of epoch {best['epoch']}, validation perplexity {perplexity:.2f}, is in {job.output}"
    assert errors == f"fastlm: {where}; --resume goes on from {job.checkpoints}\n"
    assert untimed(job.log.read_text().splitlines()[-1])["ended"] == word
    with job.start() as process:
        assert process.wait() == 0
    assert job.result() == whole


@needs_signals
def test_termination_while_reading_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", PROGRAM, "train", "rnnlm", "-", "-o", str(tmp_path / "model")]
    environment = os.environ | {"TMPDIR": str(temporary)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        while process.poll() is None and not list(temporary.rglob("standard input")):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (143, "fastlm: terminated\n")
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "model").exists()


# Below, everything happens in this process


@pytest.fixture
def text(tmp_path: Path, english_lines: list[str]) -> str:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{line}\n" for line in english_lines * 3), encoding="utf-8")
    return str(path)


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "model.fastlm")


Result = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Train a small model for two epochs; return status, standard output and standard error."""

    def run_train(kind: str, *arguments: str, small: bool = True) -> Result:
        sizes = ["--embedding-dim", "3", "--hidden-size", "4"] if small else []
        status = main(["train", kind, "--batch-size", "5", "--threads", "1", "--epochs", "2", *sizes, *arguments])
        return status, *capsys.readouterr()

    return run_train


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Give what is announced: it goes to logging where that has been set up, as in these tests."""
    caplog.set_level(logging.INFO, logger="fastlm")
    return caplog


def test_a_job_script_can_always_say_resume(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    job = [text, "--valid", text, "-o", output, "--checkpoint", str(tmp_path / "checkpoints"), "--resume", "--json"]
    first = run("rnnlm", *job)
    assert f"no checkpoint in {tmp_path / 'checkpoints'} yet: the run starts from the beginning" in messages.text
    again = run("rnnlm", *job)
    assert f"resumed from {tmp_path / 'checkpoints'} at its end: finished" in messages.text
    assert first == again
    assert first[0] == 0


def test_checkpoints_of_an_earlier_run_are_refused_before_anything_is_read(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = [text, "-o", output, "--checkpoint", str(tmp_path / "checkpoints"), "--quiet"]
    assert run("rnnlm", *job)[0] == 0
    monkeypatch.setattr(fastlm.Vocabulary, "build", None)
    status, _, errors = run("rnnlm", *job)
    assert (status, errors.count("\n")) == (1, 1)
    assert f"fastlm: '{tmp_path / 'checkpoints'}' has checkpoints of an earlier run; say --resume" in errors


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_directory_that_cannot_be_written_is_found_before_anything_is_read(
    run: Callable[..., Result], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(fastlm.Vocabulary, "build", None)
    status, _, errors = run("nnlm", "no text", "-o", output, "--checkpoint", str(tmp_path / place))
    assert (status, errors.count("\n")) == (1, 1)
    assert f"cannot create the directory '{tmp_path / place}'" in errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--hidden-size", "5"], "hidden_size is 5, there 4"),
        (["--seed", "3"], "seed is 3, there 1"),
        (["--vocab-size", "20"], r"vocabulary is 20 words, \w+, there \d+ words, \w+"),
        (["--lower-case", "--tokenizer", "word"], "vocabulary is "),
        (["--learning-rate", "0.5"], "learning_rate is 0.5, there 0.002"),
    ],
)
def test_what_contradicts_the_checkpoint_is_named(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path, change: list[str], words: str
) -> None:
    job = [text, "-o", output, "--checkpoint", str(tmp_path / "checkpoints"), "--quiet", "--resume"]
    assert run("rnnlm", *job)[0] == 0
    status, _, errors = run("rnnlm", *job, *change)
    assert (status, errors.count("\n")) == (1, 1)
    assert re.search(f"another run: .*{words}", errors)


def test_a_text_that_was_changed_is_named(run: Callable[..., Result], text: str, output: str, tmp_path: Path) -> None:
    job = [text, "-o", output, "--checkpoint", str(tmp_path / "checkpoints"), "--quiet", "--resume"]
    assert run("rnnlm", *job)[0] == 0
    lines = Path(text).read_text().splitlines(keepends=True)
    Path(text).write_text("".join([*lines[1:], lines[0]]))  # the same words as often
    status, _, errors = run("rnnlm", *job)
    assert (status, errors.count("\n")) == (1, 1)
    assert re.search(r"another run: training text is 435 tokens with the CRC-32 \w+, there 435 tokens", errors)


def test_a_full_disk_while_a_checkpoint_is_written(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path
) -> None:
    """The model fits where three times as much does not; the run ends well, and says what is missing."""
    resource = pytest.importorskip("resource")
    assert run("rnnlm", text, "--valid", text, "-o", output, "--quiet")[0] == 0
    expected, limits = Path(output).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    job = [text, "--valid", text, "-o", output, "--checkpoint", str(tmp_path / "checkpoints")]
    job += ["--checkpoint-every", "0s", "--quiet"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(expected), limits[1]))
    try:
        status = run("rnnlm", *job)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 0
    assert Path(output).read_bytes() == expected
    assert not list((tmp_path / "checkpoints").glob("*.tmp"))


def test_a_time_limit_is_kept_and_foretold(
    run: Callable[..., Result], text: str, output: str, messages: pytest.LogCaptureFixture
) -> None:
    options = ["--time-limit", "0.7s", "--epochs", "100000", "--patience", "100000", "--json"]
    status, printed, _ = run("nnlm", text, "--valid", text, "-o", output, *options)
    assert status == 0
    assert json.loads(printed)["history"]["ended"] == "time limit"
    foretold = r"an epoch takes about .*, the run 0\.7 s: the time limit ends it after \d+\.\d epochs"
    assert re.search(foretold, messages.text)


def test_validation_on_a_part_says_so(
    run: Callable[..., Result], text: str, output: str, messages: pytest.LogCaptureFixture
) -> None:
    status, printed, errors = run("nnlm", text, "--valid", text, "-o", output, "--valid-tokens", "50")
    assert status == 0
    assert "on the first 50 tokens (best)" in messages.text
    assert f"validated on the first 50 tokens of {text}; this is about all of its 435" in errors
    assert "over all 435 tokens" in printed


# Going on from a model


def test_a_model_is_trained_further_with_its_own_words_and_sizes(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path
) -> None:
    assert run("rnnlm", text, "-o", output, "--tokenizer", "word", "--min-count", "5", "--quiet")[0] == 0
    before, new = fastlm.load(output), tmp_path / "new.txt"
    new.write_text("the cat sat on the unheard of mat\n" * 20)
    further = str(tmp_path / "further.fastlm")
    arguments = [str(new), "--init", output, "-o", further, "--learning-rate", "1e-6", "--seed", "8", "--json"]
    status, printed, errors = run("rnnlm", *arguments, "--valid", str(new), small=False)
    after = fastlm.load(further)
    assert status == 0
    assert after.config == before.config
    assert after.vocabulary == before.vocabulary
    assert after.info["training"]["seed"] == 8
    report = json.loads(printed)["report"]
    assert report["num_unknown"] > 0
    assert f"vocabulary of {len(before.vocabulary)}" in errors
    for name, array in before.parameters.items():  # so slowly that it can be seen where it began
        np.testing.assert_allclose(after.parameters[name], array, atol=1e-4)
    assert any(not np.array_equal(after.parameters[name], array) for name, array in before.parameters.items())


def test_what_the_model_is_may_be_said_again(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path
) -> None:
    assert run("nnlm", text, "-o", output, "--direct", "--quiet")[0] == 0
    further = ["--init", output, "-o", str(tmp_path / "further"), "--quiet", "--context", "sentence"]
    assert run("nnlm", text, *further) == (0, "", "")


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("nnlm", [], "has architecture rnnlm, but nnlm was asked for"),
        ("rnnlm", ["--hidden-size", "5"], "has hidden_size 4, but 5 was asked for"),
        ("rnnlm", ["--dropout", "0.1"], "has dropout 0.35, but 0.1 was asked for"),
        ("rnnlm", ["--context", "sentence"], "has context continuous, but sentence was asked for"),
    ],
)
def test_what_contradicts_the_model_is_named(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path, kind: str, options: list[str], words: str
) -> None:
    assert run("rnnlm", text, "-o", output, "--quiet")[0] == 0
    further = ["--init", output, "-o", str(tmp_path / "further"), "--quiet"]
    status, _, errors = run(kind, text, *further, *options)
    assert (status, errors.count("\n")) == (1, 1)
    assert f"fastlm: {output} {words}; leave that to the model" in errors
    assert not (tmp_path / "further").exists()


def test_a_job_of_a_model_that_is_trained_further_is_resumed(
    run: Callable[..., Result], text: str, output: str, tmp_path: Path
) -> None:
    assert run("rnnlm", text, "-o", output, "--quiet")[0] == 0
    assert run("rnnlm", text, "-o", str(tmp_path / "other"), "--quiet", "--seed", "2")[0] == 0
    job = [text, "-o", str(tmp_path / "further"), "--checkpoint", str(tmp_path / "checkpoints"), "--resume", "--quiet"]
    assert run("rnnlm", *job, "--init", output) == run("rnnlm", *job, "--init", output) == (0, "", "")
    status, _, errors = run("rnnlm", *job, "--init", str(tmp_path / "other"))
    assert status == 1
    assert "another run: initial parameters is those with the CRC-32" in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resume"], "--resume: where are the checkpoints?"),
        (["--checkpoint-every", "5m"], "--checkpoint-every: where are the checkpoints?"),
        (["--checkpoint", "c", "--checkpoint-every", "5"], "expected a duration with its unit"),
        (["--checkpoint", "-"], "standard output (-) takes no model, log or checkpoint"),
        (["--checkpoint", "x/../m"], "the checkpoint and the model cannot both be m"),
        (["--time-limit", "0s"], "expected a duration above 0"),
        (["--time-limit", "soon"], "expected a duration with its unit"),
        (["--valid-tokens", "5"], "there is no validation text"),
        (["--valid", "v", "--valid-tokens", "0"], "expected a whole number of at least 1"),
        (["--init", "i", "--vocab-size", "9"], "words and tokenizer are those of the model"),
        (["--init", "i", "--min-count", "9"], "words and tokenizer are those of the model"),
        (["--init", "i", "--tokenizer", "word"], "words and tokenizer are those of the model"),
        (["--init", "i", "--vocab", "w"], "words and tokenizer are those of the model"),
        (["--init", "m"], "m would be overwritten, but it is to be read"),
    ],
)
def test_a_wrong_call_is_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "rnnlm", "f", "-o", "m", *options])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172_800), ("0.5s", 0.5)],
)
def test_durations(value: str, seconds: float) -> None:
    options = build_parser().parse_args(["train", "rnnlm", "f", "-o", "m", "--time-limit", value])
    assert options.time_limit == seconds


@pytest.mark.parametrize(
    "value", ["", "10", "m", "10 m", "30m1h", "1e3s", "-5m", "..s", "1.2.3s", "5x", "infs", "nanm"]
)
def test_what_is_no_duration(capsys: pytest.CaptureFixture[str], value: str) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["train", "rnnlm", "f", "-o", "m", f"--time-limit={value}"])
    assert "expected a duration with its unit, as 90s, 10m, 2h or 1h30m" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    """See to it that the command leaves the handlers of signals as they were."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
