"""Output layers for large vocabularies: tokens a second by vocabulary, and how soon the Penn Treebank is learned."""

import argparse
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from machine import print_row, seconds_a_call, spread
from quality import fastlm, find

SMALL_VOCABULARY, LARGE_VOCABULARY, PROSE_VOCABULARY = 10_000, 800_000, 200_000
HIDDEN_SIZE, NUM_SAMPLES, BATCH_SIZE, BPTT_LEN = 256, 256, 64, 35
NUM_BATCHES = 120  # of a text that is learned in turns: its rows do not stay in a cache
PENN = "train rnnlm {train} --valid {valid} -o {model} --threads 1 --embedding-dim {size} --hidden-size {size}"
# What is trained on the Penn Treebank: options, hidden units, and the perplexity and seconds of who is to be beaten.
PENN_ROWS = [
    ("--output nce --dropout 0.2", 100, "faster-rnnlm, NCE", 158.2, 322),
    ("--output sampled --dropout 0.2", 100, "faster-rnnlm, NCE", 158.2, 322),
    ("--output adaptive --dropout 0.2", 100, "rnnlm 0.4b, 100 classes", 157.3, 281),
    ("--output class --dropout 0.2", 100, "rnnlm 0.4b, 100 classes", 157.3, 281),
    ("--output adaptive --dropout 0.3", 200, "rnnlm 0.4b, 100 classes", 151.5, 740),
    ("--output class --dropout 0.3", 200, "rnnlm 0.4b, 100 classes", 151.5, 740),
]
FULL_ROWS = [
    ("--output softmax --dropout 0.2", 100, "rnnlm 0.4b, 100 classes", 157.3, 281),
    ("--output softmax --dropout 0.3", 200, "rnnlm 0.4b, 100 classes", 151.5, 740),
]


def print_samples(options: argparse.Namespace) -> None:
    """Print what a vocabulary 80 times as large costs the layers that learn from samples."""
    small, large = (f"{size:,} words, tokens/s" for size in (SMALL_VOCABULARY, LARGE_VOCABULARY))
    print_row(["one thread, text by rule", small, large, "large / small"], head=True)
    for output in ("sampled", "nce"):
        layer = {"output": output, "num_samples": NUM_SAMPLES}
        turns = take_turns([zipf_step(size, **layer) for size in (SMALL_VOCABULARY, LARGE_VOCABULARY)], options.rounds)
        speeds = [f"{speed:,.0f}" for speed in np.median(turns, axis=0)]
        setting = f"{output}, {NUM_SAMPLES} samples, hidden {HIDDEN_SIZE}, batch {BATCH_SIZE}"
        print_row([setting, *speeds, spread(turns[:, 1] / turns[:, 0])])


def print_prose(options: argparse.Namespace) -> None:
    """Print how much faster than the full softmax real prose of 200,000 words is learned."""
    import fastlm as package

    text = find(options.data, "docs.train.txt")
    vocabulary = package.Vocabulary.build(str(text), max_size=PROSE_VOCABULARY)
    with TemporaryDirectory() as folder:
        part = Path(folder) / "part.txt"
        with text.open("rb") as lines:
            part.write_bytes(lines.read(20_000_000).rpartition(b"\n")[0])
        corpus = package.Corpus.encode(str(part), vocabulary)
        outputs = ("softmax", "adaptive", "class", "sampled")
        turns = take_turns([learning_step(vocabulary, corpus, output=output) for output in outputs], options.rounds)
    print_row(["one thread, docs.train.txt", "tokens/s", "times the softmax"], head=True)
    for output, speeds in zip(outputs, turns.T, strict=True):
        setting = f"{output}, {len(vocabulary):,} words, hidden {HIDDEN_SIZE}, batch {BATCH_SIZE}"
        print_row([setting, f"{np.median(speeds):,.0f}", spread(speeds / turns[:, 0])])


