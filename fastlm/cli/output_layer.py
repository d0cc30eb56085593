"""The options of a neural model's output layer."""

import argparse
from typing import TYPE_CHECKING, Any

from fastlm.cli.options import non_negative_float, rising_numbers, whole_number

if TYPE_CHECKING:
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["KINDS", "add_output_layer", "check_output_layer", "chosen_output_layer", "with_counts"]

KINDS = ("softmax", "class", "adaptive", "sampled", "nce")
OPTIONS = ("tied", "num_samples", "noise_power", "self_normalising", "num_classes", "cutoffs")
BLOCK = 1 << 20  # tokens that are counted at a time


def add_output_layer(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a neural model; what is not given is not in what it returns."""
    group = parser.add_argument_group(
        "output layer", "Probabilities sum to one in all of them; they differ in what learning them costs."
    )
    group.add_argument(
        "--output",
        dest="output_layer",
        choices=KINDS,
        help="softmax over all words, or for large vocabularies by classes, with narrower layers for rare words, "
        "learned from samples, or by telling these from the text (softmax)",
    )
    group.add_argument(
        "--tied",
        action=argparse.BooleanOptionalAction,
        help="for softmax, sampled and nce: take the word vectors for the output's table as well",
    )
    group.add_argument(
        "--num-samples", metavar="K", type=whole_number(1), help="for sampled and nce: words drawn in a step (256)"
    )
    group.add_argument(
        "--noise-power",
        metavar="X",
        type=non_negative_float,
        help="for sampled and nce: words are drawn by their counts to this power (0.75)",
    )
    group.add_argument(
        "--self-normalising",
        metavar="X",
        type=non_negative_float,
        help="for softmax and sampled: how strongly the sum of the exponentiated scores is held near 1, as fastlm "
        "freeze needs it (softmax 0, sampled 0.1)",
    )
    group.add_argument("--num-classes", metavar="N", type=whole_number(2), help="for class (about the root of words)")
    group.add_argument(
        "--cutoffs",
        metavar="N,N…",
        type=rising_numbers,
        help="for class and adaptive: where new groups begin among the words by frequency (where it costs least)",
    )


def check_output_layer(options: argparse.Namespace) -> None:
    """Refuse options that the output layer does not have, as a wrong call."""
    from fastlm.models.outputs import USED_BY

    if options.init is not None and "output_layer" not in options:
        return  # it is that of the model, which is not known yet
    kind = getattr(options, "output_layer", KINDS[0])
    for name in OPTIONS:
        if getattr(options, name, False) is not False and kind not in USED_BY[name]:  # False: --no-tied
            users = " or ".join(USED_BY[name])
            options.wrong_call(f"argument --{name.replace('_', '-')}: only --output {users} uses it, not {kind}")
    if "num_classes" in options and "cutoffs" in options:
        options.wrong_call("argument --num-classes: --cutoffs say all of the classes; leave out one of them")


def chosen_output_layer(options: argparse.Namespace) -> dict[str, Any]:
    """Return those of the options that were given, by their names as arguments of a model."""
    given = {name: getattr(options, name) for name in OPTIONS if name in options}
    return given | ({"output": options.output_layer} if "output_layer" in options else {})


def with_counts(vocabulary: "Vocabulary", text: "Corpus") -> "Vocabulary":
    """Return the vocabulary with the words' counts in a text, if it has none."""
    import numpy as np

    from fastlm.text.vocabulary import Vocabulary

    if vocabulary.counts is not None:
        return vocabulary
    counts = np.zeros(len(vocabulary), np.int64)
    for start in range(0, text.num_tokens, BLOCK):
        counts += np.bincount(text.ids[start : start + BLOCK], minlength=len(vocabulary))
    return Vocabulary(vocabulary.words[vocabulary.end_id + 1 :], counts, tokenizer=vocabulary.tokenizer)
