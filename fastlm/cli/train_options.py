"""The options of the verb `train`."""

import argparse
from collections.abc import Callable
from typing import Any

from fastlm.cli.model_options import add_nnlm_options, add_rnnlm_options
from fastlm.cli.options import (
    add_text_options,
    duration,
    non_negative_float,
    positive_duration,
    positive_float,
    share,
    whole_number,
)
from fastlm.cli.output_layer import add_output_layer
from fastlm.cli.recipes import add_recipe

__all__ = ["add_kinds"]

Parsers = Any  # argparse keeps the class of its sub-parsers to itself
Verb = Callable[[argparse.Namespace], None]

EPILOG = """\
Ctrl-C and SIGTERM end a run in good order: the best model so far is in MODEL, and a last checkpoint in DIRECTORY."""


def add_kinds(kinds: Parsers, run: Verb) -> None:
    """Add a parser for each kind of model; options that are not given are not in what it returns."""
    _add_nnlm(kinds, run)
    _add_rnnlm(kinds, run)


def _add_nnlm(kinds: Parsers, run: Verb) -> None:
    parser = _add_kind(kinds, run, "nnlm", "a network over the last few words (Bengio et al. 2003)")
    add_nnlm_options(parser)
    add_output_layer(parser)
    _add_training_options(parser, "words that are learned from at a time (256)")


def _add_rnnlm(kinds: Parsers, run: Verb) -> None:
    parser = _add_kind(kinds, run, "rnnlm", "a recurrent network (Mikolov et al. 2010)")
    add_rnnlm_options(parser)
    add_output_layer(parser)
    training = _add_training_options(parser, "parts of the text that are read side by side (20)")
    training.add_argument(
        "--bptt-len", metavar="N", type=whole_number(1), help="steps that the gradient goes back through time (35)"
    )
    training.add_argument(
        "--random-bptt-len", action=argparse.BooleanOptionalAction, help="draw these steps anew for each chunk"
    )


def _add_kind(kinds: Parsers, run: Verb, name: str, what: str) -> argparse.ArgumentParser:
    """Add the parser of a kind of model, with what is read and written."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        name,
        help=what,
        description=f"Train {what}. In brackets: what holds if an option is not given.",
        epilog=EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run, wrong_call=parser.error)
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the text, one sentence a line: plain, .gz, .xz, .zst, or - for standard input; or a prepared corpus",
    )
    add_recipe(parser, name)
    parser.add_argument("--valid", metavar="FILE", default=None, help="text, or corpus, to choose the best epoch by")
    parser.add_argument(
        "--valid-tokens",
        metavar="N",
        type=whole_number(1),
        help="choose by its first N tokens alone, and measure on all of it at the end",
    )
    parser.add_argument(
        "--init", metavar="MODEL", default=None, help="train this model further, with its words, tokenizer and sizes"
    )
    parser.add_argument(
        "--init-embeddings",
        metavar="FILE",
        help="begin with these word vectors, of word2vec (text or binary) or GloVe; --embedding-dim follows them",
    )
    parser.add_argument("-o", "--model", dest="output", metavar="MODEL", required=True, help="the model file to write")
    parser.add_argument("--log", metavar="FILE", help="write a line of JSON for each epoch and every 100th step")
    parser.add_argument("--quiet", action="store_true", default=False, help="no progress and no messages")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, for programs")
    add_text_options(parser.add_argument_group("text"))
    _add_job_options(parser.add_argument_group("job"))
    return parser


def _add_job_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--checkpoint", metavar="DIRECTORY", help="keep there what the run needs to go on after whatever may happen"
    )
    group.add_argument(
        "--checkpoint-every", metavar="TIME", type=duration, help="how often: 90s, 10m, 2h; 0s: after each step (10m)"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint to the same bytes; from the beginning where there is none yet",
    )
    group.add_argument(
        "--time-limit",
        metavar="TIME",
        type=positive_duration,
        help="end within 90s, 30m, 2h with the best model; the learning rate falls over this time",
    )


def _add_training_options(parser: argparse.ArgumentParser, batch: str) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", metavar="N", type=whole_number(1), help="passes over the text, at most (10)")
    group.add_argument("--batch-size", metavar="N", type=whole_number(1), help=batch)
    group.add_argument(
        "--optimizer",
        choices=("adam", "adamw", "adagrad", "sgd", "asgd"),
        help="how gradients become steps; asgd, which is averaged once validation stalls, wants a constant rate (adam)",
    )
    group.add_argument(
        "--learning-rate",
        metavar="X",
        type=positive_float,
        help="size of the steps (0.002 for adam and adamw, 0.05 for adagrad, 0.5 for sgd and asgd)",
    )
    group.add_argument("--momentum", metavar="X", type=share, help="for --optimizer sgd (0)")
    group.add_argument(
        "--weight-decay",
        metavar="X",
        type=non_negative_float,
        help="each step shrinks matrices by this times the learning rate (0.01 for adamw, else 0)",
    )
    group.add_argument(
        "--averaging-patience",
        metavar="N",
        type=whole_number(1),
        help="for --optimizer asgd: average once validation is worse than the best of all but the last N epochs (5)",
    )
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
        "--precision",
        choices=("float32", "bfloat16"),
        help="of what is multiplied in training; bfloat16 is much quicker on a CPU with AMX (float32)",
    )
    group.add_argument(
        "--patience",
        metavar="N",
        type=whole_number(1),
        help="stop after N epochs without a better validation (3; for asgd 3 more than --averaging-patience)",
    )
    group.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    group.add_argument("--seed", metavar="N", type=whole_number(0), help="the same seed gives the same model (1)")
    return group
