"""Maps of words: coordinates, labels and fonts."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TinyModel

import fastlm
from fastlm.errors import FileError
from fastlm.inference.fonts import choose_fonts
from fastlm.inference.map_picture import draw_map, picture_kind, place_labels
from fastlm.inference.word_map import WordMap, frequent_words, map_words


@pytest.fixture
def model():
    return TinyModel()


def words_of(model):
    return list(model.vocabulary.words[2:])


def test_the_plane_is_that_of_the_covariance(model):
    words = words_of(model)
    word_map = map_words(model, words)
    table = model.embeddings[[model.vocabulary[word] for word in words]].astype(np.float64)
    directions = table / np.linalg.norm(table, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(directions.T))
    expected = (directions - directions.mean(axis=0)) @ vectors[:, [-1, -2]]
    assert word_map.words == words
    assert np.abs(word_map.points) == pytest.approx(np.abs(expected), abs=1e-6)
    assert word_map.shares == pytest.approx((values[-1] / values.sum(), values[-2] / values.sum()))
    largest = np.abs(word_map.points).argmax(axis=0)
    assert (word_map.points[largest, [0, 1]] > 0).all()  # a table has one map


def test_order_and_length_change_nothing(model):
    words = words_of(model)
    before = dict(zip(words, map_words(model, words).points.tolist(), strict=True))
    model.embeddings[4] *= 7
    again = map_words(model, [*words[::-1], words[0]])
    assert again.words == words[::-1]
    assert again.points == pytest.approx(np.array([before[word] for word in again.words]), abs=1e-5)


def test_words_that_have_no_place(model):
    words = words_of(model)
    with pytest.raises(ValueError, match="got 2 different words, expected at least 3"):
        map_words(model, [*words[:2], words[0]])
    with pytest.raises(ValueError, match="'none' is not in the model's vocabulary"):
        map_words(model, [*words, "none"])
    model.embeddings[model.vocabulary[words[1]]] = 0
    with pytest.raises(ValueError, match=f"the embedding of {words[1]!r} is all zeros"):
        map_words(model, words)


def test_vectors_of_one_number(model):
    vocabulary = fastlm.Vocabulary(["a", "b", "c", "d"])
    narrow = fastlm.NNLM(vocabulary, embedding_dim=1, hidden_size=2)
    word_map = map_words(narrow, ["a", "b", "c", "d"])
    assert not word_map.points[:, 1].any()
    assert word_map.shares[1] == 0


def test_the_most_frequent_words():
    counted = fastlm.Vocabulary(["a", "b", "c"], np.array([9, 8, 1, 3, 2]))
    assert frequent_words(fastlm.NNLM(counted, embedding_dim=2, hidden_size=2), 2) == ["b", "c"]
    listed = fastlm.Vocabulary(["a", "b", "c"])
    assert frequent_words(fastlm.NNLM(listed, embedding_dim=2, hidden_size=2), 9) == ["a", "b", "c"]


POINTS = st.lists(st.tuples(st.floats(100, 900), st.floats(100, 900)), min_size=1, max_size=12)


@given(POINTS, st.integers(5, 60), st.integers(5, 15))
def test_labels_stay_inside_and_near_their_points(points, width, height):
    places, sizes = np.array(points), np.tile([float(width), float(height)], (len(points), 1))
    corners = place_labels(places, sizes, np.array([0.0, 0.0, 1000.0, 1000.0]))
    gaps = np.maximum(np.maximum(corners - places, places - corners - sizes), 0)
    assert gaps.max() <= 66
    assert (corners >= 0).all()
    assert (corners + sizes <= 1000).all()


def test_labels_of_a_crowd_do_not_cover_each_other():
    places = np.array([[500.0 + x, 500.0 + y] for x in (0, 20, 40) for y in (0, 10, 20)])
    sizes = np.tile([40.0, 10.0], (9, 1))
    corners = place_labels(places, sizes, np.array([0.0, 0.0, 1000.0, 1000.0]))
    for number, corner in enumerate(corners):
        apart = np.abs(np.delete(corners, number, axis=0) - corner) >= sizes[0] - 1e-6
        assert apart.any(axis=1).all()


def test_fonts(monkeypatch):
    pytest.importorskip("matplotlib")
    assert choose_fonts(["word", "été"]) == ["DejaVu Sans"]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: ["/nowhere/font.ttf"])
    with pytest.raises(
        FileError, match=r"has '고', and 1 of the 2 words cannot be written, as '고양이'; install a font"
    ):
        choose_fonts(["cat", "고양이"])


def test_a_font_that_has_what_is_missing_is_found(monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib import font_manager, get_data_path

    other = f"{get_data_path()}/fonts/ttf/STIXGeneral.ttf"  # has one that matplotlib's first one has not
    known = [font_manager.get_font(path).get_charmap() for path in (font_manager.findfont("DejaVu Sans"), other)]
    character = chr(min(code for code in known[1] if code not in known[0] and code > 0x20))
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: ["/nowhere/font.ttf", other])
    assert choose_fonts(["word", character]) == ["DejaVu Sans", "STIXGeneral"]


@pytest.fixture
def three_syllables(tmp_path, monkeypatch):
    """Let the one installed font be one of 고, 양 and 이, without the letters that they are made of."""
    font_manager = pytest.importorskip("matplotlib.font_manager")
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names, path = [".notdef", "go", "yang", "i"], str(tmp_path / "font.ttf")
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, "고양이"), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Three Syllables", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_picture_of_korean_words(three_syllables, tmp_path, form):
    words = [unicodedata.normalize(form, word) for word in ("고양이", "고이", "été")]
    figure = draw_map(WordMap(words, np.random.default_rng(0).normal(size=(3, 2)), (0.5, 0.25)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["고양이", "고이", "été"]
    assert figure.axes[0].texts[0].get_fontfamily() == ["DejaVu Sans", "Three Syllables"]
    for kind in ("png", "svg", "pdf"):  # a character without a glyph would be warned of
        figure.savefig(tmp_path / f"map.{kind}")


def test_kinds_of_pictures():
    pytest.importorskip("matplotlib")
    assert [picture_kind(name) for name in ("map.png", "a.b/map.SVG", "map.pdf")] == ["png", "svg", "pdf"]
    for name in ("map", "map.doc", ".png"):
        with pytest.raises(ValueError, match="does not end as a picture; expected"):
            picture_kind(name)


def test_a_picture_of_words_that_look_like_formulas(tmp_path):
    pytest.importorskip("matplotlib")
    words = ["$a$", "_b^", "\\c", "word"]
    figure = draw_map(WordMap(words, np.random.default_rng(0).normal(size=(4, 2)), (0.5, 0.25)))
    figure.savefig(tmp_path / "map.png")
    figure.savefig(tmp_path / "map.svg")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert [text.get_text() for text in figure.axes[0].texts] == words
    assert "50% of the variance" in figure.axes[0].get_xlabel()
