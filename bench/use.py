"""Measure models in other people's software: n-best lists rescored, one model under many threads, texts scored.

Parts: rescore (100-best lists with shared prefixes against hypothesis by hypothesis), threads (8 threads that hammer
one model through its states, against what one gets), score (tables of all tokens against the forward part of training),
frozen (queries a second of window models that are frozen, which --window names). Sentences and vocabulary are those of
the Penn Treebank in the folder that --data names. The models of rescore and threads are given by --model; without, some
are made as large as those of bench quality, with parameters drawn at random, and a 5-gram model of the training text.
The text of score is docs.valid.txt, its model an LSTM of the recipe's size.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from frozen import measure_frozen
from lists import RULES
from machine import print_row, spread
from scoring import TOKENS, print_scoring

import fastlm

NUM_HYPOTHESES = 100
FEWEST_WORDS = 10  # in a sentence that a list is made from
NUM_THREADS = 8
Scorer = Callable[[fastlm.LanguageModel, Sequence[str]], np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which (default: all): {', '.join(PARTS)}")
    parser.add_argument("--model", type=Path, action="append", help="a model file, for rescore and threads")
    parser.add_argument("--window", type=Path, action="append", help="an NNLM trained to be frozen, for frozen")
    parser.add_argument("--sentences", type=int, default=20, help="how many lists of each kind (20)")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"of the text of score ({TOKENS})")
    parser.add_argument("--rounds", type=int, default=5, help="of score (5)")


def run(options: argparse.Namespace) -> int:
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"python bench use: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for number, name in enumerate(options.parts or PARTS):
        print("\n" * (number > 0) + f"## {name}\n", flush=True)
        PARTS[name](options)
    return 0


def sentences_of(options: argparse.Namespace) -> list[list[str]]:
    lines = (options.data / "ptb.valid.txt").read_text(encoding="utf-8").splitlines()
    sentences = [line.split() for line in lines if len(line.split()) >= FEWEST_WORDS]
    return [sentences[i] for i in np.random.default_rng(1).permutation(len(sentences))[: options.sentences]]


def models_of(options: argparse.Namespace) -> Iterator[tuple[str, fastlm.LanguageModel]]:
    """Name and model of all that are to be measured."""
    for path in options.model or []:
        yield path.stem, fastlm.load(path)
    if not options.model:
        text = options.data / "ptb.train.txt"
        vocabulary = fastlm.Vocabulary.build(text)
        for size in (200, 650):
            sizes = {"embedding_dim": size, "hidden_size": size}
            yield f"rnnlm hidden {size}", fastlm.RNNLM(vocabulary, **sizes, context="sentence")
        yield "nnlm", fastlm.NNLM(vocabulary)
        yield "5-gram", fastlm.NGramLM(vocabulary).fit(fastlm.Corpus.encode(text, vocabulary))


def rescore(models: dict[str, fastlm.LanguageModel], sentences: Sequence[Sequence[str]]) -> None:
    """Print how long a list takes, and how much longer hypothesis by hypothesis, in turns, on one thread."""
    names = ["model", "lists", "words in a list", "different beginnings", "ms a list"]
    print_row([*names, "times `score` of each", "times word by word", "largest difference, nats a token"], head=True)
    others = [word for sentence in sentences for word in sentence]
    for model_name, model in models.items():
        for rule_name, rule in RULES.items():
            random = np.random.default_rng(1)
            lists = [rule(sentence, NUM_HYPOTHESES, others, random) for sentence in sentences]
            seconds: dict[Scorer, list[float]] = {scorer: [] for scorer in (shared, one_by_one, word_by_word)}
            difference = 0.0
            for nbest in [lists[0], *lists]:  # the first comes twice, to have the caches its own
                results = {}
                for scorer, so_far in seconds.items():
                    began = time.perf_counter()
                    results[scorer] = scorer(model, nbest)
                    so_far.append(time.perf_counter() - began)
                num_tokens = np.array([len(text.split()) + 1 for text in nbest])
                for other in (one_by_one, word_by_word):
                    difference = max(difference, np.max(np.abs(results[shared] - results[other]) / num_tokens))
            times = {scorer: np.array(taken[1:]) for scorer, taken in seconds.items()}
            print_row(
                [
                    *(model_name, rule_name, *sharing(lists)),
                    f"{1000 * np.median(times[shared]):.1f}",
                    spread(times[one_by_one] / times[shared]),
                    spread(times[word_by_word] / times[shared]),
                    f"{difference:.0e}",
                ]
            )


def shared(model: fastlm.LanguageModel, nbest: Sequence[str]) -> np.ndarray:
    return model.score_nbest(nbest)


def one_by_one(model: fastlm.LanguageModel, nbest: Sequence[str]) -> np.ndarray:
    """Score hypothesis by hypothesis; all words of one are a batch."""
    return np.array([model.score(text).log_prob for text in nbest])


def word_by_word(model: fastlm.LanguageModel, nbest: Sequence[str]) -> np.ndarray:
    """Score hypothesis by hypothesis as a decoder without batches does."""
    scores = []
    for text in nbest:
        state, total = model.start(), 0.0
        for word in [*text.split(), "</s>"]:
            total += state.log_prob(word)
            state = state.advance(word)
        scores.append(total)
    return np.array(scores)


def sharing(lists: Sequence[Sequence[str]]) -> tuple[str, str]:
    """Mean number of tokens in a list, and of different beginnings of hypotheses."""
    num_tokens = num_beginnings = 0
    for nbest in lists:
        tokens = [(*text.split(), "</s>") for text in nbest]
        num_tokens += sum(map(len, tokens))
        num_beginnings += len({text[: n + 1] for text in tokens for n in range(len(text))})
    return f"{num_tokens / len(lists):,.0f}", f"{num_beginnings / len(lists):,.0f}"


def threads(models: dict[str, fastlm.LanguageModel], sentences: Sequence[Sequence[str]]) -> None:
    """Print whether many threads get from one model, bit by bit, what one gets."""
    print_row(["model", "threads", "results of each", "different from those of one thread"], head=True)
    for name, model in models.items():
        expected = decode(model, sentences)
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            results = list(pool.map(decode, [model] * NUM_THREADS, [sentences] * NUM_THREADS))
        different = sum(one != other for result in results for one, other in zip(result, expected, strict=True))
        print_row([name, str(len(results)), f"{len(expected):,}", str(different)])


def decode(model: fastlm.LanguageModel, sentences: Sequence[Sequence[str]]) -> list[bytes]:
    """Use a model in every way that a decoder does; return all that it says."""
    found = []
    for sentence in sentences:
        states = [model.start()]
        for word in sentence:
            found.append(states[-1].log_probs().tobytes())
            states.append(states[-1].advance(word))
        words = [*sentence, "</s>"]
        found.append(model.log_prob(states, words).tobytes())
        found.append(model.log_probs(model.advance(states[:4], words[:4])).tobytes())
    return found


def frozen(options: argparse.Namespace) -> None:
    if not options.window:
        print("left out: name an NNLM that was trained with --self-normalising by --window")
        return
    measure_frozen({path.stem: fastlm.load(path) for path in options.window}, options.data)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "rescore": lambda options: rescore(dict(models_of(options)), sentences_of(options)),
    "threads": lambda options: threads(dict(models_of(options)), sentences_of(options)),
    "score": lambda options: print_scoring(options.data / "docs.valid.txt", options.tokens, options.rounds),
    "frozen": frozen,
}
