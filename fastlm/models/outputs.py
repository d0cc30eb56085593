"""The output layer of a model: its options, and how it is made from them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from fastlm.inference.arguments import real_number, whole_number
from fastlm.nn.outputs import OUTPUTS, OutputLayer, Projected
from fastlm.nn.parameters import Parameter, ParameterSource
from fastlm.text.vocabulary import Vocabulary

__all__ = ["USED_BY", "OutputOptions", "checked_names", "make_output"]


class OutputOptions(TypedDict, total=False):
    """What every neural model takes, beside its own arguments, for its output layer.

    Attributes
    ----------
    output : {"softmax", "class", "adaptive", "sampled", "nce"}
        "softmax", if not given, is learned over the whole vocabulary; its cost is proportional to V. "class" (Goodman
        2001) predicts the word's class and then the word within it, "adaptive" (Grave et al. 2017) rare words through
        narrower layers; "sampled" (Jean et al. 2015) and "nce" (Mnih & Teh 2012) learn from a sample of the
        vocabulary, at a cost that V is no part of. Whichever it is, probabilities sum to one.
    tied : bool
        For "softmax", "sampled" and "nce": whether the table of the embeddings is also that of the output (Press &
        Wolf 2017). Where it has another width than the hidden layer, a linear map comes between.
    num_samples : int
        For "sampled" and "nce": words drawn in a step, for all tokens together; 256 if not given.
    noise_power : float
        For "sampled" and "nce": words are drawn by their counts to this power; 0.75 if not given.
    self_normalising : float
        For "softmax" and "sampled": how strongly Z is held near 1, so that scores are nearly log-probabilities before
        they are normalised; 0, not at all, and 0.1 if not given.
    num_classes : int
        For "class": at most so many; a number that costs little, if not given.
    cutoffs : sequence of int
        For "class" and "adaptive": where the second class, or the first narrower layer, begins in the list of words by
        frequency, and the next; chosen so that it costs little, if not given.
    """

    output: str
    tied: bool
    num_samples: int
    noise_power: float
    self_normalising: float
    num_classes: int
    cutoffs: Sequence[int]


USED_BY = {
    "tied": ("softmax", "sampled", "nce"),
    "num_samples": ("sampled", "nce"),
    "noise_power": ("sampled", "nce"),
    "self_normalising": ("softmax", "sampled"),
    "num_classes": ("class",),
    "cutoffs": ("class", "adaptive"),
}
MAX_SAMPLES = 1_000_000
MAX_POWER = 10.0  # of a count: higher ones leave the range of numbers


def checked_names(options: OutputOptions) -> OutputOptions:
    """Return the options, or raise the TypeError of a function that has no argument of such a name."""
    for name in options.keys() - OutputOptions.__annotations__:
        raise TypeError(f"got an unexpected keyword argument {name!r}")
    return options


def make_output(
    config: dict[str, Any], hidden_size: int, vocabulary: Vocabulary, source: ParameterSource, embeddings: Parameter
) -> OutputLayer:
    """Make the output layer that a model's config describes, and write into the config what the layer has chosen.

    Where the config says "tied", its table is that of `embeddings`.
    """
    kind = config.setdefault("output", "softmax")
    if kind not in OUTPUTS:
        raise ValueError(f"output is {kind!r}, expected {', '.join(map(repr, OUTPUTS))}")
    options = {name: config.pop(name) for name in USED_BY if name in config}
    arguments = _checked(kind, options, len(vocabulary))
    counts = vocabulary.counts
    if counts is None and kind != "softmax":
        raise ValueError(
            f"output {kind!r} goes by how frequent words are, but the vocabulary has no counts; build it from text "
            "(Vocabulary.build), or give it counts (Vocabulary(words, counts))"
        )
    tied = arguments.pop("tied", False)
    width = embeddings.value.shape[1] if tied else hidden_size
    if tied:
        arguments["table"] = embeddings
    layer = OUTPUTS[kind]("output", width, len(vocabulary), source, counts, **arguments)
    config.update(layer.options, tied=tied)
    return layer if width == hidden_size else Projected(layer, hidden_size, width, source)


def _checked(kind: str, options: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Return the options in the types that JSON has, or raise a ValueError that names a wrong one."""
    checked = dict(options)
    for name, value in options.items():
        if value is not False and kind not in USED_BY[name]:  # False: not tied, which any layer can be
            users = " and ".join(map(repr, USED_BY[name]))
            raise ValueError(f"{name} is {value!r}, but output {kind!r} does not use it, only {users}; leave it out")
    if "num_classes" in options and "cutoffs" in options:
        raise ValueError("num_classes and cutoffs both say what the classes are; leave out one of them")
    if "num_samples" in options:
        checked["num_samples"] = whole_number("num_samples", options["num_samples"], minimum=1, maximum=MAX_SAMPLES)
    for name in ("noise_power", "self_normalising"):
        if name in options:
            checked[name] = real_number(name, options[name])
            if checked[name] < 0:
                raise ValueError(f"{name} is {options[name]}, expected at least 0")
    if checked.get("noise_power", 0) > MAX_POWER:
        raise ValueError(
            f"noise_power is {options['noise_power']}, expected at most {MAX_POWER:g}; 1 draws words as often as the "
            "text has them, 0 all alike"
        )
    if "num_classes" in options:
        checked["num_classes"] = whole_number("num_classes", options["num_classes"], minimum=2)
    if "cutoffs" in options:
        checked["cutoffs"] = _checked_cutoffs(options["cutoffs"], vocab_size)
    return checked


def _checked_cutoffs(cutoffs: Any, vocab_size: int) -> list[int]:
    try:
        numbers = [whole_number("each of the cutoffs", cutoff, minimum=1) for cutoff in cutoffs]
    except TypeError:
        numbers = []
    if not numbers or numbers != sorted(set(numbers)) or numbers[-1] >= vocab_size:
        raise ValueError(
            f"cutoffs are {cutoffs!r}, expected at least one number, rising, from 1 to {vocab_size - 1}, the words"
        )
    return numbers
