"""Measure the n-gram model: against KenLM's own scores, on the Penn Treebank, on 20 million words, and what it misses.

Parts: kenlm (the same scores as KenLM, from the same text and from its ARPA files), ptb (perplexity, speed, memory),
docs (a corpus of 20 million words), mixture (networks and the 5-gram together, with dynamic evaluation and cache),
unseen (an n-gram that was never seen, by counts and by networks). One thread.
A part whose files are not in the folder named by --data is left out, and says so.
"""

import argparse
import json
import lzma
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mixtures import TUNED_TOKENS, measure_mixture
from speed import peak_megabytes

import fastlm

ORDERS = (2, 3, 4, 5)
DOCS_WORDS = 100_002  # the 100,000 most frequent words, <unk> and </s>
SECONDS = 1.0  # for which scoring is repeated
KENLM = {  # validation perplexity of KenLM (lmplz; unpruned), with <unk> renamed to an ordinary word
    "ptb": {2: 199.02, 3: 157.77, 4: 149.90, 5: 148.01},
    "docs": {3: 151.54, 5: 145.34},
}
UNSEEN = {  # by the text: words, and one that never came behind the last of them
    "ptb.train.txt": ("integrated also said it expects to report a second-quarter", "loss"),  # of the validation text
    "docs.train.txt": ("boy is spreading", "smiles"),
}
NUM_NEIGHBOURS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which (default: all): {', '.join(PARTS)}")
    parser.add_argument("--nnlm", type=Path, help="a window model of bench quality, for the parts mixture and unseen")
    parser.add_argument("--rnnlm", type=Path, help="a recurrent one of any kind")
    parser.add_argument(
        "--text", default="ptb.train.txt", help="for unseen: what they were trained on, in the folder of --data"
    )
    examples = "; ".join(f"{text}: {context} …" for text, (context, _) in UNSEEN.items())
    parser.add_argument("--context", help=f"the words before the unseen one ({examples})")
    parser.add_argument("--word", help="the one that never came behind the last of them")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the bench calls itself: TRAIN,VALID,ORDER,SIZE


def run(options: argparse.Namespace) -> int:
    if options.one:
        train, valid, order, max_size = json.loads(options.one)
        print(json.dumps(measure(train, valid, order, max_size)))
        return 0
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"python bench ngram: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(options.parts or PARTS):
            print("\n" * (number > 0) + f"## {name}\n", flush=True)
            try:
                PARTS[name](options, Path(scratch))
            except FileNotFoundError as error:
                print(f"left out: no {error.filename} in {options.data.absolute()}")
            except fastlm.FastLMError as error:
                raise SystemExit(f"python bench ngram: {error}") from None
    return 0


def unpacked(options: argparse.Namespace, scratch: Path, name: str) -> Path:
    """Find a file of the data, and unpack it, so that only reading text is timed."""
    if (options.data / name).exists():
        return options.data / name
    packed, plain = options.data / f"{name}.xz", scratch / Path(name).name
    if not packed.exists():
        raise FileNotFoundError(2, "no such file", name)
    if not plain.exists():
        with lzma.open(packed) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target)
    return plain


# The same scores as KenLM


def compare_with_kenlm(options: argparse.Namespace, scratch: Path) -> None:
    text, scores = (unpacked(options, scratch, f"kenlm/{name}") for name in ("train.txt", "scores.tsv"))
    vocabulary = fastlm.Vocabulary.build(text)
    corpus = fastlm.Corpus.encode(text, vocabulary)
    header, *rows = (line.split("\t") for line in scores.read_text(encoding="utf-8").splitlines())
    sentences = [row[header.index("sentence")] for row in rows]
    print_row(["order", "sentences", "largest difference, estimated", "largest difference, read from ARPA"], head=True)
    for order in (3, 5):
        expected = np.array([float(row[header.index(f"log10_{order}gram")]) for row in rows])
        fitted = fastlm.NGramLM(vocabulary, order=order).fit(corpus)
        read = fastlm.NGramLM.read_arpa(unpacked(options, scratch, f"kenlm/order{order}.arpa"))
        differences = [np.abs(log10_scores(model, sentences) - expected).max() for model in (fitted, read)]
        print_row([str(order), str(len(rows)), *(f"{difference:.1e} (log10)" for difference in differences)])


