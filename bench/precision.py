"""Train the same models in float32, in float64, and with products of bfloat16 where the CPU has them.

float64 takes exp and tanh from libm and rounds a billion times more finely; its perplexities after the same epochs must
lie within the spread that seeds make: speed is not bought with precision. Nor is it by rounding what is multiplied.
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
    from fastlm.nn.parallel import possible_precisions

    paths = [find(options.data, f"ptb.{name}.txt") for name in ("train", "valid")]
    vocabulary = fastlm.Vocabulary.build(paths[0])
    train, valid = (fastlm.Corpus.encode(path, vocabulary) for path in paths)
    print_row([f"RNNLM, {MODEL}", "validation perplexity by seed", "mean", "tokens/s"], head=True)
    for precision in ("float64", *possible_precisions()):
        dtype = "float64" if precision == "float64" else "float32"
        perplexities, rates = [], []
        for seed in range(1, options.seeds + 1):
            model = fastlm.RNNLM(vocabulary, **MODEL, seed=seed, dtype=dtype)
            trainer = fastlm.Trainer(model, seed=seed, precision="bfloat16" if precision == "bfloat16" else None)
            rates += [epoch.tokens_per_second for epoch in trainer.fit(train, epochs=options.epochs).epochs]
            perplexities.append(model.evaluate(valid).perplexity)
        values = ", ".join(f"{value:.2f}" for value in perplexities)
        print_row([precision, values, f"{np.mean(perplexities):.2f}", f"{np.median(rates):,.0f}"])
    return 0
