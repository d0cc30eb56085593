"""The verbs that use a trained model: score, predict, generate, similar, info."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.adaptation import add_normalise, add_reading_options, load_models
from fastlm.cli.corpora import described
from fastlm.cli.options import fraction, non_negative_float, text, whole_number
from fastlm.cli.output import print_json, print_table
from fastlm.cli.token_table import check_table, write_table

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
so the figures are those of `fastlm evaluate --num-streams 1`.
With --table a header, and a line a token: number of its line, place in it (from 0), word, id, surprisal (nats), and of
the distribution before it the entropy (nats) and the rank of the token in it (1: no word is likelier)."""


def add_parser(verbs: Verbs) -> None:
    """Add the verbs of this module to the command line."""
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
    parser.set_defaults(run=run, wrong_call=parser.error)
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    return parser


def _add_score(verbs: Verbs) -> None:
    parser = _add_verb(
        verbs,
        "score",
        score,
        "give the log-probability of every line of a text",
        epilog=SCORE_COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the text; standard input if left out")
    add_reading_options(parser)
    add_normalise(parser)
    parser.add_argument("--per-word", action="store_true", help="give the log-probability of every word")
    parser.add_argument("--unbuffered", action="store_true", help="answer each line at once; slower")
    parser.add_argument(
        "--table", metavar="OUT", help="write a table of all tokens: OUT.parquet, or with tabs, - for standard output"
    )
    parser.add_argument(
        "--no-distribution",
        dest="distribution",
        action="store_false",
        help="no entropy and rank in it: quicker, and a frozen model's scores as they are, unless --normalise",
    )
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")


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
    parser.add_argument(
        "--stop", metavar="WORD", type=text, action="append", default=[], help="end at this word, too; may be repeated"
    )
    parser.add_argument(
        "--beam",
        metavar="N",
        type=whole_number(1),
        help="search for the likeliest, N hypotheses (at least those of -n) at a time; longer texts are not favoured",
    )
    parser.add_argument("--scores", action="store_true", help="put the log-probability (nats) before each text")


def _add_similar(verbs: Verbs) -> None:
    parser = _add_verb(verbs, "similar", similar, "give the words that a model treats like a word")
    parser.add_argument("word", metavar="WORD", type=text, help="a word of the model's vocabulary")
    parser.add_argument("-k", metavar="N", type=whole_number(1), default=10, help="how many (10)")


def _load(options: argparse.Namespace) -> "LanguageModel":
    return load_models([options.model], options)[0]


def score(options: argparse.Namespace) -> None:
    """Print the log-probability of each line, or of each token, or write a table of these."""
    check_table(options)
    from fastlm.inference.lines import BATCH_TOKENS
    from fastlm.inference.tokens import score_lines
    from fastlm.text.source import TextReader

    model = _load(options)
    if options.table is not None:
        write_table(options, model)
        return
    at_once = options.unbuffered or (options.file == "-" and sys.stdin is not None and sys.stdin.isatty())
    scores = score_lines(
        model,
        TextReader(options.file, options.errors).lines(),
        batch_tokens=1 if at_once else BATCH_TOKENS,
        threads=options.threads,
        documents=options.documents,
    )
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
    from fastlm.inference.beam import beam_search
    from fastlm.inference.generation import sample

    limits = {"max_tokens": options.max_tokens, "unknown": options.unknown, "stop": options.stop}
    if options.beam is not None:
        _check_beam(options)
        results = beam_search(_load(options), options.prompt, options.num_samples, beam_size=options.beam, **limits)
    else:
        sampling = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "seed")}
        stop_at_end = not options.no_stop
        results = sample(
            _load(options), options.prompt, options.num_samples, stop_at_end=stop_at_end, **sampling, **limits
        )
    if options.json:
        texts = {"prompt": options.prompt, "seed": options.seed, "texts": [result.text for result in results]}
        print_json(texts | {"log_probs": [result.log_prob for result in results]} if options.scores else texts)
        return
    for result in results:
        print(f"{result.log_prob:.6f}\t{result.text}" if options.scores else result.text)


def _check_beam(options: argparse.Namespace) -> None:
    unused = {"temperature": 1.0, "top_k": None, "top_p": None, "seed": None, "no_stop": False}
    for name, default in unused.items():
        if getattr(options, name) != default:
            option = f"--{name.replace('_', '-')}"
            options.wrong_call(f"argument --beam: the likeliest texts are searched for, not drawn; leave out {option}")


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
        rows += _rows(group, facts.get(group, {}))
    rows += [
        (f"parameters: {name}", f"{' x '.join(map(str, array['shape']))} {array['dtype']}")
        for name, array in facts.get("parameters", {}).items()
    ]
    print_table(rows)


def _rows(group: str, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give a row for each fact; those of models that a model is made of stand below it."""
    for name, value in facts.items():
        if name != "models":
            yield f"{group}: {name}", _cell(value)
            continue
        for number, part in enumerate(value):
            yield f"{group}: model{number}", part["architecture"]
            yield from _rows(f"{group}: model{number}", part["config"])


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
