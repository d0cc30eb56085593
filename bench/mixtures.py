"""The part `mixture` of `python bench ngram`: a network and the 5-gram, with dynamic evaluation and a cache."""

import time
from dataclasses import asdict
from pathlib import Path

import fastlm

TUNED_TOKENS = 10_000  # from the beginning of the validation text
OFF = {"dynamic evaluation": {"cache_weight": 0.0}, "cache": {"learning_rate": 0.0}, "both": {}}


def measure_mixture(path: Path, train: Path, valid: Path) -> list[list[str]]:
    """Return rows: the network as it is and adapting, alone and mixed with the 5-gram."""
    network = fastlm.load(path)
    vocabulary = network.vocabulary
    counts = fastlm.NGramLM(vocabulary, order=5).fit(fastlm.Corpus.encode(train, vocabulary))
    text = fastlm.Corpus.encode(valid, vocabulary)
    held_out = fastlm.Corpus.from_ids(text.ids[:TUNED_TOKENS].copy(), vocabulary)
    tuned = fastlm.Adapted(network).tune(held_out, threads=1)
    models: dict[str, tuple[fastlm.LanguageModel, str]] = {"": (network, "")}
    for name, off in OFF.items():
        settings = asdict(tuned.settings) | off
        models[name] = fastlm.Adapted(network, **settings), described(settings)
    alone = fastlm.Adapted(counts).tune(held_out, threads=1)
    rows = [
        ["5-gram", "", f"{counts.evaluate(text, threads=1).perplexity:.2f}", "", "", ""],
        [
            "5-gram",
            "cache",
            f"{alone.evaluate(text, threads=1).perplexity:.2f}",
            "",
            "",
            described(asdict(alone.settings), has_keys=False),
        ],
    ]
    for name, (model, settings) in models.items():
        mixture = fastlm.Mixture([model, counts]).tune(held_out, num_streams=1, threads=1)
        began = time.process_time()
        own, _, mixed = mixture.compare(text, num_streams=1, threads=1)
        rate = f"{text.num_tokens / (time.process_time() - began):,.0f}"
        figures = [f"{own.perplexity:.2f}", f"{mixed.perplexity:.2f} ({mixture.weights[0]:.2f})", rate]
        rows.append([path.name, name, *figures, settings])
    return rows


def described(settings: dict[str, float], *, has_keys: bool = True) -> str:
    """Say how a model adapts; what is off, or means nothing to it, is not said."""
    names = ["learning_rate", "decay", "segment_size"] if settings["learning_rate"] else []
    names += ["cache_size", "cache_weight"] if settings["cache_weight"] else []
    names += ["flatness"] if settings["cache_weight"] and has_keys else []
    return ", ".join(f"{name.replace('_', ' ')} {settings[name]:.4g}" for name in names)
