"""The options of the verb `train` that say what a neural model is like."""

import argparse

from fastlm.cli.options import non_negative_float, share, whole_number

__all__ = ["MODEL_OPTIONS", "add_nnlm_options", "add_rnnlm_options"]

Group = argparse._ArgumentGroup

# Options that were not given are not passed on, so that all other defaults are those of the library.
MODEL_OPTIONS = (
    *("context_size", "embedding_dim", "hidden_size", "cell", "num_layers", "activation", "num_averages", "direct"),
    *("residual", "context"),
    *("dropout", "embedding_dropout", "hidden_dropout", "output_dropout", "word_dropout", "recurrent_dropout"),
    *("recurrent_rate_factor", "activation_penalty", "temporal_penalty", "seed"),
)


def add_nnlm_options(parser: argparse.ArgumentParser) -> None:
    """Add what there is to choose of an NNLM; the values are for the help alone."""
    group = parser.add_argument_group("model")
    group.add_argument("--context-size", metavar="N", type=whole_number(1), help="how many words are seen (4)")
    _add_sizes(group, embedding_dim=100, hidden_size=200, context="sentence")
    group.add_argument(
        "--num-layers", metavar="N", type=whole_number(1), help="hidden layers; all but the first are residual ones (1)"
    )
    group.add_argument(
        "--activation", choices=("tanh", "relu", "gelu"), help="what makes them nonlinear; gelu suits several (tanh)"
    )
    group.add_argument(
        "--num-averages",
        metavar="K",
        type=whole_number(0),
        help="learned averages of the words beyond the window, each over twice as many; for continuous context (0)",
    )
    group.add_argument(
        "--direct",
        action=argparse.BooleanOptionalAction,
        help="connect the word vectors to the output directly as well",
    )
    rates = parser.add_argument_group("regularisation")
    _add_dropout(rates, 0.3)
    _add_rate(rates, "embedding", "on the word vectors")
    _add_rate(rates, "hidden", "within the layers above the first")
    _add_rate(rates, "output", "on what the last layer gives")
    _add_word_dropout(rates)


def add_rnnlm_options(parser: argparse.ArgumentParser) -> None:
    """Add what there is to choose of an RNNLM; the values are for the help alone."""
    group = parser.add_argument_group("model")
    group.add_argument("--cell", choices=("elman", "gru", "lstm"), help="what the layers are made of (elman)")
    group.add_argument("--num-layers", metavar="N", type=whole_number(1), help="recurrent layers, one on another (1)")
    _add_sizes(group, embedding_dim=256, hidden_size=256, context="continuous")
    group.add_argument(
        "--residual",
        action=argparse.BooleanOptionalAction,
        help="add what goes into a layer to what comes out, where both have one size",
    )
    rates = parser.add_argument_group("regularisation")
    _add_dropout(rates, 0.35)
    _add_rate(rates, "embedding", "on the word vectors")
    _add_rate(rates, "hidden", "between the layers")
    _add_rate(rates, "output", "on what the last layer gives")
    _add_word_dropout(rates)
    rates.add_argument(
        "--recurrent-dropout", metavar="P", type=share, help="share of recurrent weights that are left out (0)"
    )
    rates.add_argument(
        "--recurrent-rate-factor",
        metavar="X",
        type=non_negative_float,
        help="factor of the learning rate for recurrent weights (1)",
    )
    rates.add_argument(
        "--activation-penalty", metavar="X", type=non_negative_float, help="weight of the mean square of the output (0)"
    )
    rates.add_argument(
        "--temporal-penalty",
        metavar="X",
        type=non_negative_float,
        help="weight of the mean square of its change from word to word (0)",
    )


def _add_sizes(group: Group, *, embedding_dim: int, hidden_size: int, context: str) -> None:
    group.add_argument(
        "--embedding-dim", metavar="N", type=whole_number(1), help=f"length of a word's vector ({embedding_dim})"
    )
    group.add_argument("--hidden-size", metavar="N", type=whole_number(1), help=f"hidden units ({hidden_size})")
    group.add_argument(
        "--context",
        choices=("sentence", "continuous"),
        help=f"whether each line is a text by itself, or the text runs on ({context})",
    )


def _add_dropout(group: Group, rate: float) -> None:
    group.add_argument(
        "--dropout", metavar="P", type=share, help=f"share of units that are left out at random ({rate})"
    )


def _add_rate(group: Group, place: str, where: str) -> None:
    group.add_argument(f"--{place}-dropout", metavar="P", type=share, help=f"this share {where} (as --dropout)")


def _add_word_dropout(group: Group) -> None:
    group.add_argument(
        "--word-dropout", metavar="P", type=share, help="share of words that lose their whole vector at random (0)"
    )
