"""Train by the shipped recipes, evaluate exactly, and print tables; what was measured before is not measured again.

Each run is the command line as a user would call it, in a process of its own, then `fastlm evaluate --num-streams 1`
on the saved model. All that a run leaves is in the folder of --folder, under its name: .fastlm, the model; .jsonl, the
log, for `fastlm plot`; .json, its row. A run that was stopped goes on from its checkpoint. The corpora are not free to
ship: put ptb.train.txt and ptb.valid.txt (or .gz, .xz), in the usual form of Mikolov et al. with 10,000 words, into the
folder named by --data; and nsmc.train.txt and nsmc.valid.txt, Korean film reviews, one a line.
"""

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import product_rate
from quality_runs import TABLES, Run, Table
from spelling import spelling_bits

from fastlm import load
from fastlm.training.recipes import recipe

COLUMNS = ("parameters", "epochs", "minutes", "tokens/s", "GFLOP/s of this machine", "minutes at 160 GFLOP/s")
RATE = 160  # GFLOP/s that the allowed minutes are for
WORDS = ("monday", "january", "three", "ford", "president", "profit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"a run, or all of a table (default: recipes): {', '.join(TABLES)}",
    )
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where results are kept (results)")
    parser.add_argument("--with", dest="options", default="", help="options for all runs, in place of what they say")
    parser.add_argument("--list", action="store_true", help="print the commands of the runs, and train nothing")
    parser.add_argument("--show", action="store_true", help="print the tables of what is measured, and train nothing")


