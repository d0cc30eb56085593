"""The verbs that use a trained model: evaluate, score, predict, generate, similar, info."""

import argparse
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import described, read_text
from fastlm.cli.options import add_errors, fraction, non_negative_float, text, whole_number
from fastlm.cli.output import print_json, print_table

if TYPE_CHECKING:
    from fastlm.inference.tokens import Score
    from fastlm.models.base import LanguageModel
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["add_parser"]

SHOWN_NUMBERS = 8  # of a list
Verbs = Any  # argparse keeps the class of its sub-parsers to itself
SCORE_COLUMNS = """\
Columns, with a tab between: log-probability (nats), number of tokens (with </s>), number of unknown words, text.
With --per-word a line a token: number of its line (from 1), log-probability, 1 if unknown or 0, word.
A line without words is no sentence: 0 tokens. A model of continuous context reads on from line to line,
so the figures are those of `fastlm evaluate --num-streams 1`."""


def add_parser(verbs: Verbs) -> None:
    """Add the verbs of this module to the command line."""
    _add_evaluate(verbs)
    _add_score(verbs)
    _add_predict(verbs)
    _add_generate(verbs)
    _add_similar(verbs)
    _add_verb(verbs, "info", info, "say what a model file, or a prepared corpus, holds")


def _add_verb(
    verbs: Verbs, name: str, run: Callable[[argparse.Namespace], None], purpose: str, **options: Any
) -> argparse.ArgumentParser:
    """Add a verb whose first argument is a model file."""
    description = purpose[0].upper() + purpose[1:] + "."
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=purpose, description=description, allow_abbrev=False, **options
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    return parser


def _add_text_file(parser: argparse.ArgumentParser, **options: Any) -> None:
    parser.add_argument("file", metavar="FILE", **options)
    add_errors(parser)


def _add_evaluate(verbs: Verbs) -> None:
    parser = _add_verb(verbs, "evaluate", evaluate, "measure how well a model predicts a text: perplexity")
    _add_text_file(parser, help="the text: plain, .gz, .xz, .zst, or - for standard input; or a prepared corpus")
    parser.add_argument(
        "--num-streams",
        metavar="N",
        type=whole_number(1),
        default=16,
        help="parts of the text read side by side in continuous context; 1 gives the published kind of figure (16)",
    )
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    parser.add_argument(
        "--unnormalised",
        action="store_true",
        help="take the scores of a model with output sampled or nce as they are: quick, but not quite probabilities",
    )


def _add_score(verbs: Verbs) -> None:
    parser = _add_verb(
        verbs,
        "score",
        score,
        "give the log-probability of every line of a text",
        epilog=SCORE_COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_text_file(parser, nargs="?", default="-", help="the text; standard input if left out")
    parser.add_argument("--per-word", action="store_true", help="give the log-probability of every word")
    parser.add_argument("--unbuffered", action="store_true", help="answer each line at once; slower")


def _add_predict(verbs: Verbs) -> None:
    parser = _add_verb(verbs, "predict", predict, "give the most likely next words after a text")
    parser.add_argument("text", metavar="STRING", type=text, help='the beginning of a line; "" for its first word')
    parser.add_argument("-k", metavar="N", type=whole_number(1), default=10, help="how many words (10)")
    parser.add_argument("--unknown", action="store_true", help="let <unk> be among them")


def _add_generate(verbs: Verbs) -> None:
    parser = _add_verb(verbs, "generate", generate, "let a model write")
    parser.add_argument("--prompt", metavar="STRING", type=text, default="", help="the beginning of the text")
    parser.add_argument("--max-tokens", metavar="N", type=whole_number(1), default=100, help="at most so many (100)")
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=non_negative_float,
        default=1.0,
        help="below 1 likely words become likelier; 0 always takes the most likely (1)",
    )
    parser.add_argument("--top-k", metavar="N", type=whole_number(1), help="draw from the N most likely words")
    parser.add_argument("--top-p", metavar="P", type=fraction, help="draw from the likeliest words up to probability P")
    parser.add_argument("--seed", metavar="N", type=whole_number(0), help="the same seed gives the same text")
    parser.add_argument("-n", "--num-samples", metavar="N", type=whole_number(1), default=1, help="how many texts (1)")
    parser.add_argument("--unknown", action="store_true", help="let <unk> be drawn")
    parser.add_argument("--no-stop", action="store_true", help="go on with a new line where a sentence ends")


def _add_similar(verbs: Verbs) -> None:
    parser = _add_verb(verbs, "similar", similar, "give the words that a model treats like a word")
    parser.add_argument("word", metavar="WORD", type=text, help="a word of the model's vocabulary")
    parser.add_argument("-k", metavar="N", type=whole_number(1), default=10, help="how many (10)")


def _load(options: argparse.Namespace) -> "LanguageModel":
    import fastlm

    return fastlm.load(options.model, verify=options.verify)


def evaluate(options: argparse.Namespace) -> None:
    """Print the perplexity report of a text."""
    model = _load(options)
    corpus = read_text(options.file, model.vocabulary, options.errors)
    report = model.evaluate(
        corpus,
        num_streams=options.num_streams,
        threads=options.threads,
        progress=True,
        normalised=not options.unnormalised,
    )
    if options.json:
        print_json(report.to_dict())
    else:
        print(report)


