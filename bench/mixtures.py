"""The part `mixture` of `python bench ngram`: a network and the 5-gram, with dynamic evaluation and a cache."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

import fastlm

TUNED_TOKENS = 10_000  # from the beginning of the validation text


def measure_mixture(path: Path, train: Path, valid: Path) -> Iterator[list[str]]:
    """Yield rows: the network as it is and adapting, alone and mixed with the 5-gram."""
    network = fastlm.load(path)
    vocabulary = network.vocabulary
    learned = fastlm.Corpus.encode(train, vocabulary)
    counts = fastlm.NGramLM(vocabulary, order=5).fit(learned)
    text = fastlm.Corpus.encode(valid, vocabulary)
    held_out = fastlm.Corpus.from_ids(text.ids[:TUNED_TOKENS].copy(), vocabulary)
    alone = fastlm.Adapted(counts).tune(held_out, threads=1)
    yield ["5-gram", "", f"{counts.evaluate(text, threads=1).perplexity:.2f}", "", "", ""]
    perplexity = alone.evaluate(text, threads=1).perplexity
    yield ["5-gram", "cache", f"{perplexity:.2f}", "", "", described(asdict(alone.settings), has_keys=False)]
    sizes = fastlm.gradient_sizes(network, learned, threads=1)
    for name, model in adapting(network, sizes, held_out):
        settings = described(asdict(model.settings)) if isinstance(model, fastlm.Adapted) else ""
        mixture = fastlm.Mixture([model, counts]).tune(held_out, num_streams=1, threads=1)
        began = time.process_time()
        own, _, mixed = mixture.compare(text, num_streams=1, threads=1)
        rate = f"{text.num_tokens / (time.process_time() - began):,.0f}"
        figures = [f"{own.perplexity:.2f}", f"{mixed.perplexity:.2f} ({mixture.weights[0]:.2f})", rate]
        yield [path.name, name, *figures, settings]


def adapting(
    network: fastlm.LanguageModel, sizes: Mapping[str, np.ndarray], held_out: fastlm.Corpus
) -> Iterator[tuple[str, fastlm.LanguageModel]]:
    """Yield the network as it is, and in each way in which it adapts, tuned."""
    yield "", network
    tuned = fastlm.Adapted(network, gradient_sizes=sizes).tune(held_out, threads=1)
    without_cache = asdict(tuned.settings) | {"cache_weight": 0.0}
    yield "dynamic evaluation", fastlm.Adapted(network, **without_cache, gradient_sizes=sizes)
    yield "cache", fastlm.Adapted(network, learning_rate=0.0).tune(held_out, threads=1)
    yield "both", tuned


def described(settings: dict[str, float], *, has_keys: bool = True) -> str:
    """Say how a model adapts; what is off, or means nothing to it, is not said."""
    names = ["learning_rate", "decay", "segment_size"] if settings["learning_rate"] else []
    names += ["cache_size", "cache_weight"] if settings["cache_weight"] else []
    names += ["flatness"] if settings["cache_weight"] and has_keys else []
    return ", ".join(f"{name.replace('_', ' ')} {settings[name]:.4g}" for name in names)
