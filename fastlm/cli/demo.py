"""The verb `demo`: what fastlm does, in about a minute, on a text that comes with it."""

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastlm.cli.options import whole_number
from fastlm.cli.output import print_table

if TYPE_CHECKING:
    from fastlm.models import NeuralModel
    from fastlm.text.corpus import Corpus

__all__ = ["add_parser"]

HELD_OUT = 0.05  # of the lines, the last ones: what is measured at the end
VALIDATION = 0.02  # the ones before them: what the best epoch is chosen by
LINES_SHOWN = 6
TOKENS_GENERATED = 90


class Recipe(NamedTuple):
    """How a kind of model is made and trained."""

    name: str
    model: dict[str, Any]
    training: dict[str, Any]
    epochs: int


class Show(NamedTuple):
    """A sample text, the models that are trained on it, and what they are asked then."""

    text: str
    title: str
    vocabulary: dict[str, Any]
    recipes: tuple[Recipe, ...]
    prompts: tuple[str, ...]
    words: tuple[str, ...]


# Sizes and rates are a compromise of what is learned in a minute: few words, few units, quick steps.
SHAKESPEARE = Show(
    text="shakespeare",
    title="Shakespeare's plays",
    vocabulary={"tokenizer": "word", "lower_case": True, "min_count": 5},
    recipes=(
        Recipe(
            "NNLM",
            {"embedding_dim": 100, "hidden_size": 100, "dropout": 0.3, "context": "continuous"},
            {"batch_size": 64, "learning_rate": 0.004},
            epochs=3,
        ),
        Recipe(
            "RNNLM",
            {"embedding_dim": 100, "hidden_size": 128, "dropout": 0.2},
            {"learning_rate": 0.003},
            epochs=4,
        ),
    ),
    prompts=("The duke of", "God save the", "Farewell, my"),
    words=("good", "shall", "hath", "first", "two", "sir", "duke"),
)
KOREAN = Show(
    text="korean",
    title="Korean film reviews",
    vocabulary={"tokenizer": "word", "min_count": 3},
    recipes=(
        Recipe(
            "NNLM",
            {"embedding_dim": 64, "hidden_size": 100, "dropout": 0.3},
            {"batch_size": 64, "learning_rate": 0.003},
            epochs=3,
        ),
        Recipe(
            "RNNLM",
            {"embedding_dim": 100, "hidden_size": 128, "dropout": 0.3, "context": "sentence"},
            {"learning_rate": 0.003},
            epochs=4,
        ),
    ),
    prompts=("정말", "이 영화는", "배우들의 연기가"),
    words=("재밌게", "너무", "정말", "감동적인", "배우들의", "ㅋㅋ"),
)


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "see in about a minute what fastlm does: train and use two models on a sample text"
    parser = verbs.add_parser("demo", help=purpose, description=f"{purpose.capitalize()}.", allow_abbrev=False)
    parser.set_defaults(run=demo)
    parser.add_argument("--korean", action="store_true", help="take Korean film reviews in place of Shakespeare")
    parser.add_argument(
        "-o", "--output", metavar="DIRECTORY", help="where the model files go (a new directory for temporary files)"
    )
    parser.add_argument("--seed", metavar="N", type=whole_number(0), default=1, help="of all that is random (1)")
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")


def demo(options: argparse.Namespace) -> None:
    """Train both models on a sample text, and print what they have learned."""
    show = KOREAN if options.korean else SHAKESPEARE
    directory = _make_directory(options.output)
    train, valid, held_out = _read(show)
    models: dict[str, NeuralModel] = {}
    paths: dict[str, Path] = {}
    for recipe in show.recipes:
        path = paths[recipe.name] = directory / f"{recipe.name.lower()}.fastlm"
        models[recipe.name] = _train(recipe, train, valid, path, options)
    _print_perplexities(models, train, held_out, options.threads)
    _print_predictions(models, show.prompts)
    _print_texts(models, options.seed)
    _print_neighbours(models, show.words)
    _print_paths(paths, show)


def _make_directory(name: str | None) -> Path:
    from fastlm.storage import check_writable
    from fastlm.storage.files import system_failures

    if name is None:
        return Path(tempfile.mkdtemp(prefix="fastlm-demo-"))
    directory = Path(name)
    with system_failures("create the directory", name):
        directory.mkdir(parents=True, exist_ok=True)
    check_writable(directory / "model")
    return directory


