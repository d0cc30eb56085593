"""The verb `train`: from a text to a model file."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import described, given_vocabulary, open_corpus, read_text
from fastlm.cli.options import (
    VOCAB_SIZE,
    add_text_options,
    check_text_options,
    positive_float,
    share,
    whole_number,
)
from fastlm.cli.output import print_json

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
)
TRAIN_EPILOG = """\
Ctrl-C ends a run in good order: the best model so far is in MODEL."""


def add_parser(verbs: Parsers) -> None:
    """Add the verb to the command line, with one parser for each kind of model."""
    purpose = "train a model on a text"
    parser = verbs.add_parser("train", help=purpose, description="Train a model on a text.", allow_abbrev=False)
    kinds = parser.add_subparsers(title="kinds of models", metavar="nnlm|rnnlm", dest="architecture", required=True)
    _add_nnlm(kinds)
    _add_rnnlm(kinds)


def _add_nnlm(kinds: Parsers) -> None:
    parser = _add_kind(kinds, "nnlm", "a network over the last few words (Bengio et al. 2003)")
    model = _add_model_options(parser, embedding_dim=100, hidden_size=200, dropout=0.3, context="sentence")
    model.add_argument("--context-size", metavar="N", type=whole_number(1), help="how many words are seen (4)")
    model.add_argument("--direct", action="store_true", help="connect the word vectors to the output directly as well")
    _add_training_options(parser, "words that are learned from at a time (256)")


def _add_rnnlm(kinds: Parsers) -> None:
    parser = _add_kind(kinds, "rnnlm", "a recurrent network (Mikolov et al. 2010)")
    _add_model_options(parser, embedding_dim=256, hidden_size=256, dropout=0.35, context="continuous")
    training = _add_training_options(parser, "parts of the text that are read side by side (20)")
    training.add_argument(
        "--bptt-len", metavar="N", type=whole_number(1), help="steps that the gradient goes back through time (35)"
    )


def _add_kind(kinds: Parsers, name: str, what: str) -> argparse.ArgumentParser:
    """Add the parser of a kind of model, with what is read and written."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        name,
        help=what,
        description=f"Train {what}. In brackets: what holds if an option is not given.",
        epilog=TRAIN_EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=train, wrong_call=parser.error)
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the text, one sentence a line: plain, .gz, .xz, .zst, or - for standard input; or a prepared corpus",
    )
    parser.add_argument("--valid", metavar="FILE", default=None, help="text, or corpus, to choose the best epoch by")
    parser.add_argument("-o", "--output", metavar="MODEL", required=True, help="the model file to write")
    parser.add_argument("--log", metavar="FILE", help="write a line of JSON for each epoch and every 100th step")
    parser.add_argument("--quiet", action="store_true", default=False, help="no progress and no messages")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, for programs")
    add_text_options(parser.add_argument_group("text"))
    return parser


