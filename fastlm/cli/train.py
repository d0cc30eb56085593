"""The verb `train`: from a text to a model file."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fastlm.cli.output import print_json
from fastlm.cli.termination import Terminated, termination
from fastlm.cli.train_options import VOCAB_SIZE, add_kinds

if TYPE_CHECKING:
    from fastlm.models import NeuralModel
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary
    from fastlm.training.history import Epoch, History

__all__ = ["add_parser"]

Parsers = Any  # argparse keeps the class of its sub-parsers to itself
Say = Callable[[str], object]

# Options that were not given are not passed on, so that all other defaults are those of the library.
MODEL_OPTIONS = ("context_size", "embedding_dim", "hidden_size", "direct", "dropout", "context", "seed")
TRAINER_OPTIONS = (
    *("batch_size", "bptt_len", "optimizer", "learning_rate", "momentum", "schedule", "warmup_steps"),
    *("max_grad_norm", "patience", "seed", "threads", "log"),
    *("checkpoint", "checkpoint_every", "resume", "time_limit", "valid_tokens"),
)
TOKENIZER = "whitespace"
VOCABULARY_OPTIONS = ("vocab_size", "min_count", "tokenizer", "lower_case")


def add_parser(verbs: Parsers) -> None:
    """Add the verb to the command line, with one parser for each kind of model."""
    purpose = "train a model on a text"
    parser = verbs.add_parser("train", help=purpose, description="Train a model on a text.", allow_abbrev=False)
    kinds = parser.add_subparsers(title="kinds of models", metavar="nnlm|rnnlm", dest="architecture", required=True)
    add_kinds(kinds, train)


def train(options: argparse.Namespace) -> None:
    """Train a model, keep the best epoch in the output file, and print its report on the validation text."""
    began = time.monotonic()
    _check_call(options)
    _check_outputs(options)
    say: Say = (lambda message: None) if options.quiet else _say
    with termination():
        initial = None if options.init is None else _load_initial(options)
        text, valid = _read(options, say, None if initial is None else initial.vocabulary)
        model = initial or _make_model(options, text.vocabulary)
        arrays = model.parameters.values()
        say(
            f"{options.architecture}: {sum(array.size for array in arrays):,} parameters, "
            f"{sum(array.nbytes for array in arrays) / 1e6:,.1f} MB"
        )
        if valid is None:
            say("no validation text (--valid): nothing tells which epoch is best, so the last one is kept")
        history = _fit(options, model, text, valid, began)
    say(f"the model of {_described(history.best)} is in {options.output}")
    if history.report is not None and history.epochs[-1].valid_tokens is not None:
        say(
            f"the epochs were validated on the first {history.epochs[-1].valid_tokens:,} tokens of {options.valid}; "
            f"this is about all of its {history.report.num_tokens:,}"
        )
    _print_result(options, history)


def _print_result(options: argparse.Namespace, history: "History") -> None:
    report = history.report
    if options.json:
        epochs = [epoch.to_dict() for epoch in history.epochs]
        print_json(
            {
                "model": options.output,
                "report": report and report.to_dict(),
                "history": {"ended": history.ended, "epochs": epochs},
            }
        )
    elif report is not None:
        print(report)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the named options that the caller has given."""
    return {name: value for name, value in vars(options).items() if name in names}


