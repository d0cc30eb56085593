"""A map of words as a picture, by matplotlib, which is asked for only here."""

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.fonts import choose_fonts
from fastlm.inference.word_map import WordMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_map", "picture_kind", "place_labels"]

Floats: TypeAlias = NDArray[np.float64]

SIZE = (11.0, 8.5)  # inches
DOTS_PER_INCH = 150
LABEL_SIZE = 8.0  # points
DOT = 3.0  # pixels from the middle of a point to what may stand beside it
DISTANCES = (4.0, 9.0, 16.0, 25.0, 36.0, 50.0, 66.0)  # pixels from a point to its label, tried in turn
NEAREST = 8.0  # beyond that a line shows what belongs together
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def draw_map(word_map: WordMap) -> "Figure":
    """Draw the words where they lie, with labels that do not cover each other where there is room.

    Labels are written in matplotlib's font, and where that has not the characters, Korean ones for example, in an
    installed one that has them.

    Parameters
    ----------
    word_map : WordMap

    Returns
    -------
    matplotlib.figure.Figure
        For `savefig`; no window is needed.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    FileError
        If no installed font has a character of the words.

    Examples
    --------
    >>> import fastlm
    >>> from fastlm.inference.word_map import map_words
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> draw_map(map_words(model, ["cat", "mat", "sat"])).savefig("map.png")
    """
    figure = _new_figure()
    words = [unicodedata.normalize("NFC", word) for word in word_map.words]  # fonts have syllables, not all their parts
    style: dict[str, Any] = {"fontsize": LABEL_SIZE, "fontfamily": choose_fonts(words), "parse_math": False}
    first, second = word_map.shares
    axes = figure.add_subplot(
        xlabel=f"first principal component, {first:.0%} of the variance",
        ylabel=f"second, {second:.0%}",
        aspect="equal",
        adjustable="datalim",
    )
    axes.plot(*word_map.points.T, "o", markersize=2.5, markeredgewidth=0)
    axes.margins(0.05)
    axes.grid(alpha=0.2)
    labels = [axes.text(0, 0, word, in_layout=False, **style) for word in words]
    figure.draw_without_rendering()  # from here on it is known where things are
    sizes = np.array([label.get_window_extent().size for label in labels])
    points = axes.transData.transform(word_map.points)
    corners = place_labels(points, sizes, np.array(axes.bbox.extents))
    to_data = axes.transData.inverted().transform
    for label, corner, size, point in zip(labels, corners, sizes, points, strict=True):
        label.set(position=to_data(corner), verticalalignment="bottom")
        near = np.clip(point, corner, corner + size)
        if np.abs(near - point).max() > NEAREST:
            axes.plot(*to_data([point, near]).T, color="0.6", linewidth=0.4, zorder=0)
    return figure


def picture_kind(path: str | os.PathLike[str]) -> str:
    """Return what kind of picture a file is to be, by its ending, for `savefig`.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If the ending is not that of a picture.

    Examples
    --------
    >>> picture_kind("map.PNG")
    'png'
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in _new_figure().canvas.get_supported_filetypes():
        raise ValueError(f"{os.fspath(path)!r} does not end as a picture; expected .png, .svg or .pdf")
    return kind


def _new_figure() -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'maps are drawn by matplotlib, which is not there; install it: pip install "fastlm[plot]"'
        ) from error
    figure = Figure(figsize=SIZE, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def place_labels(points: Floats, sizes: Floats, frame: Floats) -> Floats:
    """Choose a place beside its point for each label, where it covers neither labels before it nor points.

    Parameters
    ----------
    points, sizes : (N, 2) float64
        Width and height of the labels, in the unit of the points.
    frame : (4,) float64
        Left, bottom, right and top of what there is to write on.

    Returns
    -------
    (N, 2) float64
        The lower left corners. Of places that are free, the nearest; where none is, that which covers least.

    Examples
    --------
    >>> points, sizes = np.array([[0.0, 0.0], [5.0, 0.0]]), np.array([[20.0, 10.0], [20.0, 10.0]])
    >>> left, right = place_labels(points, sizes, np.array([-100.0, -100.0, 100.0, 100.0]))
    >>> bool(abs(left[0] - right[0]) >= 20 or abs(left[1] - right[1]) >= 10)
    True
    """
    sides, distances = np.array(SIDES, np.float64), np.array(DISTANCES)
    shifts = (distances[:, np.newaxis, np.newaxis] * sides).reshape(-1, 2)  # the nearest first
    anchors = np.tile((sides - 1) / 2, (len(distances), 1))
    taken = np.concatenate([points - DOT, points + DOT], axis=1)
    corners = np.empty_like(points)
    for number, (point, size) in enumerate(zip(points, sizes, strict=True)):
        lower = point + shifts + anchors * size
        boxes = np.concatenate([lower, lower + size], axis=1)
        outside = size.prod() - _overlaps(boxes, frame[np.newaxis])[:, 0]
        covered = _overlaps(boxes, np.delete(taken, number, axis=0)).sum(axis=1) + outside
        best = int(np.argmin(covered.round(6)))
        corners[number] = lower[best]
        taken = np.concatenate([taken, boxes[best : best + 1]])
    return corners


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Return the areas that pairs of boxes share, (N, M)."""
    lower = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    upper = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    areas: Floats = np.maximum(upper - lower, 0.0).prod(axis=2)
    return areas