def log10_scores(model: fastlm.NGramLM, sentences: list[str]) -> np.ndarray:
    return np.array([model.score(sentence).log_prob for sentence in sentences]) / math.log(10)


# Perplexity, speed and memory


def measure_ptb(options: argparse.Namespace, scratch: Path) -> None:
    measure_corpus(options, scratch, "ptb", ORDERS, None)


def measure_docs(options: argparse.Namespace, scratch: Path) -> None:
    measure_corpus(options, scratch, "docs", (3, 5), DOCS_WORDS)


def measure_corpus(
    options: argparse.Namespace, scratch: Path, name: str, orders: tuple[int, ...], max_size: int | None
) -> None:
    train, valid = (unpacked(options, scratch, f"{name}.{part}.txt") for part in ("train", "valid"))
    columns = [
        "order",
        "n-grams",
        "perplexity",
        "of KenLM",
        "tokens a CPU second, from text to model",
        "estimation alone",
    ]
    columns += ["scored, from text", "MB of model", "peak MB above the import", "at most, as said before"]
    print_row(columns, head=True)
    for order in orders:
        request = json.dumps([str(train), str(valid), order, max_size])
        command = [sys.executable, "-P", str(Path(__file__).parent), "ngram", "--one", request]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        print_row(
            [
                str(order),
                f"{found['num_ngrams']:,}",
                f"{found['perplexity']:.2f}",
                f"{KENLM[name][order]:.2f}",
                f"{found['from_text']:,.0f}",
                f"{found['estimated']:,.0f}",
                f"{found['scored']:,.0f}",
                *(f"{found[size]:,.0f}" for size in ("model", "peak", "bound")),
            ]
        )


def measure(train: str, valid: str, order: int, max_size: int | None) -> dict[str, float]:
    """Estimate a model and score a text with it, in a process of its own; in CPU time: other processes may be busy."""
    fastlm.NGramLM(fastlm.Vocabulary(["a"]))  # imports all that is needed
    before = peak_megabytes()
    began = time.process_time()
    vocabulary = fastlm.Vocabulary.build(train, max_size=max_size)
    corpus = fastlm.Corpus.encode(train, vocabulary)
    encoded = time.process_time()
    model = fastlm.NGramLM(vocabulary, order=order).fit(corpus)
    fitted = time.process_time()
    peak = peak_megabytes() - before
    seconds = []
    while sum(seconds) < SECONDS:
        start = time.process_time()
        text = fastlm.Corpus.encode(valid, vocabulary)
        log_probs = model.token_log_probs(text)
        seconds.append(time.process_time() - start)
    return {
        "num_ngrams": sum(model.info["training"]["num_ngrams"]),
        "perplexity": math.exp(-log_probs.mean()),
        "from_text": corpus.num_tokens / (fitted - began),
        "estimated": corpus.num_tokens / (fitted - encoded),
        "scored": text.num_tokens / float(np.median(seconds)),
        "model": sum(array.nbytes for array in model.parameters.values()) / 1e6,
        "peak": peak,
        "bound": (model.memory_bound(corpus) + corpus.ids.nbytes) / 1e6,
    }


# Together with networks


def show_mixtures(options: argparse.Namespace, scratch: Path) -> None:
    train, valid = (unpacked(options, scratch, f"ptb.{part}.txt") for part in ("train", "valid"))
    paths = [path for path in (options.rnnlm, options.nnlm) if path is not None]
    if not paths:
        print("left out: name the model file of a network by --rnnlm or --nnlm (bench quality trains them)")
        return
    print(f"Weights and settings are tuned on the first {TUNED_TOKENS:,} tokens of the validation text.\n")
    columns = ["model", "adapting by", "perplexity", "mixed with the 5-gram (weight of the network)"]
    print_row([*columns, "tokens a CPU second, both", "settings"], head=True)
    printed: list[list[str]] = []
    for path in paths:
        for row in measure_mixture(path, train, valid):
            if row not in printed:  # as those of the 5-gram are, where two networks have one vocabulary
                print_row(row)
            printed.append(row)


