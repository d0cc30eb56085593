"""The verb `train`: from a text to a model file."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import check_files, read_texts
from fastlm.cli.model_options import MODEL_OPTIONS
from fastlm.cli.options import check_text_options, given, given_text_options
from fastlm.cli.output import print_json, teller
from fastlm.cli.output_layer import check_output_layer, chosen_output_layer, with_counts
from fastlm.cli.recipes import check_words, take_recipe
from fastlm.cli.termination import Terminated, termination
from fastlm.cli.train_ngram import add_kind as add_ngram
from fastlm.cli.train_options import add_kinds
from fastlm.errors import DataError, TrainingError

if TYPE_CHECKING:
    from fastlm.models import NeuralModel
    from fastlm.text.corpus import Corpus
    from fastlm.training.history import Epoch, History

__all__ = ["add_parser"]

Parsers = Any  # argparse keeps the class of its sub-parsers to itself

# Options that were not given are not passed on, so that all other defaults are those of the library.
TRAINER_OPTIONS = (
    *("batch_size", "bptt_len", "random_bptt_len", "optimizer", "learning_rate", "momentum", "weight_decay"),
    *("averaging_patience", "schedule", "warmup_steps"),
    *("max_grad_norm", "precision", "patience", "seed", "threads", "log"),
    *("checkpoint", "checkpoint_every", "resume", "time_limit", "valid_tokens", "recipe"),
)


def add_parser(verbs: Parsers) -> None:
    """Add the verb to the command line, with one parser for each kind of model."""
    purpose = "train a model on a text"
    parser = verbs.add_parser("train", help=purpose, description="Train a model on a text.", allow_abbrev=False)
    kinds = parser.add_subparsers(
        title="kinds of models", metavar="nnlm|rnnlm|ngram", dest="architecture", required=True
    )
    add_kinds(kinds, train)
    add_ngram(kinds)


def train(options: argparse.Namespace) -> None:
    """Train a model, keep the best epoch in the output file, and print its report on the validation text."""
    began = time.monotonic()
    is_sized = "embedding_dim" in options  # by the caller, not by a recipe
    take_recipe(options)
    _check_call(options)
    _check_outputs(options)
    say = teller(quiet=options.quiet)
    with termination():
        initial = None if options.init is None else _load_initial(options)
        text, valid = read_texts(options, say, None if initial is None else initial.vocabulary)
        check_words(options, text.vocabulary)
        model = initial or _make_model(options, text, say, is_sized=is_sized)
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


def _check_call(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, as a wrong call."""
    check_text_options(options)
    check_files(options)
    if options.init is not None and given_text_options(options):
        options.wrong_call(
            "argument --init: words and tokenizer are those of the model; leave out --vocab, --vocab-size, "
            "--min-count, --tokenizer and --lower-case"
        )
    if options.init is not None and "init_embeddings" in options:
        options.wrong_call("argument --init-embeddings: --init MODEL has word vectors already; leave out one of them")
    for name in given(options, ("checkpoint_every", "resume")):
        if "checkpoint" not in options:
            options.wrong_call(
                f"argument --{name.replace('_', '-')}: where are the checkpoints? give --checkpoint DIRECTORY"
            )
    check_output_layer(options)
    if "valid_tokens" in options and options.valid is None:
        options.wrong_call("argument --valid-tokens: there is no validation text; give --valid FILE")
    if "momentum" in options and getattr(options, "optimizer", "") != "sgd":
        options.wrong_call("argument --momentum: only --optimizer sgd has momentum")


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
    from fastlm.models import NeuralModel, load

    model = load(options.init)
    asked = {"architecture": options.architecture} | _model_arguments(options)
    asked.pop("seed", None)  # the text has an order and dropout has masks, also when no parameter is drawn
    for name, value in asked.items():
        found = {"architecture": model.architecture, **model.config}.get(name)
        if found != value:
            raise ValueError(
                f"{options.init} has {name} {found}, but {value} was asked for; leave that to the model, or train a "
                "new one without --init"
            )
    assert isinstance(model, NeuralModel)  # its architecture is the one that was asked for
    return model


def _make_model(
    options: argparse.Namespace, text: "Corpus", say: Callable[[str], object], *, is_sized: bool
) -> "NeuralModel":
    """Make a new model, with the word vectors that it is to begin with; unless it `is_sized`, it is as wide as they."""
    from fastlm.models import NETWORKS
    from fastlm.text.word2vec import read_word2vec

    vocabulary = with_counts(text.vocabulary, text) if "output_layer" in options else text.vocabulary
    if "init_embeddings" not in options:
        return NETWORKS[options.architecture](vocabulary, **_model_arguments(options))
    table, path = read_word2vec(options.init_embeddings, vocabulary), options.init_embeddings
    embedding_dim = table.vectors.shape[1]
    if is_sized and options.embedding_dim != embedding_dim:
        raise DataError(
            f"{path}: its word vectors have {embedding_dim} dimensions, but --embedding-dim is "
            f"{options.embedding_dim}; leave that out, and the model is as wide as they are"
        )
    if not table.words:
        raise DataError(
            f"{path}: none of its words is in the vocabulary; are text and table of one language, and of one spelling?"
        )
    arguments = _model_arguments(options) | {"embedding_dim": embedding_dim}
    model = NETWORKS[options.architecture](vocabulary, **arguments)
    num_found = model.init_embeddings(*table)
    say(f"{path}: vectors of {embedding_dim} dimensions for {num_found:,} of the {len(vocabulary):,} words")
    return model


def _model_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Those of the model's arguments that the caller has given."""
    return given(options, MODEL_OPTIONS) | chosen_output_layer(options)


def _fit(
    options: argparse.Namespace, model: "NeuralModel", text: "Corpus", valid: "Corpus | None", began: float
) -> "History":
    """Train; what ends the run too early says where the best model is."""
    from fastlm.training.trainer import Trainer

    trainer = Trainer(
        model,
        progress=not options.quiet,
        output=options.output,
        time_used=time.monotonic() - began,
        **given(options, TRAINER_OPTIONS),
    )
    try:
        history = trainer.fit(text, valid, **given(options, ("epochs",)))
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
