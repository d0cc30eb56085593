"""Small models of every kind, and what is made of them."""

from collections.abc import Callable

import numpy as np

from fastlm import NNLM, RNNLM, Adapted, Corpus, Mixture, NGramLM, Vocabulary, gradient_sizes
from fastlm.models import LanguageModel

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는", "a", "b"]
VOCABULARY = Vocabulary(WORDS, np.arange(11, 0, -1))
V = len(VOCABULARY)
IDS = np.concatenate(
    [[*np.random.default_rng(n).integers(2, V, n % 7), *([0] * (n % 2)), 1] for n in range(12)] + [[5, 3, 4]]
).astype(np.int32)
CORPUS = Corpus.from_ids(IDS, VOCABULARY)
TRAIN = Corpus.from_ids(np.tile(np.roll(IDS, 5), 3), VOCABULARY)
ADAPTING = {"learning_rate": 0.3, "decay": 0.05, "segment_size": 3, "cache_size": 9, "flatness": 0.3}


def network(kind: type = RNNLM, context: str = "continuous", seed: int = 1, **options: object) -> LanguageModel:
    model = kind(
        VOCABULARY, **({"embedding_dim": 5, "hidden_size": 7, "dtype": "float64", "context": context} | options)
    )
    random = np.random.default_rng(seed)
    for parameter in model.parameter_list:
        parameter.value += 0.7 * random.normal(size=parameter.value.shape).astype(model.dtype)
    return model


def window(context: str = "sentence", **options: object) -> LanguageModel:
    return network(NNLM, context, seed=2, context_size=3, **options)


def ngram(order: int = 3, smoothing: str = "kneser-ney") -> LanguageModel:
    return NGramLM(VOCABULARY, order=order, smoothing=smoothing).fit(TRAIN)


def measured(model: LanguageModel) -> LanguageModel:
    return Adapted(model, gradient_sizes=gradient_sizes(model, TRAIN, threads=1), **ADAPTING)


MODELS: dict[str, Callable[[], LanguageModel]] = {
    "sentences": lambda: Mixture([window(), ngram()], [0.3, 0.7]),
    "network and counts": lambda: Mixture([network(), ngram()], [0.6, 0.4]),
    "all kinds": lambda: Mixture(
        [window("continuous"), network(), ngram(1, "none"), network(RNNLM, "sentence", 3), network(RNNLM, seed=5)]
    ),
    "windows and sentences": lambda: Mixture([window("continuous"), network(RNNLM, "sentence", 3)]),
    "float32": lambda: Mixture([network(dtype="float32"), window(output="class", num_classes=4, dtype="float32")]),
    "dynamic": lambda: Adapted(network(), cache_weight=0.0, **ADAPTING),
    "dynamic, by gradient sizes": lambda: measured(network(output="class", num_classes=4)),
    "cache": lambda: Adapted(network(RNNLM, "sentence"), **(ADAPTING | {"learning_rate": 0.0})),
    "dynamic and cache": lambda: Adapted(network(), **ADAPTING),
    "window": lambda: Adapted(window(direct=True), **ADAPTING),
    "window, continuous": lambda: Adapted(window("continuous"), **ADAPTING),
    "layers of an LSTM, tied": lambda: Adapted(
        network(cell="lstm", num_layers=2, embedding_dim=7, tied=True, context="sentence"), **ADAPTING
    ),
    "sampled": lambda: Adapted(network(output="sampled", num_samples=5), **ADAPTING),
    "counts with a cache": lambda: Adapted(ngram(), cache_size=9),
    "mixture with a cache": lambda: Adapted(Mixture([ngram(), network()]), cache_size=9),
    "mixture of adapted": lambda: Mixture([Adapted(network(), **ADAPTING), ngram(), network(seed=4)]),
}


def one_by_one(model: LanguageModel, ids: np.ndarray, state: object = None) -> np.ndarray:
    scores, state = [], state or model.start()
    for id in ids.tolist():
        scores.append(model.log_probs(state)[id])
        state = model.advance(state, id)
    return np.array(scores)
