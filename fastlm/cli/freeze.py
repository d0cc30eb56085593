"""The verb `freeze`: a window model to one that answers queries at the speed of an n-gram model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlm.cli.corpora import read_text
from fastlm.cli.files import check_model_file
from fastlm.cli.options import add_errors, whole_number
from fastlm.cli.output import print_json, print_table, teller

if TYPE_CHECKING:
    from fastlm.models import FrozenNNLM, LanguageModel
    from fastlm.text.corpus import Corpus

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    purpose = "make a window model answer queries at the speed of an n-gram model"
    parser = verbs.add_parser(
        "freeze",
        help=purpose,
        description=f"{purpose.capitalize()}: what each word adds to the hidden layer is stored, and scores are taken "
        "for log-probabilities as they are, which the model must have been trained for (fastlm train nnlm "
        "--self-normalising 0.1). For models of one hidden layer, without averages and direct connections.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=freeze, wrong_call=parser.error)
    parser.add_argument("model", metavar="MODEL", help="the file of an NNLM")
    parser.add_argument("-o", "--model", dest="output", metavar="FROZEN", required=True, help="the file to write")
    parser.add_argument(
        "--dtype",
        choices=("float32", "int8"),
        default="float32",
        help="what the tables hold; int8 takes a quarter of the space, and is a little less exact (float32)",
    )
    parser.add_argument(
        "--valid",
        metavar="FILE",
        help="held-out text, on which the logarithm of the scores' sum is brought to 0 in the mean, and to measure how "
        "far from 0 it is for a token, which is kept in the file, and what freezing costs",
    )
    parser.add_argument("--threads", metavar="N", type=whole_number(1), help="worker threads (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no messages")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    add_errors(parser)


def freeze(options: argparse.Namespace) -> None:
    """Write the frozen model, and print what it is like."""
    _check_call(options)
    import fastlm
    from fastlm.storage import check_writable

    check_writable(options.output)
    model = fastlm.load(options.model)
    frozen = fastlm.FrozenNNLM.of(model, dtype=options.dtype)
    say = teller(quiet=options.quiet)
    figures = {}
    if options.valid is None:
        say("how far the scores are from log-probabilities is not measured; give held-out text by --valid FILE")
    else:
        text = read_text(options.valid, model.vocabulary, options.errors)
        frozen = frozen.centred(text, threads=options.threads)
        figures = _measured(model, frozen, text, options)
    frozen.save(options.output)
    say(f"the frozen model is in {options.output}")
    facts = {
        "model": options.output,
        "dtype": options.dtype,
        "file_size": Path(options.output).stat().st_size,
        **figures,
    }
    if options.json:
        print_json(facts)
    else:
        print_table([(name.replace("_", " "), _cell(value)) for name, value in facts.items()])


def _measured(
    model: "LanguageModel", frozen: "FrozenNNLM", text: "Corpus", options: argparse.Namespace
) -> dict[str, float | None]:
    """Measure both on held-out text, exactly normalised, and the frozen one as it is used."""
    reading = {"threads": options.threads, "progress": not options.quiet}
    report = frozen.measure(text, **reading)
    return {
        "perplexity_before": model.evaluate(text, **reading).perplexity,
        "perplexity": report.perplexity,
        "perplexity_of_scores": frozen.evaluate(text, **reading, normalised=False).perplexity,
        "log_norm_mean": report.log_norm_mean,
        "log_norm_99": report.log_norm_99,
    }


def _cell(value: float | str | None) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)


def _check_call(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, as a wrong call."""
    check_model_file(options, options.model, options.valid)
