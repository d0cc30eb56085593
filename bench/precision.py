"""Train the same models in float32 and in float64: speed is not bought with precision.

float64 takes exp and tanh from libm and rounds a billion times more finely; its perplexities after the same epochs must
lie within the spread that seeds make.
"""

import argparse

import numpy as np
from machine import print_row
from quality import find

MODEL = {"embedding_dim": 100, "hidden_size": 100, "dropout": 0.1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=2, help="passes over the Penn Treebank (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each type (default: 3)")


def run(options: argparse.Namespace) -> int:
    import fastlm

    paths = [find(options.data, f"ptb.{name}.txt") for name in ("train", "valid")]
    vocabulary = fastlm.Vocabulary.build(paths[0])
    train, valid = (fastlm.Corpus.encode(path, vocabulary) for path in paths)
    print_row([f"RNNLM, {MODEL}", "validation perplexity by seed", "mean"], head=True)
    for dtype in ("float32", "float64"):
        perplexities = []
        for seed in range(1, options.seeds + 1):
            model = fastlm.RNNLM(vocabulary, **MODEL, seed=seed, dtype=dtype)
            fastlm.Trainer(model, seed=seed).fit(train, epochs=options.epochs)
            perplexities.append(model.evaluate(valid).perplexity)
        print_row([dtype, ", ".join(f"{value:.2f}" for value in perplexities), f"{np.mean(perplexities):.2f}"])
    return 0
