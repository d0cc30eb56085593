import argparse
import gzip
import inspect
import io
import json
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.cli.main import build_parser
from fastlm.errors import FileError
from fastlm.models import ARCHITECTURES
from fastlm.training.trainer import EPOCHS, OPTIMIZERS, Trainer

SMALL = {
    "nnlm": ["--embedding-dim", "4", "--hidden-size", "6", "--batch-size", "16", "--threads", "1", "--epochs", "2"],
    "rnnlm": ["--embedding-dim", "4", "--hidden-size", "6", "--batch-size", "4", "--threads", "1", "--epochs", "2"],
}
NUM_WORDS = 375  # of the text below, which has 60 lines


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
    """Train a small model; return status, standard output and standard error."""

    def run_train(kind, *arguments, small=True):
        status = main(["train", kind, *(SMALL[kind] if small else []), *arguments])
        return status, *capsys.readouterr()

    return run_train


@pytest.fixture
def refuse(capsys):
    """Make a call that is wrong by itself; return what the parser says."""

    def run_train(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["train", *arguments])
        output, errors = capsys.readouterr()
        assert (stop.value.code, output) == (2, "")
        return errors

    return run_train


@pytest.mark.parametrize("kind", ["nnlm", "rnnlm"])
def test_training_prints_the_report_of_the_model_that_it_leaves(run, text, output, kind):
    status, printed, errors = run(kind, text, "--valid", text, "-o", output)
    model = fastlm.load(output)
    assert status == 0
    assert model.architecture == kind
    assert printed == f"{model.evaluate(fastlm.Corpus.encode(text, model.vocabulary), threads=1)}\n"
    assert (
        f"{text}: {NUM_WORDS} words in 60 sentences, 0.00 % of them unknown; vocabulary of {len(model.vocabulary)}\n"
        in errors
    )
    assert f"{kind}: {sum(a.size for a in model.parameters.values()):,} parameters" in errors
    assert re.search(rf"the model of epoch 2, validation perplexity [\d.]+, is in {re.escape(output)}\n$", errors)


def test_json(run, text, output):
    status, printed, _ = run("rnnlm", text, "--valid", text, "-o", output, "--json", "--epochs", "3")
    result = json.loads(printed)
    model = fastlm.load(output)
    assert status == 0
    assert result["model"] == output
    assert result["report"] == pytest.approx(
        model.evaluate(fastlm.Corpus.encode(text, model.vocabulary), threads=1).to_dict()
    )
    assert result["history"]["ended"] == "finished"
    losses = [epoch["valid_loss"] for epoch in result["history"]["epochs"]]
    assert len(losses) == 3
    assert min(losses) == pytest.approx(result["report"]["loss"])
    assert result["history"]["epochs"][0]["valid_perplexity"] == pytest.approx(np.exp(losses[0]))


def test_a_better_model_than_word_counts_is_learned(run, text, output):
    options = ["--epochs", "30", "--learning-rate", "0.02", "--dropout", "0"]
    _, printed, _ = run("nnlm", text, "--valid", text, "-o", output, "--json", *options)
    corpus = fastlm.Corpus.encode(text, fastlm.load(output).vocabulary)
    shares = np.bincount(corpus.ids) / corpus.num_tokens
    assert json.loads(printed)["report"]["perplexity"] < 0.3 * np.exp(-np.log(shares[corpus.ids]).mean())


def test_the_seed_and_nothing_else_decides(run, text, tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed, threads in zip(files, ["5", "5", "6"], ["1", "2", "1"], strict=True):
        arguments = [text, "--valid", text, "-o", str(file), "--seed", seed, "--threads", threads, "--quiet"]
        assert run("rnnlm", *arguments)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_without_validation_the_last_epoch_is_kept(run, text, output):
    status, printed, errors = run("nnlm", text, "-o", output)
    assert (status, printed) == (0, "")
    assert "no validation text (--valid)" in errors
    assert f"the model of epoch 2 is in {output}" in errors
    assert fastlm.load(output).info["training"]["epoch"] == 2
    _, printed, _ = run("nnlm", text, "-o", output, "--json")
    assert json.loads(printed)["report"] is None


def test_quiet(run, text, output):
    assert run("nnlm", text, "-o", output, "--quiet") == (0, "", "")
    assert Path(output).exists()


def feed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_standard_input_compressed_files_and_pipes_are_as_good_as_a_file(run, text, tmp_path, monkeypatch):
    data = Path(text).read_bytes()
    packed, pipe = tmp_path / "text.gz", tmp_path / "pipe.gz"
    packed.write_bytes(gzip.compress(data))
    feed(monkeypatch, data)
    sources = [text, "-", str(packed)]
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_bytes, args=(gzip.compress(data),), daemon=True).start()
        sources.append(str(pipe))
    models = []
    for number, source in enumerate(sources):
        output = tmp_path / f"{number}.fastlm"
        assert run("nnlm", source, "-o", str(output), "--quiet") == (0, "", "")
        models.append(output.read_bytes())
    assert set(models) == {models[0]}


