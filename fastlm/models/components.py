"""Models inside of models: how they lie in one model file, and that they have one vocabulary.

In the config of a model that is made of others stands, for each of them, a dict of its `architecture`, `config` and
`info`; its arrays have the names `model0.…`, `model1.…` in front of their own.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from fastlm.errors import ModelFileError
from fastlm.modelfile import ModelContents
from fastlm.models.base import LanguageModel
from fastlm.text.vocabulary import Vocabulary

__all__ = ["check_one_vocabulary", "component_arrays", "described_components", "read_components"]

SHOWN_WORDS = 5  # in a message


def described_components(models: Sequence[LanguageModel]) -> list[dict[str, Any]]:
    """Return what a config says of the models, as JSON has it."""
    return [{"architecture": model.architecture, "config": model.config, "info": model.info} for model in models]


def component_arrays(models: Sequence[LanguageModel]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all the models, by the names that they have together."""
    return {
        f"model{number}.{name}": array
        for number, model in enumerate(models)
        for name, array in model.parameters.items()
    }


def read_components(contents: ModelContents) -> list[LanguageModel]:
    """Build the models that the config of a model file describes, over the file's own arrays."""
    from fastlm.models import ARCHITECTURES  # which has the models that are made of others, too

    described = contents.config.get("models")
    if not isinstance(described, list) or not described:
        raise ModelFileError("the model file does not say of which models it is made; it is damaged")
    arrays: list[dict[str, NDArray[Any]]] = [{} for _ in described]
    numbers = {f"model{number}": number for number in range(len(described))}
    for name, array in contents.arrays.items():
        owner, _, rest = name.partition(".")
        if owner not in numbers:
            raise ModelFileError(f"the model file holds an array {name!r} that belongs to none of its models")
        arrays[numbers[owner]][rest] = array
    models: list[LanguageModel] = []
    for entry, own in zip(described, arrays, strict=True):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("architecture"), str)
            or entry["architecture"] not in ARCHITECTURES
            or not all(isinstance(entry.get(name), dict) for name in ("config", "info"))
        ):
            raise ModelFileError(
                "the model file is made of models of which one is not described by an architecture "
                f"({', '.join(ARCHITECTURES)}), config and info; it is damaged, or of a newer version of fastlm"
            )
        part = ModelContents(entry["architecture"], entry["config"], contents.vocabulary, own, entry["info"])
        models.append(ARCHITECTURES[part.architecture].from_contents(part))
    return models


def check_one_vocabulary(models: Sequence[LanguageModel]) -> Vocabulary:
    """Return the vocabulary of all the models, or raise a ValueError that says in what two of them differ."""
    first = models[0].vocabulary
    for number, model in enumerate(models[1:], start=2):
        if model.vocabulary is not first and model.vocabulary != first:
            raise ValueError(
                f"models 1 and {number} have different vocabularies: {_difference(first, model.vocabulary)}; train "
                "both with one vocabulary (--vocab takes that of a model)"
            )
    return first


def _difference(one: Vocabulary, other: Vocabulary) -> str:
    sides = []
    for here, there, place in ((one, other, "first"), (other, one, "second")):
        if missing := [word for word in here.words if word not in there]:
            sides.append(f"{_some(missing)} only in the {place}")
    if sides:
        return ", ".join(sides)
    at = next((id for id, pair in enumerate(zip(one.words, other.words, strict=True)) if pair[0] != pair[1]), None)
    if at is not None:
        return f"the words are the same, but in another order: id {at} is {one.word(at)!r} and {other.word(at)!r}"
    return f"the words are the same, but their tokenizers are {one.tokenizer.spec} and {other.tokenizer.spec}"


def _some(words: Sequence[str]) -> str:
    shown = ", ".join(map(repr, islice(words, SHOWN_WORDS)))
    return shown if len(words) <= SHOWN_WORDS else f"{shown} … ({len(words):,} words)"
