"""Curves show what the log of a run says."""

import builtins
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

import fastlm
from fastlm.errors import DataError, FileError
from fastlm.training.curves import AXES, Curve, draw_curves, read_curve, read_curves

CURVE = Curve("run", [1.0, 2.0], [0.5, 1.0], [10.0, 20.0], [9.0, 8.0], [7.0, 7.5])
UNMEASURED = Curve("other", [1.0], [1.0], [5.0], [9.0], [math.nan])


def test_a_curve_is_what_the_history_is(english_lines: list[str], tmp_path: Path) -> None:
    vocabulary = fastlm.Vocabulary.build(english_lines)
    text = fastlm.Corpus.encode(english_lines, vocabulary)
    model = fastlm.NNLM(vocabulary, embedding_dim=4, hidden_size=4)
    log = tmp_path / "small.jsonl"
    history = fastlm.Trainer(model, log=log, threads=1, batch_size=16).fit(text, text, epochs=3)
    curve = read_curve(log)
    assert curve.name == "small"
    assert curve.valid == [epoch.valid_perplexity for epoch in history.epochs]
    assert curve.train == [epoch.train_perplexity for epoch in history.epochs]
    assert curve.steps == [epoch.step for epoch in history.epochs]
    assert curve.epochs == [1, 2, 3]
    assert curve.minutes[-1] == pytest.approx(sum(epoch.seconds for epoch in history.epochs) / 60)
    assert curve.best is not None
    assert history.epochs[curve.best] == history.best


def write(path: Path, *epochs: dict[str, Any], end: str = "") -> Path:
    full = {"step": 1, "seconds": 60.0, "part": 1.0, "train_perplexity": 9.0, "valid_perplexity": 8.0}
    events = [{"event": "epoch", "epoch": number} | full | epoch for number, epoch in enumerate(epochs, start=1)]
    lines = [json.dumps(event) for event in events]
    path.write_text("".join(f"{line}\n" for line in ['{"event": "start"}', *lines]) + end)
    return path


def test_what_is_not_there_or_cut_short(tmp_path: Path) -> None:
    log = write(tmp_path / "a.jsonl", {"valid_perplexity": None}, {"part": 0.25}, end='{"event": "st')
    curve = read_curve(log)
    assert math.isnan(curve.valid[0])
    assert (curve.best, curve.epochs, curve.minutes) == (1, [1.0, 1.25], [1.0, 2.0])
    nothing = read_curve(write(tmp_path / "b.jsonl", {"valid_perplexity": None}))
    assert nothing.best is None


def test_a_log_that_was_begun_in_the_middle_of_a_run_stands_where_that_was(tmp_path: Path) -> None:
    curve = read_curve(write(tmp_path / "resumed.jsonl", {"epoch": 4}, {"epoch": 5, "part": 0.5}))
    assert curve.epochs == [4.0, 4.5]


def test_logs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "run.jsonl" for folder in "ab"] + [tmp_path / "other.jsonl"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        write(path, {})
    assert [curve.name for curve in read_curves(paths)] == [str(paths[0]), str(paths[1]), "other"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no epoch is finished in it"),
        ('{"event": "start"}\n', "no epoch is finished in it"),
        ('{"event": "start"}\nthe cat\n', "line 2: not a line of a run's log"),
        ("[1]\n", "line 1: not a line of a run's log"),
        ('{"event": "epoch", "step": 3}\n', "an epoch is not described"),
        ("\xff\n", "line 1: not a line"),
    ],
)
def test_what_is_no_log_is_said(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        read_curve(path)
    assert str(path) in str(caught.value)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_curve(tmp_path / "none")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_picture_is_one(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{suffix}"
    draw_curves([CURVE, UNMEASURED], path, against="minutes")
    assert path.read_bytes().startswith(magic)


def test_what_is_drawn_is_what_was_read(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    pictures = []
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters are text
        for index, against in enumerate(AXES):
            path = tmp_path / f"{index}.svg"
            draw_curves([CURVE, UNMEASURED], path, against=against)
            pictures.append(path.read_text())
            for words in ("perplexity", against, "run, at best 7.00", "other", "validation", "training"):
                assert f">{words}</text>" in pictures[-1]
    assert len(set(pictures)) == len(AXES)


def test_a_run_of_one_epoch_without_validation_is_seen(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = set()
    for perplexity in (9.0, math.nan):
        path = tmp_path / f"{perplexity}.png"
        draw_curves([CURVE, Curve("other", [1.0], [1.0], [5.0], [perplexity], [math.nan])], path)
        pictures.add(path.read_bytes())
    assert len(pictures) == 2


def test_pictures_of_no_kind_and_axes_of_no_kind(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("curves", "curves.txt"):
        with pytest.raises(ValueError, match="does not end as a picture"):
            draw_curves([CURVE], tmp_path / name)
    with pytest.raises(ValueError, match="expected one of epochs, minutes, steps"):
        draw_curves([CURVE], tmp_path / "curves.png", against="days")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def failing_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing_import)
    with pytest.raises(ImportError, match=re.escape('pip install "fastlm[plot]"')):
        draw_curves([CURVE], tmp_path / "curves.png")