def test_standard_input_as_validation_text(run, text, output, monkeypatch):
    feed(monkeypatch, Path(text).read_bytes())
    status, printed, _ = run("nnlm", text, "--valid", "-", "-o", output, "--json")
    assert (status, json.loads(printed)["report"]["num_tokens"]) == (0, NUM_WORDS + 60)


def test_errors_in_standard_input_name_it(run, output, monkeypatch):
    feed(monkeypatch, b"fine\n\xff\n")
    status, _, errors = run("nnlm", "-", "-o", output)
    assert status == 1
    assert "standard input, line 2: invalid UTF-8 (byte 0xff)" in errors


def test_options_reach_model_and_vocabulary(run, text, output):
    options = ["--vocab-size", "20", "--context-size", "3", "--direct", "--dropout", "0.5", "--context", "continuous"]
    assert run("nnlm", text, "-o", output, *options, "--seed", "7")[0] == 0
    model = fastlm.load(output)
    assert len(model.vocabulary) == 20
    assert model.config == {
        "context_size": 3,
        "embedding_dim": 4,
        "hidden_size": 6,
        "num_layers": 1,
        "activation": "tanh",
        "num_averages": 0,
        "direct": True,
        "tied": False,
        "dropout": 0.5,
        "embedding_dropout": None,
        "hidden_dropout": None,
        "output_dropout": None,
        "word_dropout": 0.0,
        "context": "continuous",
        "seed": 7,
        "dtype": "float32",
        "output": "softmax",
    }


def test_options_reach_a_modern_window_model(run, text, output):
    options = ["--num-layers", "2", "--activation", "gelu", "--num-averages", "2", "--context", "continuous", "--tied"]
    rates = {"embedding": 0.1, "hidden": 0.2, "output": 0.3, "word": 0.05}
    for place, rate in rates.items():
        options += [f"--{place}-dropout", str(rate)]
    assert run("nnlm", text, "-o", output, *options)[0] == 0
    config = fastlm.load(output).config
    assert (config["num_layers"], config["activation"], config["num_averages"], config["tied"]) == (2, "gelu", 2, True)
    assert {name: config[f"{name}_dropout"] for name in rates} == rates


def test_averages_of_sentences_are_refused(run, text, output):
    status, printed, errors = run("nnlm", text, "-o", output, "--num-averages", "1")
    assert (status, printed) == (1, "")
    assert "take context 'continuous'" in errors


def test_options_reach_a_recurrent_model(run, text, output):
    options = ["--cell", "lstm", "--num-layers", "2", "--tied", "--residual", "--recurrent-dropout", "0.4"]
    rates = {"embedding": 0.1, "hidden": 0.2, "output": 0.3, "word": 0.05}
    for place, rate in rates.items():
        options += [f"--{place}-dropout", str(rate)]
    options += ["--activation-penalty", "2", "--temporal-penalty", "1", "--recurrent-rate-factor", "0.2"]
    assert run("rnnlm", text, "-o", output, *options)[0] == 0
    config = fastlm.load(output).config
    assert (config["cell"], config["num_layers"], config["tied"], config["residual"]) == ("lstm", 2, True, True)
    assert {name: config[f"{name}_dropout"] for name in rates} == rates
    assert (config["recurrent_dropout"], config["activation_penalty"], config["temporal_penalty"]) == (0.4, 2, 1)
    assert config["recurrent_rate_factor"] == 0.2


def test_options_reach_the_trainer(run, text, output, tmp_path):
    log = tmp_path / "log"
    options = ["--optimizer", "sgd", "--momentum", "0.5", "--learning-rate", "0.25", "--schedule", "halving"]
    options += ["--warmup-steps", "3", "--max-grad-norm", "inf", "--patience", "2", "--bptt-len", "7"]
    assert run("rnnlm", text, "--valid", text, "-o", output, *options, "--seed", "9", "--log", str(log))[0] == 0
    start, *rest = [json.loads(line) for line in log.read_text().splitlines()]
    expected = {"batch_size": 4, "bptt_len": 7, "optimizer": "sgd", "momentum": 0.5, "learning_rate": 0.25, "seed": 9}
    expected |= {"schedule": "halving", "warmup_steps": 3, "patience": 2, "threads": 1, "max_grad_norm": None}
    assert start["event"] == "start"
    assert {name: start[name] for name in expected} == expected
    assert [line["event"] for line in rest] == ["epoch", "epoch", "end"]