def run(options: argparse.Namespace) -> int:
    chosen = chosen_runs(options.rows or ["recipes"])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failed = []
    for table, runs in chosen.items():
        for one in runs:
            if options.list:
                print(shown(one, TABLES[table].corpus, options.options))
            elif not options.show and not measured(one, TABLES[table], options):
                failed.append(one.name)
        if not options.list and not print_table(table, options.folder):
            print(f"python bench quality: nothing of {table} is measured in {options.folder}", file=sys.stderr)
    if failed:
        print(f"python bench quality: without a result: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def chosen_runs(rows: list[str]) -> dict[str, list[Run]]:
    """Return the runs that are named, by table."""
    found = {name: [one for one in table.runs if name in rows or one.name in rows] for name, table in TABLES.items()}
    known = [*TABLES, *(one.name for table in TABLES.values() for one in table.runs)]
    if unknown := [row for row in rows if row not in known]:
        raise SystemExit(f"python bench quality: no row {', '.join(unknown)}; there are {', '.join(known)}")
    return {name: runs for name, runs in found.items() if runs}


def find(folder: Path, name: str) -> Path:
    for suffix in ("", ".gz", ".xz", ".zst"):
        if (folder / (name + suffix)).exists():
            return folder / (name + suffix)
    raise SystemExit(f"python bench quality: no {name} (or .gz, .xz, .zst) in {folder.absolute()}; name it by --data")


def shown(one: Run, corpus: str, others: str) -> str:
    """Write a run's command as a user would."""
    kind, _, settings = one.options.partition(" ")
    words = [kind, f"{corpus}.train.txt --valid {corpus}.valid.txt -o {one.name}.fastlm", settings, others]
    return " ".join(["fastlm train", *filter(None, words)])


def measured(one: Run, table: Table, options: argparse.Namespace) -> bool:
    """Train and evaluate, unless that is done; return whether there is a result."""
    file = options.folder / f"{one.name}.json"
    origin = {"command": shown(one, table.corpus, options.options), "recipe": recipe_settings(one)}
    if file.exists():
        if json.loads(file.read_text())["origin"] != origin:
            raise SystemExit(
                f"python bench quality: {file} is the result of another command, or of the recipe as it was; remove it "
                "to measure again, or name another --folder"
            )
        return True
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{one.name}: {origin['command']}", file=sys.stderr, flush=True)
    try:
        result = measure(one, table, options)
    except subprocess.CalledProcessError as failure:
        print(f"{one.name}: {shlex.join(failure.cmd)}: exit status {failure.returncode}", file=sys.stderr, flush=True)
        return False
    file.write_text(json.dumps({"origin": origin, **result}, ensure_ascii=False, indent=1))
    shutil.rmtree(options.folder / f"{one.name}.checkpoint")
    return True


def recipe_settings(one: Run) -> dict[str, Any]:
    words = one.options.split()
    return dict(recipe(words[words.index("--recipe") + 1]).settings) if "--recipe" in words else {}


def measure(one: Run, table: Table, options: argparse.Namespace) -> dict[str, Any]:
    rate = product_rate(2048)
    kind, *settings = one.options.split()
    train, valid = (find(options.data, f"{table.corpus}.{part}.txt") for part in ("train", "valid"))
    model = options.folder / f"{one.name}.fastlm"
    job = ["-o", model, "--log", model.with_suffix(".jsonl"), "--checkpoint", model.with_suffix(".checkpoint")]
    words = ["train", kind, train, "--valid", valid, *job, "--resume", *settings, *shlex.split(options.options)]
    history = fastlm(*words)["history"]
    report = fastlm("evaluate", model, valid, "--num-streams", "1")
    epochs = history["epochs"]
    spelling = spelling_bits(train, valid, load(model).vocabulary) if table.is_spelled else None
    return {
        "parameters": fastlm("info", model)["num_parameters"],
        "epochs": sum(epoch["part"] for epoch in epochs),
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "tokens_per_second": float(np.median([epoch["tokens_per_second"] for epoch in epochs])),
        "gflops": rate,
        "ended": history["ended"],
        "report": report,
        "spelling_bits": spelling,
    }


def fastlm(*arguments: str | Path) -> Any:
    """Run a command, and return what it prints; if this process is to end, so that it can go on another time."""
    words = [sys.executable, "-P", "-m", "fastlm", *map(str, arguments), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate()
        except SystemExit:  # Ctrl-C reaches it by itself
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return json.loads(output)


def print_table(table: str, folder: Path) -> bool:
    """Print the rows that are measured, and keep them in the folder; return whether there are any."""
    files = {one: folder / f"{one.name}.json" for one in TABLES[table].runs}
    results = {one: json.loads(file.read_text()) for one, file in files.items() if file.exists()}
    if not results:
        return False
    head = ["command", *COLUMNS, *HEADS.get(table, ("validation perplexity", "at most, within minutes"))]
    lines = [head, ["---"] * len(head)]
    lines += [
        [f"`{result['origin']['command']}`", *cells(result), *ends(table, one, result, results)]
        for one, result in results.items()
    ]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if table == "seeds":
        values = [result["report"]["perplexity"] for result in results.values()]
        text += f"\nMean {np.mean(values):.2f}, from {min(values):.2f} to {max(values):.2f}\n"
    if table == "defaults":
        text += "".join(neighbours(folder / f"{one.name}.fastlm") for one in results)
    (folder / f"{table}.md").write_text(text, encoding="utf-8")
    print(f"\n{text}", flush=True)
    return True


HEADS = {
    **{name: ("validation perplexity", "of the recipe") for name in TABLES if name.startswith("ablation")},
    "korean": ("perplexity", "unknown tokens", "bits a character, unknown ones unspelled", "bits a character"),
}


def cells(result: dict[str, Any]) -> list[str]:
    minutes, rate = result["seconds"] / 60, result["gflops"]
    return [
        f"{result['parameters']:,}",
        f"{result['epochs']:.1f}",
        f"{minutes:.1f}",
        f"{result['tokens_per_second']:,.0f}",
        f"{rate:.0f}",
        f"{minutes * rate / RATE:.1f}",
    ]


def ends(table: str, one: Run, result: dict[str, Any], results: dict[Run, dict[str, Any]]) -> list[str]:
    """Return the last cells of a row: what is measured, and what it is to be compared with."""
    report = result["report"]
    perplexity = f"{report['perplexity']:.2f}"
    if table == "korean":
        unknown, unspelled = report["num_unknown"] / report["num_words"], report["bits_per_character"]
        spelled = unspelled + result["spelling_bits"] / report["num_characters"]
        return [perplexity, f"{100 * unknown:.2f} %", f"{unspelled:.3f}", f"{spelled:.3f}"]
    if table.startswith("ablation"):
        baseline = results.get(TABLES[table].runs[0])
        difference = report["perplexity"] - baseline["report"]["perplexity"] if baseline else 0.0
        return [perplexity, f"{difference:+.2f}"]
    return [perplexity, ", ".join(f"{value:g}" for value in (one.at_most, one.minutes) if value is not None)]


def neighbours(model: Path) -> str:
    """Write the nearest words of some words."""
    lines = [f"\nNearest words in {model.name}\n\n"]
    for word in WORDS:
        found = fastlm("similar", model, word, "-k", "5")["neighbours"]
        lines.append(f"    {word:10} {', '.join(neighbour['word'] for neighbour in found)}\n")
    return "".join(lines)
