"""Learning curves: the logs of runs, as a picture."""

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from fastlm.errors import DataError, LineError
from fastlm.inference.fonts import choose_fonts
from fastlm.storage import Source, atomic_write
from fastlm.storage.files import system_failures

__all__ = ["AXES", "Curve", "draw_curves", "read_curve", "read_curves"]

AXES = ("epochs", "minutes", "steps")
SIZE = (8.0, 5.0)  # inches
DOTS_PER_INCH = 150
TRAINING: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8}


@dataclass(frozen=True)
class Curve:
    """How perplexity went down in a run: one value for each epoch.

    Attributes
    ----------
    name : str
        That of the log, without its ending.
    epochs, minutes, steps : list of float
        What had been done at the end of each epoch, from the beginning of the run; minutes are those of training and
        validation, from the beginning of the log.
    train, valid : list of float
        Perplexities; NaN where there is none.
    """

    name: str
    epochs: list[float]
    minutes: list[float]
    steps: list[float]
    train: list[float]
    valid: list[float]

    @property
    def best(self) -> int | None:
        """Index of the lowest validation perplexity; None if there is none."""
        measured = [(value, index) for index, value in enumerate(self.valid) if not math.isnan(value)]
        return min(measured)[1] if measured else None


def read_curve(path: Source) -> Curve:
    """Read the epochs in the log of a run.

    Parameters
    ----------
    path : path
        What `fastlm train --log` or `Trainer(log=…)` has written, also while it is still being written.

    Raises
    ------
    FileError
        If it cannot be read.
    DataError
        If it is not such a log, or no epoch is finished in it.

    Examples
    --------
    >>> from pathlib import Path
    >>> figures = '"step": 9, "seconds": 30, "part": 1, "train_perplexity": 9, "valid_perplexity": 8'
    >>> lines = [f'{{"event": "epoch", "epoch": {number}, {figures}}}' for number in (1, 2)]
    >>> _ = Path("run.jsonl").write_text("".join(f"{line}{chr(10)}" for line in lines))
    >>> curve = read_curve("run.jsonl")
    >>> curve.name, curve.epochs, curve.minutes, curve.valid
    ('run', [1.0, 2.0], [0.5, 1.0], [8.0, 8.0])
    """
    name = os.fspath(path)
    with system_failures("read", path):
        lines = Path(path).read_bytes().split(b"\n")
    finished = lines[:-1]  # a line that is being written has no end yet
    events = [_event(line, name, number) for number, line in enumerate(finished, start=1)]
    epochs = [event for event in events if event["event"] == "epoch"]
    if not epochs:
        raise DataError(f"{name}: no epoch is finished in it; expected the log of a run (fastlm train … --log FILE)")
    try:
        return Curve(
            Path(name).stem,
            epochs=[float(epoch["epoch"] - 1 + epoch["part"]) for epoch in epochs],
            minutes=list(accumulate(float(epoch["seconds"]) / 60 for epoch in epochs)),
            steps=[float(epoch["step"]) for epoch in epochs],
            train=[_number(epoch["train_perplexity"]) for epoch in epochs],
            valid=[_number(epoch["valid_perplexity"]) for epoch in epochs],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name}: an epoch is not described as fastlm train does it ({error!r})") from error


def read_curves(paths: Sequence[Source]) -> list[Curve]:
    """Read several logs; those whose names are alike have their paths as names, so that they can be told apart.

    Parameters
    ----------
    paths : sequence of paths
        As for `read_curve`.
    """
    curves = [read_curve(path) for path in paths]
    names = Counter(curve.name for curve in curves)
    return [
        curve if names[curve.name] == 1 else replace(curve, name=os.fspath(path))
        for curve, path in zip(curves, paths, strict=True)
    ]


def draw_curves(curves: list[Curve], path: Source, *, against: str = "epochs") -> None:
    """Draw curves into one picture: validation as solid lines, training as dashed ones, the best epoch as a dot.

    The legend says which line is which, and the lowest validation perplexity of each run.

    Parameters
    ----------
    curves : list of Curve
    path : path
        The picture; its ending says of what kind: .png, .svg, .pdf.
    against : {"epochs", "minutes", "steps"}
        What is on the horizontal axis.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the ending is not that of a kind of picture.
    """
    if against not in AXES:
        raise ValueError(f"against is {against!r}, expected one of {', '.join(AXES)}")
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogFormatter, MaxNLocator
    except ImportError as error:
        raise ImportError(
            'curves are drawn by matplotlib, which is not there; install it: pip install "fastlm[plot]"'
        ) from error
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{os.fspath(path)!r} does not end as a picture; expected .png, .svg or .pdf")
    axes = figure.add_subplot(xlabel=against, ylabel="perplexity", yscale="log")
    for index, curve in enumerate(curves):
        _draw(axes, curve, getattr(curve, against), f"C{index}")
    _add_legend(axes, curves)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 1)))
    axes.grid(which="both", alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format=kind)


def _add_legend(axes: Any, curves: list[Curve]) -> None:
    """Name the runs and the kinds of lines; names of files are no formulas, and may begin with an underscore."""
    names = [*(_title(curve) for curve in curves), "validation", "training"]
    markers = [*axes.plot([], [], color="grey"), *axes.plot([], [], color="grey", **TRAINING)]
    markers = [*(axes.plot([], [], "s", color=f"C{index}")[0] for index in range(len(curves))), *markers]
    legend, fonts = axes.legend(markers, ["name"] * len(names)), choose_fonts(names)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False, fontfamily=fonts)


def _title(curve: Curve) -> str:
    return curve.name if curve.best is None else f"{curve.name}, at best {curve.valid[curve.best]:.2f}"


def _draw(axes: Any, curve: Curve, places: list[float], color: str) -> None:
    """Draw one run; points are marked, for a run of one epoch is nothing else."""
    best = curve.best
    axes.plot(places, curve.train, ".", color=color, markersize=4, **TRAINING)
    axes.plot(places, curve.valid, ".", color=color, markersize=4, linestyle="-")
    if best is not None:
        axes.plot(places[best], curve.valid[best], "o", color=color)


def _event(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "event" not in event:
        raise LineError(name, number, "not a line of a run's log; expected what fastlm train --log FILE writes")
    return event


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