def test_a_word_list(run, text, output, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("the\ncat\nunicorn\n")
    _, _, errors = run("nnlm", text, "-o", output, "--vocab", str(words))
    assert fastlm.load(output).vocabulary.words == ("<unk>", "</s>", "the", "cat", "unicorn")
    assert "vocabulary of 5" in errors
    assert "0.00 %" not in errors


def test_min_count(run, text, output):
    run("nnlm", text, "-o", output, "--min-count", "10")
    counts = fastlm.load(output).vocabulary.counts
    assert counts[2:].min() >= 10
    assert counts[0] > 0


@pytest.mark.parametrize("tokenizer", ["word", "char", "whitespace"])
def test_korean(run, korean_file, output, capsys, tokenizer):
    assert run("rnnlm", str(korean_file), "-o", output, "--tokenizer", tokenizer)[0] == 0
    model = fastlm.load(output)
    assert model.vocabulary.tokenizer.spec["kind"] == tokenizer
    known = {"word": "방석", "char": "방", "whitespace": "방석"}[tokenizer]
    assert known in model.vocabulary
    assert main(["predict", output, "고양이가 방석", "-k", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 3


def test_lower_case(run, output, tmp_path):
    path = tmp_path / "text"
    path.write_text("The cat\nthe CAT\n")
    assert run("nnlm", str(path), "-o", output, "--tokenizer", "word", "--lower-case")[0] == 0
    assert set(fastlm.load(output).vocabulary.words) == {"<unk>", "</s>", "the", "cat"}


def test_invalid_text_can_be_skipped_and_replaced(run, output, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"one two\nthree \xff four\n" * 3)
    for errors, sentences in [("skip", 3), ("replace", 6)]:
        status, printed, _ = run("nnlm", str(path), "--valid", str(path), "-o", output, "--errors", errors, "--json")
        assert (status, json.loads(printed)["report"]["num_sentences"]) == (0, sentences)


def test_a_text_shorter_than_a_batch(run, output, tmp_path):
    path = tmp_path / "text"
    path.write_text("word\n")
    for kind in SMALL:
        assert run(kind, str(path), "--valid", str(path), "-o", output, small=False)[0] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no word in 0 lines"),
        (b"\n \n", "no word in 2 lines"),
        (b"one\ntw\xff\n", "line 2: invalid UTF-8 (byte 0xff)"),
        (b"one\0\n", "line 1: a NUL byte"),
        (b"one </s>\n", "line 1"),
    ],
)
def test_bad_text_is_one_line_and_leaves_no_model(run, text, tmp_path, data, message):
    path, output = tmp_path / "bad.txt", tmp_path / "model.fastlm"
    path.write_bytes(data)
    for files in ([str(path)], [text, "--valid", str(path)]):
        status, printed, errors = run("nnlm", *files, "-o", str(output), "--quiet")
        assert (status, printed, errors.count("\n")) == (1, "", 1)
        assert errors.startswith(f"fastlm: {path}")
        assert message in errors
        assert not output.exists()


@pytest.mark.parametrize("option", ["FILE", "--valid", "--vocab", "--tokenizer"])
def test_a_missing_file(run, text, output, tmp_path, option):
    missing = str(tmp_path / "missing.json")
    arguments = [missing] if option == "FILE" else [text, option, missing]
    status, printed, errors = run("nnlm", *arguments, "-o", output, "--quiet")
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert missing in errors
    assert "No such file" in errors


@pytest.mark.parametrize("option", ["-o", "--log"])
@pytest.mark.parametrize("target", ["missing/model", "."])
def test_what_cannot_be_written_is_found_before_anything_is_read(run, tmp_path, option, target, monkeypatch):
    monkeypatch.setattr(fastlm.Vocabulary, "build", None)
    arguments = ["-o", str(tmp_path / "model"), option, str(tmp_path / target)]
    status, printed, errors = run("nnlm", str(tmp_path / "no text is needed"), *arguments)
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert f"cannot write '{tmp_path}" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
@pytest.mark.parametrize("option", ["-o", "--log"])
def test_a_link_that_goes_in_circles_is_one_line(run, text, output, tmp_path, option):
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    status, _, errors = run("nnlm", text, "-o", output, option, str(circle))
    assert (status, errors.count("\n")) == (1, 1)
    assert f"cannot write {str(circle)!r}" in errors


# What is wrong by itself, whatever the files hold.
BAD_OPTIONS = [
    [],
    ["lstm", "f", "-o", "m"],
    ["nnlm", "f"],
    ["nnlm", "-o", "m"],
    ["nnlm", "f", "-o", "m", "--bptt-len", "5"],
    ["rnnlm", "f", "-o", "m", "--context-size", "5"],
    ["rnnlm", "f", "-o", "m", "--direct"],
    ["rnnlm", "f", "-o", "m", "--hidden", "5"],
    ["rnnlm", "f", "-o", "m", "--hidden-size", "0"],
    ["rnnlm", "f", "-o", "m", "--embedding-dim", "2.5"],
    ["rnnlm", "f", "-o", "m", "--dropout", "1"],
    ["rnnlm", "f", "-o", "m", "--dropout", "nan"],
    ["rnnlm", "f", "-o", "m", "--word-dropout", "1"],
    ["rnnlm", "f", "-o", "m", "--cell", "rnn"],
    ["rnnlm", "f", "-o", "m", "--num-layers", "0"],
    ["rnnlm", "f", "-o", "m", "--temporal-penalty", "-1"],
    ["nnlm", "f", "-o", "m", "--cell", "lstm"],
    ["rnnlm", "f", "-o", "m", "--learning-rate", "0"],
    ["rnnlm", "f", "-o", "m", "--learning-rate", "fast"],
    ["rnnlm", "f", "-o", "m", "--max-grad-norm", "-1"],
    ["rnnlm", "f", "-o", "m", "--warmup-steps", "-1"],
    ["rnnlm", "f", "-o", "m", "--optimizer", "lbfgs"],
    ["rnnlm", "f", "-o", "m", "--schedule", "linear"],
    ["rnnlm", "f", "-o", "m", "--context", "document"],
    ["rnnlm", "f", "-o", "m", "--tokenizer", "bpe"],
    ["rnnlm", "f", "-o", "m", "--errors", "ignore"],
    ["rnnlm", "f", "-o", "m", "--vocab-size", "2"],
    ["rnnlm", "f", "-o", "m", "--min-count", "0"],
    ["rnnlm", "f", "-o", "m", "--epochs", "0"],
    ["rnnlm", "f", "-o", "m", "--seed", "-1"],
    ["rnnlm", "f", "-o", "m", "--vocab", "v", "--vocab-size", "10"],
    ["rnnlm", "f", "-o", "m", "--vocab", "v", "--min-count", "2"],
    ["rnnlm", "f", "-o", "m", "--momentum", "0.9"],
    ["rnnlm", "f", "-o", "m", "--lower-case"],
    ["rnnlm", "-", "-o", "m", "--valid", "-"],
    ["rnnlm", "f", "-o", "f"],
    ["rnnlm", "f", "-o", "-"],
    ["rnnlm", "f", "-o", "m", "--log", "-"],
    ["rnnlm", "f", "-o", "m", "--valid", "x/../m"],
    ["rnnlm", "f", "-o", "m", "--log", "f"],
    ["rnnlm", "f", "-o", "m", "--log", "m"],
]


@pytest.mark.parametrize("arguments", BAD_OPTIONS, ids=" ".join)
def test_a_wrong_call_is_status_2_and_touches_nothing(refuse, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "usage: fastlm" in refuse(*arguments)
    assert list(tmp_path.iterdir()) == []


def interrupt(monkeypatch, step):
    """Make Ctrl-C come in a step of the training."""
    steps = iter(range(1, 1000))
    original = fastlm.NNLM.loss_and_gradients

    def loss_and_gradients(*arguments):
        if next(steps) == step:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fastlm.NNLM, "loss_and_gradients", loss_and_gradients)


def test_ctrl_c_leaves_the_best_model_and_says_where(run, text, output, monkeypatch):
    interrupt(monkeypatch, step=60)  # 435 tokens, 16 at a time: 28 steps an epoch
    status, printed, errors = run("nnlm", text, "--valid", text, "-o", output, "--epochs", "10", "--quiet")
    assert (status, printed, errors.count("\n")) == (130, "", 1)
    best = fastlm.load(output)
    perplexity = best.evaluate(fastlm.Corpus.encode(text, best.vocabulary)).perplexity
    assert best.info["training"]["epoch"] == 2
    assert f"interrupted; the model of epoch 2, validation perplexity {perplexity:.2f}, is in {output}" in errors


def test_ctrl_c_in_the_first_epoch_leaves_a_model(run, text, output, monkeypatch):
    interrupt(monkeypatch, step=5)
    status, _, errors = run("nnlm", text, "--valid", text, "-o", output)
    assert status == 130
    assert f"the model of the unfinished first epoch is in {output}" in errors
    assert len(fastlm.load(output).predict("the", k=3)) == 3


def test_ctrl_c_while_the_first_model_is_saved_leaves_one_all_the_same(run, text, output, monkeypatch):
    original, calls = fastlm.NNLM.save, []

    def save(model, path):
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        original(model, path)

    monkeypatch.setattr(fastlm.NNLM, "save", save)
    assert run("nnlm", text, "--valid", text, "-o", output)[0] == 130
    assert fastlm.load(output).architecture == "nnlm"


def test_ctrl_c_before_the_training_is_only_an_interruption(run, text, output, monkeypatch):
    def build(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastlm.Vocabulary, "build", build)
    assert run("nnlm", text, "-o", output) == (130, "", "fastlm: interrupted\n")


ABSURD = ["--optimizer", "sgd", "--learning-rate", "1e38", "--max-grad-norm", "inf", "--warmup-steps", "0"]


def test_a_loss_that_is_not_finite_is_a_failure_that_says_what_to_do(run, text, output):
    status, printed, errors = run("nnlm", text, "--valid", text, "-o", output, *ABSURD, "--quiet")
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert "with learning rate " in errors
    assert "no epoch was finished" in errors
    assert not Path(output).exists()


def test_a_loss_that_is_no_longer_finite_leaves_the_best_model(run, text, output, monkeypatch):
    steps = iter(range(1, 1000))
    original = fastlm.NNLM.loss_and_gradients

    def loss_and_gradients(*arguments):
        loss, num_events = original(*arguments)
        return (loss if next(steps) < 40 else float("nan")), num_events

    monkeypatch.setattr(fastlm.NNLM, "loss_and_gradients", loss_and_gradients)
    status, _, errors = run("nnlm", text, "--valid", text, "-o", output)
    assert status == 1
    assert "the loss is nan" in errors
    assert "at step 40 (epoch 2)" in errors
    assert re.search(rf"that of epoch 1, validation perplexity [\d.]+, is in {re.escape(output)}$", errors.strip())
    assert fastlm.load(output).info["training"]["epoch"] == 1


def test_a_full_disk_while_saving_is_a_failure(run, text, output, monkeypatch):
    def save(model, path):
        raise FileError(f"cannot write '{path}': No space left on device")

    monkeypatch.setattr(fastlm.NNLM, "save", save)
    status, _, errors = run("nnlm", text, "-o", output, "--quiet")
    assert (status, errors) == (1, f"fastlm: cannot write '{output}': No space left on device\n")


def parser_of(kind):
    parser = build_parser()
    for name in ("train", kind):
        action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = action.choices[name]
    return parser


@pytest.mark.parametrize("kind", ["nnlm", "rnnlm"])
def test_the_help_tells_the_defaults_of_the_library(kind):
    helps = {action.dest: action.help for action in parser_of(kind)._actions}
    signatures = [inspect.signature(call) for call in (ARCHITECTURES[kind], Trainer, Trainer.fit)]
    defaults = {name: p.default for signature in signatures for name, p in signature.parameters.items()}
    defaults["epochs"] = EPOCHS  # where no recipe says more
    named = [
        *("embedding_dim", "hidden_size", "dropout", "context", "optimizer", "momentum", "schedule"),
        *("warmup_steps", "max_grad_norm", "epochs", "seed", *(["context_size"] if kind == "nnlm" else [])),
    ]
    for name in named:
        value = defaults[name]
        expected = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        assert helps[name].endswith(f"({expected})"), name

    model = ARCHITECTURES[kind](fastlm.Vocabulary(["a"]))
    trainer = Trainer(model)
    assert helps["batch_size"].endswith(f"({trainer.batch_size})")
    if kind == "rnnlm":
        assert helps["bptt_len"].endswith(f"({trainer.bptt_len})")
    for optimizer in OPTIMIZERS:
        chosen = Trainer(model, optimizer=optimizer)
        assert re.search(rf"{chosen.learning_rate} for ([a-z]+ and )*{optimizer}\b", helps["learning_rate"])
    assert (
        f"({Trainer(model, optimizer='adamw').weight_decay} for adamw, else {trainer.weight_decay:g})"
        in helps["weight_decay"]
    )
    averaged = Trainer(model, optimizer="asgd")
    assert helps["averaging_patience"].endswith(f"({averaged.averaging_patience})")
    more = averaged.patience - averaged.averaging_patience
    assert helps["patience"].endswith(f"({trainer.patience}; for asgd {more} more than --averaging-patience)")
