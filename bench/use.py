"""Measure models in other people's software: n-best lists rescored, one model under many threads, texts scored.

Parts: rescore (100-best lists with shared prefixes against one batch that shares nothing, which only models of sentence
context can make of separate sentences, and against hypothesis by hypothesis), threads (8 threads that hammer one model
through its states, against what one gets), score (tables of all tokens against the forward part of training), frozen
(queries a second of window models that are frozen, which --window names). Sentences and vocabulary are those of the
Penn Treebank in the folder that --data names, ptb.train.txt and ptb.valid.txt (or .gz, .xz, .zst). The models of
rescore and threads are given by --model; without, some are made as large as those of bench quality, with parameters
drawn at random, and a 5-gram model of the training text. The text of score is the beginning of docs.valid.txt, as many
tokens as the table says: a round with all 300,000 takes many minutes, and turns need several (--tokens, --rounds). Its
model is an LSTM of the recipe's size.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from frozen import measure_frozen
from lists import RULES
from machine import print_row, spread
from scoring import TOKENS, print_scoring

import fastlm
from fastlm.storage import read_blocks

SUFFIXES = ("", ".gz", ".xz", ".zst")
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
    try:
        with TemporaryDirectory(prefix="fastlm-") as scratch:
            for number, name in enumerate(options.parts or PARTS):
                print("\n" * (number > 0) + f"## {name}\n", flush=True)
                PARTS[name](options, Path(scratch))
    except fastlm.FastLMError as error:
        raise SystemExit(f"python bench use: {error}") from error
    return 0


def unpacked(options: argparse.Namespace, scratch: Path, name: str) -> Path:
    """Find a text of the data, and unpack it, so that only reading text is timed."""
    found = next((path for suffix in SUFFIXES if (path := options.data / (name + suffix)).exists()), None)
    if found is None:
        folder = options.data.absolute()
        raise fastlm.FileError(f"no {name} (or {', '.join(SUFFIXES[1:])}) in {folder}; name its folder by --data")
    plain = found if found.name == name else scratch / name
    if not plain.exists():
        with plain.open("wb") as target:
            target.writelines(read_blocks(found))
    return plain


def sentences_of(options: argparse.Namespace, scratch: Path) -> list[list[str]]:
    text = unpacked(options, scratch, "ptb.valid.txt")
    lines = text.read_text(encoding="utf-8").splitlines()
    sentences = [line.split() for line in lines if len(line.split()) >= FEWEST_WORDS]
    if not sentences:
        raise fastlm.DataError(f"{text}: no sentence of {FEWEST_WORDS} words or more to make lists from")
    return [sentences[i] for i in np.random.default_rng(1).permutation(len(sentences))[: options.sentences]]


def models_of(options: argparse.Namespace, scratch: Path) -> dict[str, fastlm.LanguageModel]:
    """All models that are to be measured, by name."""
    if options.model:
        return loaded(options.model)
    text = unpacked(options, scratch, "ptb.train.txt")
    vocabulary = fastlm.Vocabulary.build(text)
    sizes = [{"embedding_dim": size, "hidden_size": size} for size in (200, 650)]
    return {
        **{f"rnnlm hidden {s['hidden_size']}": fastlm.RNNLM(vocabulary, **s, context="sentence") for s in sizes},
        "nnlm": fastlm.NNLM(vocabulary),
        "5-gram": fastlm.NGramLM(vocabulary).fit(fastlm.Corpus.encode(text, vocabulary)),
    }


def loaded(paths: Sequence[Path]) -> dict[str, fastlm.LanguageModel]:
    """Load models, each by its file's name, or by the whole path where several files have that name."""
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else str(path): fastlm.load(path) for path in paths}


def rescore(models: dict[str, fastlm.LanguageModel], sentences: Sequence[Sequence[str]]) -> None:
    """Print how long a list takes, and how much longer without shared beginnings, in turns, on one thread."""
    names = ["model", "lists", "words in a list", "different beginnings", "ms a list"]
    print_row([*names, *CONTENDERS, "largest difference, nats a token"], head=True)
    others = [word for sentence in sentences for word in sentence]
    for model_name, model in models.items():
        for rule_name, rule in RULES.items():
            random = np.random.default_rng(1)
            lists = [rule(sentence, NUM_HYPOTHESES, others, random) for sentence in sentences]
            print_row([model_name, rule_name, *sharing(lists), *compared(model, lists)])


def compared(model: fastlm.LanguageModel, lists: Sequence[Sequence[str]]) -> list[str]:
    """Return milliseconds a list, how many times as long the contenders take, and how far apart the scores are."""
    contenders = [scorer for scorer in CONTENDERS.values() if scorer is not in_one_batch or can_share_a_batch(model)]
    seconds: dict[Scorer, list[float]] = {scorer: [] for scorer in (shared, *contenders)}
    difference = 0.0
    for nbest in lists:
        results = {}
        for scorer, so_far in seconds.items():
            # Some virtual machines take back memory that rests for a second: the first call is not counted.
            for _ in range(2):
                began = time.perf_counter()
                results[scorer] = scorer(model, nbest)
                taken = time.perf_counter() - began
            so_far.append(taken)
        num_tokens = np.array([len(text.split()) + 1 for text in nbest])
        for other in contenders:
            difference = max(difference, np.max(np.abs(results[shared] - results[other]) / num_tokens))
    times = {scorer: np.array(so_far) for scorer, so_far in seconds.items()}
    ratios = [spread(times[one] / times[shared]) if one in times else "" for one in CONTENDERS.values()]
    return [f"{1000 * np.median(times[shared]):.1f}", *ratios, f"{difference:.0e}"]


def shared(model: fastlm.LanguageModel, nbest: Sequence[str]) -> np.ndarray:
    return model.score_nbest(nbest)


def can_share_a_batch(model: fastlm.LanguageModel) -> bool:
    """Whether the sentences of a corpus are scored each by itself, as hypotheses are."""
    return model.context == "sentence" and not model.adapts


def in_one_batch(model: fastlm.LanguageModel, nbest: Sequence[str]) -> np.ndarray:
    """Score all hypotheses side by side, each from its beginning: nothing is shared."""
    corpus = fastlm.Corpus.encode(nbest, model.vocabulary)
    log_probs = model.token_log_probs(corpus, num_streams=len(nbest))
    return np.add.reduceat(log_probs, [0, *corpus.sentence_bounds()[:-1]])


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


CONTENDERS: dict[str, Scorer] = {
    "times all in one batch, nothing shared": in_one_batch,
    "times `score` of each": one_by_one,
    "times word by word": word_by_word,
}


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


def score(options: argparse.Namespace, scratch: Path) -> None:
    print_scoring(unpacked(options, scratch, "docs.valid.txt"), options.tokens, options.rounds)


def frozen(options: argparse.Namespace, scratch: Path) -> None:
    if not options.window:
        print("left out: name an NNLM that was trained with --self-normalising by --window")
        return
    text, valid = (unpacked(options, scratch, f"ptb.{part}.txt") for part in ("train", "valid"))
    measure_frozen(loaded(options.window), text, valid)


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "rescore": lambda options, scratch: rescore(models_of(options, scratch), sentences_of(options, scratch)),
    "threads": lambda options, scratch: threads(models_of(options, scratch), sentences_of(options, scratch)),
    "score": score,
    "frozen": frozen,
}
