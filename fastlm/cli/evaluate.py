"""The verb `evaluate`: how well a model predicts a text, or several models and their mixture beside each other."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING, Any

from fastlm.cli.adaptation import add_reading_options, load_models, open_lines
from fastlm.cli.corpora import read_text
from fastlm.cli.files import check_inputs
from fastlm.cli.mix import check_weights, labels
from fastlm.cli.options import weights, whole_number
from fastlm.cli.output import print_json, print_table

if TYPE_CHECKING:
    from fastlm.inference.evaluation import Report
    from fastlm.models import LanguageModel, Mixture
    from fastlm.text.corpus import Corpus
    from fastlm.text.vocabulary import Vocabulary

__all__ = ["add_parser"]

NUM_STREAMS = 16
COLUMNS = """\
With --per-word a line a token, with a tab between: number of its line (from 1), 1 if unknown or 0, its log-probability
by each model (nats) and, of several, by the mixture, and the word. Of a mixture beside other models, each of its own
models has a column. Models of continuous context then read the text in one stream."""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "evaluate",
        help="measure how well a model predicts a text: perplexity",
        description="Measure how well a model predicts a text: perplexity. Of several models, and of their mixture.",
        epilog=COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=evaluate, wrong_call=parser.error)
    parser.add_argument("model", metavar="MODEL", nargs="+", help="a model file, or several of one vocabulary")
    parser.add_argument(
        "file", metavar="FILE", help="the text: plain, .gz, .xz, .zst, or - for standard input; or a prepared corpus"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="skip the checksums: opens a large model at once"
    )
    add_reading_options(parser)
    parser.add_argument(
        "--num-streams",
        metavar="N",
        type=whole_number(1),
        help=f"parts of the text read side by side in continuous context; 1 gives the published kind of figure "
        f"({NUM_STREAMS}; with --documents 1)",
    )
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    parser.add_argument(
        "--unnormalised",
        action="store_true",
        help="take the scores of a model that learned to do without normalisation (frozen ones, output sampled or nce, "
        "--self-normalising) as they are: quick, but not quite probabilities",
    )
    group = parser.add_argument_group("several models")
    group.add_argument(
        "--weights", metavar="W,W", type=weights, help="of the models in the mixture, with commas between (all alike)"
    )
    group.add_argument("--tune", metavar="FILE", help="find the weights by EM on this text, which is another one")
    group.add_argument("--per-word", action="store_true", help="print log-probabilities word by word, and no report")


def evaluate(options: argparse.Namespace) -> None:
    """Print the perplexity report of a text."""
    _check_call(options)
    models = load_models(options.model, options)
    mixture = _mixture(models, options) if len(models) > 1 else None
    if options.per_word:
        _print_words([models[0].exact()] if mixture is None else mixture.models, mixture, options)
    elif mixture is None:
        _print_report(models[0], options)
    else:
        _print_comparison(mixture, labels(models, options.model), options)


def _check_call(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, as a wrong call."""
    several = len(options.model) > 1
    for name in ("weights", "tune"):
        if getattr(options, name) is not None and not several:
            options.wrong_call(f"argument --{name}: there is one model, and no mixture; name two model files or more")
    check_weights(options, len(options.model))
    if options.unnormalised and (several or options.adapt):
        options.wrong_call("argument --unnormalised: only for one model by itself, which does not adapt")
    if options.unnormalised and options.per_word:
        options.wrong_call("argument --per-word: log-probabilities are exact; leave out --unnormalised")
    if options.per_word and options.num_streams not in (None, 1):
        options.wrong_call("argument --per-word: the text is read in one stream; leave out --num-streams")
    check_inputs(options, options.file, options.tune)


def _mixture(models: "list[LanguageModel]", options: argparse.Namespace) -> "Mixture":
    from fastlm.models import Mixture

    mixture = Mixture(models, options.weights)
    if options.tune is not None:
        text = read_text(options.tune, mixture.vocabulary, options.errors)
        mixture.tune(text, **_reading(options))
    return mixture


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    num_streams = options.num_streams or (1 if options.documents or options.per_word else NUM_STREAMS)
    return {"num_streams": num_streams, "threads": options.threads, "progress": True}


def _reports(
    measure: "Callable[[Corpus], list[Report]]", vocabulary: "Vocabulary", options: argparse.Namespace
) -> "list[Report]":
    """Measure the text; or one document of it after the other, and join the reports of each model."""
    from fastlm.inference.documents import joined, read_documents

    if not options.documents:
        return measure(read_text(options.file, vocabulary, options.errors))
    reader = open_lines(options.file, options.errors)
    measured = [measure(document) for document in read_documents(reader, vocabulary)]
    return [  # what was left out, no document knows
        replace(joined(of_one), num_skipped=reader.num_skipped, num_replaced=reader.num_replaced)
        for of_one in zip(*measured, strict=True)
    ]


def _print_report(model: "LanguageModel", options: argparse.Namespace) -> None:
    reading = _reading(options) | {"normalised": not options.unnormalised}
    [report] = _reports(lambda text: [model.evaluate(text, **reading)], model.vocabulary, options)
    if options.json:
        print_json(report.to_dict())
    else:
        print(report)


def _print_comparison(mixture: "Mixture", names: list[str], options: argparse.Namespace) -> None:
    reports = _reports(lambda text: mixture.compare(text, **_reading(options)), mixture.vocabulary, options)
    if options.json:
        models = [
            {"model": name, "weight": weight, "report": report.to_dict()}
            for name, weight, report in zip(names, mixture.weights, reports[:-1], strict=True)
        ]
        print_json({"models": models, "mixture": reports[-1].to_dict()})
        return
    rows = [("", "weight", "perplexity", "without unknown words", "loss", "bits a character")]
    weights = [*(f"{weight:.4f}" for weight in mixture.weights), ""]
    for name, weight, report in zip([*names, "mixture"], weights, reports, strict=True):
        rows.append((name, weight, *_figures(report)))
    print_table(rows)
    print(f"\nof the mixture\n\n{reports[-1]}")


def _figures(report: "Report") -> tuple[str, str, str, str]:
    bits = report.bits_per_character
    return (
        f"{report.perplexity:,.2f}",
        f"{report.perplexity_without_unknown:,.2f}",
        f"{report.loss:.4f}",
        "" if bits is None else f"{bits:.4f}",
    )


def _print_words(models: "Sequence[LanguageModel]", mixture: "Mixture | None", options: argparse.Namespace) -> None:
    """Print a line a token; all models read the same lines at the same time, each once."""
    import numpy as np

    from fastlm.inference.tokens import score_lines

    copies = tee(open_lines(options.file, options.errors).lines(), len(models))
    scores = [
        score_lines(model, copy, threads=options.threads, documents=options.documents)
        for model, copy in zip(models, copies, strict=True)
    ]
    for number, line_scores in enumerate(zip(*scores, strict=True), start=1):
        columns = np.array([[token.log_prob for token in score.tokens] for score in line_scores])
        if mixture is not None:
            columns = np.vstack([columns, mixture.mixed(columns)])
        for (word, _, unknown), log_probs in zip(line_scores[0].tokens, columns.T.tolist(), strict=True):
            if options.json:
                print_json({"line": number, "word": word, "unknown": unknown, "log_probs": log_probs})
            else:
                print(number, int(unknown), *(f"{log_prob:.6f}" for log_prob in log_probs), word, sep="\t")