# What was never seen


def show_unseen(options: argparse.Namespace, scratch: Path) -> None:
    if (options.context is None) != (options.word is None) or (options.word is None and options.text not in UNSEEN):
        raise SystemExit("python bench ngram: --context and --word go together, and a text of your own needs both")
    context, word = UNSEEN[options.text] if options.word is None else (options.context, options.word)
    train = unpacked(options, scratch, options.text)
    networks = {path.name: fastlm.load(path) for path in (options.nnlm, options.rnnlm) if path is not None}
    vocabulary = next(iter(networks.values())).vocabulary if networks else fastlm.Vocabulary.build(train)
    corpus = fastlm.Corpus.encode(train, vocabulary)
    models: dict[str, fastlm.LanguageModel] = {
        "5-gram, maximum likelihood": fastlm.NGramLM(vocabulary, order=5, smoothing="none").fit(corpus),
        "5-gram, Kneser-Ney": fastlm.NGramLM(vocabulary, order=5).fit(corpus),
    } | networks
    for name, network in networks.items():
        kneser_ney = models["5-gram, Kneser-Ney"]
        models[f"half {name}, half Kneser-Ney"] = fastlm.Mixture([network, kneser_ney])
    missing = [each for each in (*context.split(), word) if each not in vocabulary]
    if missing:
        print(f"left out: {' and '.join(map(repr, missing))} not in the vocabulary of the models")
        return
    last = context.split()[-1]
    ids = corpus.ids.astype(np.int64)
    pairs = ids[:-1] * len(vocabulary) + ids[1:]

    def count(first: str, second: str) -> int:
        return int(np.count_nonzero(pairs == vocabulary[first] * len(vocabulary) + vocabulary[second]))

    print(f'"{context} …": the training text has "{last}" {count_word(ids, vocabulary[last])} times and "{word}"')
    print(f'{count_word(ids, vocabulary[word])} times, but "{last} {word}" {count(last, word)} times.\n')
    print_row([f'probability of "{word}"', "rank", "model", "its likeliest words"], head=True)
    for name, model in models.items():
        log_probs = model.next_log_probs(context)
        log_prob = log_probs[vocabulary[word]]
        rank = f"{1 + np.count_nonzero(log_probs > log_prob):,}" if log_prob > -math.inf else ""
        print_row([f"{math.exp(log_prob):.2g}", rank, name, ", ".join(likely_words(model, context))])
    if not networks:
        print("\nThe networks are left out: name their model files by --nnlm and --rnnlm (bench quality trains them).")
    for name, model in networks.items():
        print(f'\nNearest words of "{last}" in {name}, and how often "{word}" follows each in the training text\n')
        for neighbour in model.similar(last, k=NUM_NEIGHBOURS):
            print(f"    {neighbour.word:20} {neighbour.similarity:.2f} {count(neighbour.word, word):4}")
        print(f'\nThose of "{word}", and how often each follows "{last}"\n')
        for neighbour in model.similar(word, k=NUM_NEIGHBOURS):
            print(f"    {neighbour.word:20} {neighbour.similarity:.2f} {count(last, neighbour.word):4}")


def count_word(ids: np.ndarray, id: int) -> int:
    return int(np.count_nonzero(ids == id))


def likely_words(model: fastlm.LanguageModel, context: str) -> Iterator[str]:
    try:
        predictions = model.predict(context, k=4)
    except fastlm.FastLMError:
        yield "none: it has never seen the last four words together"
        return
    for prediction in predictions:
        yield f"{prediction.word} {prediction.probability:.2f}"


def print_row(cells: list[str], *, head: bool = False) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)
    if head:
        print("| --- " * len(cells) + "|")


Part = Callable[[argparse.Namespace, Path], None]
PARTS: dict[str, Part] = {
    "kenlm": compare_with_kenlm,
    "ptb": measure_ptb,
    "docs": measure_docs,
    "mixture": show_mixtures,
    "unseen": show_unseen,
}