def _add_model_options(
    parser: argparse.ArgumentParser, *, embedding_dim: int, hidden_size: int, dropout: float, context: str
) -> argparse._ArgumentGroup:
    """Add the options of every model; the values are for the help alone."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--embedding-dim", metavar="N", type=whole_number(1), help=f"length of a word's vector ({embedding_dim})"
    )
    group.add_argument("--hidden-size", metavar="N", type=whole_number(1), help=f"hidden units ({hidden_size})")
    group.add_argument(
        "--dropout", metavar="P", type=share, help=f"share of units that are left out at random ({dropout})"
    )
    group.add_argument(
        "--context",
        choices=("sentence", "continuous"),
        help=f"whether each line is a text by itself, or the text runs on ({context})",
    )
    return group


def _add_training_options(parser: argparse.ArgumentParser, batch: str) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", metavar="N", type=whole_number(1), help="passes over the text, at most (10)")
    group.add_argument("--batch-size", metavar="N", type=whole_number(1), help=batch)
    group.add_argument("--optimizer", choices=("adam", "adagrad", "sgd"), help="how gradients become steps (adam)")
    group.add_argument(
        "--learning-rate",
        metavar="X",
        type=positive_float,
        help="size of the steps (0.002 for adam, 0.05 for adagrad, 0.5 for sgd)",
    )
    group.add_argument("--momentum", metavar="X", type=share, help="for --optimizer sgd (0)")
    group.add_argument(
        "--schedule",
        choices=("cosine", "halving", "constant"),
        help="how the rate falls: to zero over the epochs, by half when validation stalls, not at all (cosine)",
    )
    group.add_argument("--warmup-steps", metavar="N", type=whole_number(0), help="over which the rate rises (200)")
    group.add_argument(
        "--max-grad-norm", metavar="X", type=positive_float, help="limit of the gradient's norm; inf: none (1)"
    )
    group.add_argument(
        "--patience", metavar="N", type=whole_number(1), help="stop after N epochs without a better validation (3)"
    )
    group.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    group.add_argument("--seed", metavar="N", type=whole_number(0), help="the same seed gives the same model (1)")
    return group


def train(options: argparse.Namespace) -> None:
    """Train a model, keep the best epoch in the output file, and print its report on the validation text."""
    _check_call(options)
    _check_outputs(options)
    say: Say = (lambda message: None) if options.quiet else _say
    text, valid = _read(options, say)
    model = _make_model(options, text.vocabulary)
    arrays = model.parameters.values()
    say(
        f"{options.architecture}: {sum(array.size for array in arrays):,} parameters, "
        f"{sum(array.nbytes for array in arrays) / 1e6:,.1f} MB"
    )
    if valid is None:
        say("no validation text (--valid): nothing tells which epoch is best, so the last one is kept")
    history = _fit(options, model, text, valid)
    say(f"the model of {_described(history.best)} is in {options.output}")
    threads = getattr(options, "threads", None)
    report = valid and model.evaluate(valid, threads=threads, progress=not options.quiet)
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
    inputs = [path for path in (options.file, options.valid, options.vocab) if path is not None]
    if inputs.count("-") > 1:
        options.wrong_call("standard input (-) can be read for one purpose only; give a file for the other")
    check_text_options(options)
    if "momentum" in options and getattr(options, "optimizer", "") != "sgd":
        options.wrong_call("argument --momentum: only --optimizer sgd has momentum")
    for output in _given(options, ("output", "log")).values():
        if output == "-":
            options.wrong_call("standard output (-) takes no model and no log; give the name of a file")
        if any(_same_file(output, path) for path in inputs):
            options.wrong_call(
                f"{output} would be overwritten, but it is to be read; give another name for what is written"
            )
    if "log" in options and _same_file(options.log, options.output):
        options.wrong_call(f"the log and the model cannot both be {options.output}")


def _same_file(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)  # Path.resolve fails at links that go in circles


def _check_outputs(options: argparse.Namespace) -> None:
    """Find out before hours of training that something cannot be written."""
    from fastlm.storage import check_writable
    from fastlm.storage.files import system_failures

    check_writable(options.output)
    if "log" in options:
        with system_failures("write", options.log):
            Path(options.log).open("a").close()


def _read(options: argparse.Namespace, say: Say) -> tuple["Corpus", "Corpus | None"]:
    """Read training and validation text, and say what was found."""
    text = open_corpus(options) or _encode(options)
    say(f"{options.file}: {described(text)}; vocabulary of {len(text.vocabulary):,}")
    if text.num_unknown == 0:
        say(
            "no word of the text is outside of the vocabulary: <unk> stays untrained, and what the model says of "
            "unknown words means nothing; --min-count 2 leaves rare words to it"
        )
    if options.valid is None:
        return text, None
    valid = read_text(options.valid, text.vocabulary, options.errors)
    say(f"{options.valid}: {described(valid)}")
    return text, valid


def _encode(options: argparse.Namespace) -> "Corpus":
    """Take the vocabulary that is given, or make one of the training text, and encode the text."""
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

    with _readable_twice(options.file) as path:
        vocabulary = given_vocabulary(options) or Vocabulary.build(
            path,
            max_size=options.vocab_size or VOCAB_SIZE,
            min_count=options.min_count or 1,
            tokenizer=options.tokenizer or "whitespace",
            lower_case=options.lower_case,
            errors=options.errors,
        )
        return Corpus.encode(path, vocabulary, errors=options.errors)


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


def _make_model(options: argparse.Namespace, vocabulary: "Vocabulary") -> "NeuralModel":
    from fastlm.models import ARCHITECTURES

    return ARCHITECTURES[options.architecture](vocabulary, **_given(options, MODEL_OPTIONS))


def _fit(options: argparse.Namespace, model: "NeuralModel", text: "Corpus", valid: "Corpus | None") -> "History":
    """Train; what ends the run too early says where the best model is."""
    from fastlm.errors import TrainingError
    from fastlm.training.history import Epoch
    from fastlm.training.trainer import Trainer

    best: Epoch | None = None

    def remember(event: object) -> None:
        nonlocal best
        if isinstance(event, Epoch) and event.best:
            best = event

    trainer = Trainer(
        model,
        progress=not options.quiet,
        callback=remember,
        output=options.output,
        **_given(options, TRAINER_OPTIONS),
    )
    try:
        history = trainer.fit(text, valid, **_given(options, ("epochs",)))
    except TrainingError as error:
        where = (
            f"that of {_described(best)} is in {options.output}" if best else "no epoch was finished, none was saved"
        )
        raise TrainingError(f"{error}. The model: {where}") from error
    if history.ended == "interrupted":
        raise KeyboardInterrupt(f"interrupted; the model of {_described(history.best)} is in {options.output}")
    return history


def _described(best: "Epoch | None") -> str:
    if best is None:
        return "the unfinished first epoch"
    if best.valid_perplexity is None:
        return f"epoch {best.epoch}"
    return f"epoch {best.epoch}, validation perplexity {best.valid_perplexity:.2f},"