def print_penn(options: argparse.Namespace) -> None:
    """Print how soon validation, exactly normalised, passes where rnnlm 0.4b and faster-rnnlm ended."""
    print_trained(options.data, PENN_ROWS)


def print_full(options: argparse.Namespace) -> None:
    """Print the same of the full softmax, whose perplexity is what the other layers approach."""
    print_trained(options.data, FULL_ROWS)


def print_trained(data: Path, rows: list[tuple[str, int, str, float, int]]) -> None:
    print_row(["command", "tokens/s", "validation at the end", "to pass", "seconds", "a third of theirs"], head=True)
    train, valid = (find(data, name) for name in ("ptb.train.txt", "ptb.valid.txt"))
    for given, size, rival, perplexity, seconds in rows:
        with TemporaryDirectory() as folder:
            words = PENN.format(train=train, valid=valid, model=Path(folder) / "m", size=size).split() + given.split()
            began = time.perf_counter()
            epochs = fastlm(*words)["history"]["epochs"]
            around = time.perf_counter() - began - sum(epoch["seconds"] for epoch in epochs)  # reading, saving
        passed = next((i for i, epoch in enumerate(epochs, 1) if epoch["valid_perplexity"] < perplexity), None)
        needed = "never" if passed is None else f"{around + sum(e['seconds'] for e in epochs[:passed]):.0f}"
        best = min(epoch["valid_perplexity"] for epoch in epochs)
        speed = np.median([epoch["tokens_per_second"] for epoch in epochs])
        command = f"`fastlm train rnnlm … --threads 1 --embedding-dim {size} --hidden-size {size} {given}`"
        print_row([command, f"{speed:,.0f}", f"{best:.1f}", f"{perplexity} ({rival})", needed, f"{seconds / 3:.0f}"])


Step = Callable[[], None]


def zipf_step(vocab_size: int, **output_options) -> Step:
    """Return a step of training on a text by rule: p(k) ~ 1 / k."""
    import fastlm as package

    shares = np.cumsum(1.0 / np.arange(1, vocab_size + 1))
    random = np.random.default_rng(1).random(NUM_BATCHES * BATCH_SIZE * BPTT_LEN)
    ids = np.searchsorted(shares, random * shares[-1]).astype(np.int32)
    counts = np.ceil(1e8 / np.arange(1, vocab_size + 1)).astype(np.int64)
    vocabulary = package.Vocabulary([f"w{i}" for i in range(vocab_size - 2)], counts)
    return learning_step(vocabulary, package.Corpus.from_ids(ids, vocabulary), **output_options)


def learning_step(vocabulary, corpus, **output_options) -> Step:
    """Return a function that takes a step as `fastlm train` does, with Adam."""
    import fastlm as package
    from fastlm.nn.optimizers import Adam, gradient_norm
    from fastlm.nn.parallel import Workers
    from fastlm.nn.workspace import Workspace

    model = package.RNNLM(vocabulary, embedding_dim=HIDDEN_SIZE, hidden_size=HIDDEN_SIZE, dropout=0.0, **output_options)
    workers = Workers(1)
    workspace = Workspace("float32", workers, training=True)
    optimizer = Adam(model.parameter_list)
    batches = cycle(model.training_batches(corpus, batch_size=BATCH_SIZE, bptt_len=BPTT_LEN, seed=(1, 1)))

    def step() -> None:
        for parameter in model.parameter_list:
            parameter.clear_gradient()
        model.loss_and_gradients(next(batches), workspace)
        norm = gradient_norm(model.parameter_list, workers)
        optimizer.step(0.002, workers, scale=min(1.0, 1.0 / norm))
        workspace.step += 1

    return step


def take_turns(steps: list[Step], rounds: int) -> np.ndarray:
    """Let contenders take turns: tokens a second, (rounds, contenders)."""
    seconds = np.array([[seconds_a_call(step) for step in steps] for _ in range(rounds)])
    return BATCH_SIZE * BPTT_LEN / seconds
