"""Frozen window models: queries a second from text, what they cost in perplexity, and how quickly a file opens."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from machine import print_row

import fastlm

ROUNDS = 15
OPENINGS = 50
LARGE = {"vocab_size": 50_000, "context_size": 4, "hidden_size": 100}  # 100 MB
Seconds = tuple[float, float]  # of the clock, and of the processor


def measure_frozen(models: Mapping[str, fastlm.LanguageModel], text: Path, valid: Path) -> None:
    """Print a table of window models, frozen, one thread; contenders take turns, figures are medians.

    The text that is scored is the training text, from its file; perplexities are those of the validation text.
    """
    with TemporaryDirectory() as scratch:
        contenders: dict[str, fastlm.LanguageModel] = {}
        rows = {}
        for name, model in models.items():
            for dtype in ("float32", "int8"):
                path = Path(scratch) / f"{len(rows)}.fastlm"  # a name may be a whole path
                rows[f"{name}, {dtype}"] = freeze(model, dtype, valid, path)
                contenders[f"{name}, {dtype}"] = fastlm.load(path, verify=False)
        vocabulary = next(iter(models.values())).vocabulary
        counts = fastlm.NGramLM(vocabulary).fit(fastlm.Corpus.encode(text, vocabulary))
        contenders["5-gram"] = counts
        perplexity = counts.evaluate(fastlm.Corpus.encode(valid, vocabulary), threads=1).perplexity
        rows["5-gram"] = ["", f"{perplexity:.2f}", *[""] * 5]
        columns = ["model", "perplexity before", "frozen, exact", "of the scores", "abs(log Z), mean", "99 %"]
        print_row([*columns, "MB", "ms to open", "queries a second", "a CPU second"], head=True)
        rates = queries_a_second(contenders, text)
        for name, cells in rows.items():
            print_row([name, *cells, *(f"{rate:,.0f}" for rate in rates[name])])
        large = Path(scratch) / "large.fastlm"
        made_large().save(large)
        print(f"\nopening {large.stat().st_size / 1e6:.0f} MB, not verified: {milliseconds_to_open(large):.2f} ms")


def freeze(model: fastlm.LanguageModel, dtype: str, valid: Path, path: Path) -> list[str]:
    """Freeze a model to a file; return what is told of it."""
    corpus = fastlm.Corpus.encode(valid, model.vocabulary)
    frozen = fastlm.FrozenNNLM.of(model, dtype=dtype).centred(corpus, threads=1)
    report = frozen.measure(corpus, threads=1)
    frozen.save(path)
    return [
        f"{model.evaluate(corpus, threads=1).perplexity:.2f}",
        f"{report.perplexity:.2f}",
        f"{frozen.evaluate(corpus, threads=1, normalised=False).perplexity:.2f}",
        f"{report.log_norm_mean:.3f}",
        f"{report.log_norm_99:.3f}",
        f"{path.stat().st_size / 1e6:.1f}",
        f"{milliseconds_to_open(path):.2f}",
    ]


def milliseconds_to_open(path: Path) -> float:
    """Open a file, again and again, without verifying it."""
    taken = []
    for _ in range(OPENINGS):
        began = time.perf_counter()
        fastlm.load(path, verify=False)
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken)


def queries_a_second(contenders: Mapping[str, fastlm.LanguageModel], text: Path) -> dict[str, Seconds]:
    """Score a file from its bytes, by all in turns."""
    taken: dict[str, list[Seconds]] = {name: [] for name in contenders}
    num_tokens = 0
    for number in range(ROUNDS + 1):
        for name, model in contenders.items():
            num_tokens, seconds = timed(lambda model=model: sum(map(len, model.text_log_probs(text, threads=1))))
            if number > 0:  # the first has the caches its own
                taken[name].append(seconds)
    return {
        name: (num_tokens / median(clock for clock, _ in rounds), num_tokens / median(cpu for _, cpu in rounds))
        for name, rounds in taken.items()
    }


def timed(call: Callable[[], int]) -> tuple[int, Seconds]:
    began, used = time.perf_counter(), time.process_time()
    result = call()
    return result, (time.perf_counter() - began, time.process_time() - used)


def made_large() -> fastlm.FrozenNNLM:
    """Make a frozen model of 100 MB."""
    vocab_size, size, hidden_size = LARGE.values()
    vocabulary = fastlm.Vocabulary([f"w{number}" for number in range(vocab_size - 2)])
    arrays = {
        "hidden.rows": np.ones((vocab_size + 1, size, hidden_size), np.float32),
        "hidden.bias": np.ones(hidden_size, np.float32),
        "output.weight": np.ones((vocab_size, hidden_size), np.float32),
        "output.bias": np.ones(vocab_size, np.float32),
    }
    sizes = {"context_size": size, "hidden_size": hidden_size}
    return fastlm.FrozenNNLM(vocabulary, arrays, **sizes, activation="tanh", context="sentence")
