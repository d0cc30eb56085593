"""What a table of all tokens of a text costs, beside the forward part of training: `fastlm score`, one thread."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from contenders import BPTT_LEN, VOCAB_SIZE
from forward import training_forward
from machine import print_row, spread

import fastlm
from fastlm.cli import main

BATCH = 20  # streams of the training step, as in the recipe
TOKENS = 20_000


def print_scoring(text: Path, num_tokens: int, rounds: int) -> None:
    """Print tokens a second of an LSTM of the recipe's size, in turns; figures of speed need no training."""
    with TemporaryDirectory(prefix="fastlm-") as name:
        folder = Path(name)
        vocabulary = fastlm.Vocabulary.build(text, max_size=VOCAB_SIZE)
        part = folder / "part.txt"
        part.write_text("".join(beginning(text, num_tokens)), encoding="utf-8")
        corpus = fastlm.Corpus.encode(part, vocabulary)
        head = ["context", "tokens", "forward part of training, tokens/s", "score --table --no-distribution, tokens/s"]
        print_row([*head, "times forward", "score --table, tokens/s", "times forward"], head=True)
        for context in ("sentence", "continuous"):
            model = fastlm.recipe("lstm", context=context).model(vocabulary)
            model.save(folder / "model.fastlm")
            forward = training_forward(model, corpus, BATCH)
            steps = -(-corpus.num_tokens // (BATCH * BPTT_LEN))
            arguments = ["score", str(folder / "model.fastlm"), str(part), "--table", str(folder / "table.tsv")]
            arguments += ["--threads", "1", "--no-verify"]
            calls = {
                "forward": lambda forward=forward, steps=steps: [forward() for _ in range(steps)],
                "probabilities": lambda arguments=arguments: main([*arguments, "--no-distribution"]),
                "distributions": lambda arguments=arguments: main(arguments),
            }
            sizes = {"forward": steps * BATCH * BPTT_LEN}
            rates = in_turns(calls, {name: sizes.get(name, corpus.num_tokens) for name in calls}, rounds)
            cells = [context, f"{corpus.num_tokens:,}", f"{np.median(rates['forward']):,.0f}"]
            for kind in ("probabilities", "distributions"):
                cells += [f"{np.median(rates[kind]):,.0f}", spread(rates[kind] / rates["forward"])]
            print_row(cells)


def beginning(text: Path, num_tokens: int) -> Iterator[str]:
    """Yield so many lines as hold these tokens, `</s>` included."""
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            yield line
            num_tokens -= len(line.split()) + 1
            if num_tokens <= 0:
                return


def in_turns(calls: dict[str, Callable[[], object]], sizes: dict[str, int], rounds: int) -> dict[str, np.ndarray]:
    """Return tokens a second of each call in each round; one round comes before."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            rates[name].append(sizes[name] / (time.perf_counter() - began))
    return {name: np.array(values[1:]) for name, values in rates.items()}