def score(options: argparse.Namespace) -> None:
    """Print the log-probability of each line, or of each token."""
    from fastlm.inference.tokens import BATCH_TOKENS, score_lines
    from fastlm.text.source import TextReader

    model = _load(options)
    at_once = options.unbuffered or (options.file == "-" and sys.stdin is not None and sys.stdin.isatty())
    lines = chain.from_iterable(TextReader(options.file, options.errors).line_blocks())
    scores = score_lines(model, lines, batch_tokens=1 if at_once else BATCH_TOKENS)
    for number, line in enumerate(scores, start=1):
        if options.json:
            print_json(_score_object(number, line, options.per_word))
        elif options.per_word:
            for token in line.tokens:
                print(number, f"{token.log_prob:.6f}", int(token.unknown), token.word, sep="\t")
        else:
            print(f"{line.log_prob:.6f}", line.num_tokens, line.num_unknown, line.text, sep="\t")
        if at_once:
            sys.stdout.flush()


def _score_object(number: int, line: "Score", per_word: bool) -> dict[str, Any]:
    result = {
        "line": number,
        "text": line.text,
        "log_prob": line.log_prob,
        "num_tokens": line.num_tokens,
        "num_unknown": line.num_unknown,
        "perplexity": line.perplexity,
    }
    return result | {"tokens": [token._asdict() for token in line.tokens]} if per_word else result


def predict(options: argparse.Namespace) -> None:
    """Print the most likely next words with their probabilities."""
    from fastlm.inference.generation import predict

    predictions = predict(_load(options), options.text, options.k, options.unknown)
    if options.json:
        print_json({"text": options.text, "predictions": [prediction._asdict() for prediction in predictions]})
    else:
        print_table([(word, f"{probability:.6f}") for word, probability in predictions])


def generate(options: argparse.Namespace) -> None:
    """Print texts that the model makes up."""
    from numpy.random import PCG64, Generator

    from fastlm.inference.generation import generate

    model = _load(options)
    random = Generator(PCG64(options.seed))
    texts = []
    for _ in range(options.num_samples):
        text = generate(
            model,
            options.prompt,
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=random,
            unknown=options.unknown,
            stop_at_end=not options.no_stop,
        )
        texts.append(text)
        if not options.json:
            print(text, flush=True)
    if options.json:
        print_json({"prompt": options.prompt, "seed": options.seed, "texts": texts})


def similar(options: argparse.Namespace) -> None:
    """Print a word's neighbours with their cosines."""
    from fastlm.inference.similarity import similar

    neighbours = similar(_load(options), options.word, options.k)
    if options.json:
        print_json({"word": options.word, "neighbours": [neighbour._asdict() for neighbour in neighbours]})
    else:
        print_table([(word, f"{cosine:.4f}") for word, cosine in neighbours])


def info(options: argparse.Namespace) -> None:
    """Print what a model or corpus file holds."""
    from fastlm.text.corpusfile import is_corpus

    facts = _corpus_facts(options) if is_corpus(options.model) else _facts(_load(options), options)
    if options.json:
        print_json(facts)
        return
    rows = [(name.replace("_", " "), _cell(value)) for name, value in facts.items() if not isinstance(value, dict)]
    if "recipe" in facts:
        rows.append(("recipe", _recipe_words(**facts["recipe"])))
    for group in ("tokenizer", "config", "info"):
        rows += [(f"{group}: {name}", _cell(value)) for name, value in facts.get(group, {}).items()]
    rows += [
        (f"parameters: {name}", f"{' x '.join(map(str, array['shape']))} {array['dtype']}")
        for name, array in facts.get("parameters", {}).items()
    ]
    print_table(rows)


def _facts(model: "LanguageModel", options: argparse.Namespace) -> dict[str, Any]:
    arrays, training = model.parameters, dict(model.info)
    recipe = training.pop("recipe", None)
    return {
        **_file_facts(options, model.vocabulary),
        "architecture": model.architecture,
        "context": model.context,
        "num_parameters": sum(array.size for array in arrays.values()),
        **({} if recipe is None else {"recipe": recipe}),
        "config": model.config,
        "info": training,
        "parameters": {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in arrays.items()},
    }


def _recipe_words(name: str, overridden: dict[str, Any]) -> str:
    others = ", ".join(f"{setting} {_cell(value)}" for setting, value in overridden.items())
    return f"{name}, with {others}" if others else name


def _corpus_facts(options: argparse.Namespace) -> dict[str, Any]:
    from fastlm.text.corpus import Corpus

    corpus = Corpus.open(options.model, verify=options.verify)
    counts = ("num_tokens", "num_sentences", "num_unknown", "num_empty_lines", "num_characters", "num_bytes")
    return {
        **_file_facts(options, corpus.vocabulary),
        "contents": f"a prepared corpus: {described(corpus)}",
        **{name: getattr(corpus, name) for name in (*counts, "num_replaced", "num_skipped")},
        "dtype": str(corpus.ids.dtype),
    }


def _file_facts(options: argparse.Namespace, vocabulary: "Vocabulary") -> dict[str, Any]:
    return {
        "file": options.model,
        "file_size": Path(options.model).stat().st_size,
        "checksums": "verified" if options.verify else "not verified",
        "vocab_size": len(vocabulary),
        # A tokenizer's own file, kept inside, may be megabytes long.
        "tokenizer": {name: value for name, value in vocabulary.tokenizer.spec.items() if name != "json"},
    }


def _cell(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(number, int) for number in value):
        shown = [_cell(number) for number in value]
        return " ".join(shown if len(shown) <= SHOWN_NUMBERS else [*shown[:SHOWN_NUMBERS], f"… ({len(shown)} in all)"])
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