def _check_call(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, as a wrong call."""
    _check_text_options(options)
    _check_files(options)
    for name in _given(options, ("checkpoint_every", "resume")):
        if "checkpoint" not in options:
            options.wrong_call(
                f"argument --{name.replace('_', '-')}: where are the checkpoints? give --checkpoint DIRECTORY"
            )
    if "valid_tokens" in options and options.valid is None:
        options.wrong_call("argument --valid-tokens: there is no validation text; give --valid FILE")
    if "momentum" in options and getattr(options, "optimizer", "") != "sgd":
        options.wrong_call("argument --momentum: only --optimizer sgd has momentum")


def _check_text_options(options: argparse.Namespace) -> None:
    if options.vocab is not None and _given(options, ("vocab_size", "min_count")):
        options.wrong_call(
            "argument --vocab: a list of words is taken as it is; leave out --vocab-size and --min-count"
        )
    tokenizer = getattr(options, "tokenizer", TOKENIZER)
    if "lower_case" in options and tokenizer != "word":
        options.wrong_call(f"argument --lower-case: the tokenizer {tokenizer} keeps case; give --tokenizer word")
    if options.init is not None and (options.vocab is not None or _given(options, VOCABULARY_OPTIONS)):
        options.wrong_call(
            "argument --init: words and tokenizer are those of the model; leave out --vocab, --vocab-size, "
            "--min-count, --tokenizer and --lower-case"
        )


def _check_files(options: argparse.Namespace) -> None:
    inputs = [path for path in (options.file, options.valid, options.vocab, options.init) if path is not None]
    if inputs.count("-") > 1:
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    for output in _given(options, ("output", "log", "checkpoint")).values():
        if output == "-":
            options.wrong_call("standard output (-) takes no model, log or checkpoint; give the name of a file")
        if any(_same_file(output, path) for path in inputs):
            options.wrong_call(
                f"{output} would be overwritten, but it is to be read; give another name for what is written"
            )
    for name in _given(options, ("log", "checkpoint")):
        if _same_file(getattr(options, name), options.output):
            options.wrong_call(f"the {name} and the model cannot both be {options.output}")


def _same_file(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)  # Path.resolve fails at links that go in circles


def _check_outputs(options: argparse.Namespace) -> None:
    """Find out before hours of training that something cannot be written."""
    from fastlm.storage import check_writable
    from fastlm.storage.files import system_failures
    from fastlm.training.checkpoints import check_directory

    check_writable(options.output)
    if "checkpoint" in options:
        check_directory(options.checkpoint, resume="resume" in options)
    if "log" in options:
        with system_failures("write", options.log):
            Path(options.log).open("a").close()


def _load_initial(options: argparse.Namespace) -> "NeuralModel":
    """Load the model that is to be trained further; what is said of its kind must be true."""
    from fastlm.models import load

    model = load(options.init)
    given = {"architecture": options.architecture} | _given(options, MODEL_OPTIONS)
    given.pop("seed", None)  # the text has an order and dropout has masks, also when no parameter is drawn
    for name, value in given.items():
        found = {"architecture": model.architecture, **model.config}.get(name)
        if found != value:
            raise ValueError(
                f"{options.init} has {name} {found}, but {value} was asked for; leave that to the model, or train a "
                "new one without --init"
            )
    return model


def _read(options: argparse.Namespace, say: Say, vocabulary: "Vocabulary | None") -> tuple["Corpus", "Corpus | None"]:
    """Read training and validation text, in the words of a vocabulary if there is one, and say what was found."""
    from fastlm.text.corpus import Corpus
    from fastlm.text.tokenizer import make_tokenizer
    from fastlm.text.vocabulary import Vocabulary

    chosen = make_tokenizer(getattr(options, "tokenizer", TOKENIZER), lower_case="lower_case" in options)
    with _readable_twice(options.file) as path:
        if vocabulary is not None:
            pass
        elif options.vocab is not None:
            vocabulary = Vocabulary.read(options.vocab, tokenizer=chosen)
        else:
            vocabulary = Vocabulary.build(
                path,
                max_size=getattr(options, "vocab_size", VOCAB_SIZE),
                min_count=getattr(options, "min_count", 1),
                tokenizer=chosen,
                errors=options.errors,
            )
        text = Corpus.encode(path, vocabulary, errors=options.errors)
    say(f"{options.file}: {_contents(text)}; vocabulary of {len(vocabulary):,}")
    if text.num_unknown == 0:
        say(
            "no word of the text is outside of the vocabulary: <unk> stays untrained, and what the model says of "
            "unknown words means nothing; --min-count 2 leaves rare words to it"
        )
    if options.valid is None:
        return text, None
    valid = Corpus.encode(options.valid, vocabulary, errors=options.errors)
    say(f"{options.valid}: {_contents(valid)}")
    return text, valid


@contextmanager
def _readable_twice(file: str) -> Iterator[str]:
    """Give a path that can be read for the vocabulary and again for the text: a copy of what comes through a pipe."""
    from fastlm.storage import read_blocks

    if file != "-" and not Path(file).is_fifo():
        yield file
        return
    with TemporaryDirectory(prefix="fastlm-") as folder:
        copy = Path(folder) / ("standard input" if file == "-" else "pipe")
        with copy.open("wb") as output:
            output.writelines(read_blocks(file))
        yield str(copy)


def _contents(corpus: "Corpus") -> str:
    num_words = corpus.num_tokens - corpus.num_sentences
    unknown = 100 * corpus.num_unknown / max(1, num_words)
    return f"{num_words:,} words in {corpus.num_sentences:,} sentences, {unknown:.2f} % of them unknown"


def _make_model(options: argparse.Namespace, vocabulary: "Vocabulary") -> "NeuralModel":
    from fastlm.models import ARCHITECTURES

    return ARCHITECTURES[options.architecture](vocabulary, **_given(options, MODEL_OPTIONS))


def _fit(
    options: argparse.Namespace, model: "NeuralModel", text: "Corpus", valid: "Corpus | None", began: float
) -> "History":
    """Train; what ends the run too early says where the best model is."""
    from fastlm.errors import TrainingError
    from fastlm.training.trainer import Trainer

    trainer = Trainer(
        model,
        progress=not options.quiet,
        output=options.output,
        time_used=time.monotonic() - began,
        **_given(options, TRAINER_OPTIONS),
    )
    try:
        history = trainer.fit(text, valid, **_given(options, ("epochs",)))
    except TrainingError as error:
        best = trainer.history.best
        where = (
            f"that of {_described(best)} is in {options.output}" if best else "no epoch was finished, none was saved"
        )
        raise TrainingError(f"{error}. The model: {where}") from error
    except Terminated:
        if trainer.history.ended != "terminated":  # the second signal, which did not wait for anything to be saved
            raise
        raise Terminated(_where_it_is(options, trainer.history)) from None
    if history.ended == "interrupted":
        raise KeyboardInterrupt(_where_it_is(options, history))
    return history


def _where_it_is(options: argparse.Namespace, history: "History") -> str:
    """Say what a run that was stopped has left."""
    resume = f"; --resume goes on from {options.checkpoint}" if "checkpoint" in options else ""
    return f"{history.ended}; the model of {_described(history.best)} is in {options.output}{resume}"


def _described(best: "Epoch | None") -> str:
    if best is None:
        return "the unfinished first epoch"
    if best.valid_perplexity is None:
        return f"epoch {best.epoch}"
    return f"epoch {best.epoch}, validation perplexity {best.valid_perplexity:.2f},"