def _read(show: Show) -> tuple["Corpus", "Corpus", "Corpus"]:
    """Split the sample text in three, and build the vocabulary of its first part."""
    from fastlm.data import sample_text
    from fastlm.text.corpus import Corpus
    from fastlm.text.source import TextReader
    from fastlm.text.vocabulary import Vocabulary

    lines = [line for block in TextReader(sample_text(show.text)).line_blocks() for line in block]
    last = round(len(lines) * (1 - HELD_OUT))
    cut = last - round(len(lines) * VALIDATION)
    vocabulary = Vocabulary.build(lines[:cut], **show.vocabulary)
    parts = (lines[:cut], lines[cut:last], lines[last:])
    train, valid, held_out = (Corpus.encode(part, vocabulary) for part in parts)
    _say(
        f"{show.title}: {train.num_tokens:,} tokens to train on, {valid.num_tokens:,} to choose the best epoch by, "
        f"{held_out.num_tokens:,} held out, vocabulary of {len(vocabulary):,} words"
    )
    return train, valid, held_out


def _train(recipe: Recipe, train: "Corpus", valid: "Corpus", path: Path, options: argparse.Namespace) -> "NeuralModel":
    from fastlm.models import NETWORKS
    from fastlm.training.trainer import Trainer

    model = NETWORKS[recipe.name.lower()](train.vocabulary, **recipe.model | {"seed": options.seed})
    size = sum(array.size for array in model.parameters.values())
    _say(f"training an {recipe.name} of {size:,} parameters")
    trainer = Trainer(model, seed=options.seed, threads=options.threads, progress=True, output=path, **recipe.training)
    if trainer.fit(train, valid, epochs=recipe.epochs).ended == "interrupted":
        raise KeyboardInterrupt(f"interrupted; the best {recipe.name} so far is in {path}")
    return model


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _print_perplexities(
    models: dict[str, "NeuralModel"], train: "Corpus", held_out: "Corpus", threads: int | None
) -> None:
    print(f"Perplexity on {held_out.num_tokens:,} held-out tokens\n")
    rows = [("", "   all", "without unknown words"), ("  word counts alone", *map(_figure, _unigram(train, held_out)))]
    for name, model in models.items():
        report = model.evaluate(held_out, threads=threads)
        rows.append((f"  {name}", _figure(report.perplexity), _figure(report.perplexity_without_unknown)))
    print_table(rows)


def _figure(perplexity: float) -> str:
    return f"{perplexity:6.1f}"


def _unigram(train: "Corpus", held_out: "Corpus") -> tuple[float, float]:
    """Perplexity of the words' frequencies in the training text, with and without unknown words."""
    import numpy as np

    counts = np.maximum(np.bincount(train.ids, minlength=len(train.vocabulary)), 1)
    losses = (math.log(counts.sum()) - np.log(counts))[held_out.ids]
    known = held_out.ids != train.vocabulary.unknown_id
    return math.exp(losses.mean()), math.exp(losses[known].mean())


def _print_predictions(models: dict[str, "NeuralModel"], prompts: Sequence[str]) -> None:
    print("\nWhat comes next? (</s> is the end of the line)")
    for prompt in prompts:
        print(f"\n  {prompt} …")
        rows = []
        for name, model in models.items():
            cells = [f"{word} {100 * probability:.1f} %" for word, probability in model.predict(prompt, k=5)]
            rows.append([f"    {name}", *cells])
        print_table(rows)


def _print_texts(models: dict[str, "NeuralModel"], seed: int) -> None:
    from fastlm.inference.generation import generate

    print("\nText that they make up")
    for name, model in models.items():
        text = generate(model, max_tokens=TOKENS_GENERATED, temperature=0.8, seed=seed, stop_at_end=False)
        print(f"\n  {name}")
        lines = [line for line in text.split("\n")[:-1] if line] or [text]  # the last one is cut off
        for line in lines[:LINES_SHOWN]:
            print(f"    {line}")


def _print_neighbours(models: dict[str, "NeuralModel"], words: Sequence[str]) -> None:
    name, model = next(iter(models.items()))
    print(f"\nWords used alike, by the {name}'s embeddings\n")
    known = [word for word in words if word in model.vocabulary]
    print_table([(f"  {word}", ", ".join(neighbour.word for neighbour in model.similar(word, k=4))) for word in known])


def _print_paths(paths: dict[str, Path], show: Show) -> None:
    print("\nThe models\n")
    print_table([(f"  {path}", f"{path.stat().st_size / 1e6:.1f} MB") for path in paths.values()])
    last = list(paths.values())[-1]
    print(f"\nGo on:  fastlm generate {shlex.quote(str(last))} --prompt {shlex.quote(show.prompts[-1])}")
