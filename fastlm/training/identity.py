"""What is written down of a run: what makes two runs the same, for checkpoints, and how a model was trained."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastlm.models import NeuralModel
from fastlm.storage import Source
from fastlm.text.corpus import Corpus
from fastlm.training.history import Epoch, finite

if TYPE_CHECKING:
    from fastlm.training.trainer import Trainer

__all__ = ["RUN_OPTIONS", "check_same_run", "run_identity", "training_info", "with_added_settings"]

ALWAYS = (
    *("batch_size", "bptt_len", "random_bptt_len", "optimizer", "learning_rate", "momentum", "weight_decay"),
    *("schedule", "warmup_steps", "max_grad_norm", "seed"),
)
IF_GIVEN = ("averaging_patience", "precision", "time_limit", "valid_tokens")
RUN_OPTIONS = (*ALWAYS, "patience", *IF_GIVEN)  # of a Trainer: all that decides about the result


def training_info(trainer: "Trainer", train: Corpus, epochs: int, epoch: Epoch | None) -> dict[str, Any]:
    """Describe a run for the model file, at an epoch; no times, so that equal models are equal bytes."""
    info = {name: getattr(trainer, name) for name in ALWAYS}
    info |= {name: getattr(trainer, name) for name in IF_GIVEN if getattr(trainer, name) is not None}
    info |= {"epochs": epochs, "train_tokens": train.num_tokens}
    if epoch is not None:
        kept = asdict(epoch)
        info |= {name: kept[name] for name in ("epoch", "step", "train_loss", "valid_loss")}
    made_by = {} if trainer.recipe is None else {"recipe": trainer.recipe.described(trainer.model, epochs)}
    return made_by | {"training": {name: finite(value) for name, value in info.items()}}


def run_identity(trainer: "Trainer", train: Corpus, valid: Corpus | None, epochs: int) -> dict[str, str]:
    """Describe a run before its first step by all that decides about its result, in words.

    Threads, names of files and messages do not. The texts are read once, for their checksums.
    """
    model = trainer.model
    sizes = {name: value for name, value in model.config.items() if name != "seed"}
    options = {name: getattr(trainer, name) for name in RUN_OPTIONS}
    values = {"architecture": model.architecture, **sizes, **options, "epochs": epochs}
    if trainer.recipe is not None:
        values["recipe"] = trainer.recipe.described(model, epochs)
    return _in_words(values) | {
        "vocabulary": f"{len(model.vocabulary):,} words, {model.vocabulary.fingerprint()[:12]}",
        "training text": _fingerprint(train),
        "validation text": "not given" if valid is None else _fingerprint(valid),
        "initial parameters": _parameters_fingerprint(model),
    }


def with_added_settings(before: Mapping[str, str], model: NeuralModel) -> dict[str, str]:
    """Return the run of a checkpoint with the settings that there were not yet, as they were in effect then."""
    return _in_words(model.added_later | {"precision": None}) | dict(before)


def _in_words(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: "not given" if value is None else str(value) for name, value in values.items()}


def check_same_run(folder: Source, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise a ValueError that names every difference between the run of a checkpoint and the one that is asked for.

    Examples
    --------
    >>> check_same_run("checkpoints", {"seed": "1"}, {"seed": "1"})
    """
    pairs = {name: (now.get(name, "not known"), before.get(name, "not known")) for name in {**now, **before}}
    words = [f"{name} is {value}, there {other}" for name, (value, other) in pairs.items() if value != other]
    if words:
        raise ValueError(
            f"the checkpoints in {os.fspath(folder)!r} are those of another run: {'; '.join(words)}. Give that run's "
            "options and texts to go on with it, or begin a new one in another directory"
        )


def _fingerprint(corpus: Corpus) -> str:
    return f"{corpus.num_tokens:,} tokens with the CRC-32 {zlib.crc32(corpus.ids.data):08x}"


def _parameters_fingerprint(model: NeuralModel) -> str:
    value = 0
    for name, array in sorted(model.parameters.items()):
        value = zlib.crc32(array.reshape(-1).view("u1").data, zlib.crc32(name.encode(), value))
    return f"those with the CRC-32 {value:08x}"
