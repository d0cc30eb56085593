"""Fonts that have the characters of some words, of those that are installed; by matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from fastlm.errors import FileError

__all__ = ["choose_fonts"]

PREFERRED = ("gothic", "sans")  # in the name of a font for labels, where there is a choice


def choose_fonts(words: Sequence[str]) -> list[str]:
    """Choose fonts for words.

    Parameters
    ----------
    words : sequence of str

    Returns
    -------
    list of str
        For matplotlib's `fontfamily`: its own font, and after it those that have what is missing there.

    Raises
    ------
    FileError
        If no installed font has a character: boxes in its place would say nothing.
    """
    from matplotlib import font_manager

    own = font_manager.findfont(font_manager.FontProperties())
    families = [font_manager.get_font(own).family_name]
    missing = _missing(set("".join(words)), own)
    paths = sorted(font_manager.findSystemFonts()) if missing else []
    while missing:
        lacks = {path: found for path in paths if len(found := _missing(missing, path)) < len(missing)}
        if not lacks:
            without = [word for word in words if missing.intersection(word)]
            raise FileError(
                f"no font that is installed has {min(missing)!r}, and {len(without)} of the {len(words)} words cannot "
                f"be written, as {without[0]!r}; install a font that has it (for Korean the package fonts-nanum or "
                "fonts-noto-cjk), or take other words"
            )
        best = min(lacks, key=lambda path: (len(lacks[path]), *_taste(path)))
        font_manager.fontManager.addfont(best)  # matplotlib's list may be older than the font
        families.append(font_manager.get_font(best).family_name)
        missing = lacks[best]
    return families


def _missing(characters: set[str], path: str) -> set[str]:
    """Return the characters that a font file does not have; all, if it cannot be read."""
    from matplotlib import font_manager

    try:
        known = font_manager.get_font(path).get_charmap()
    except (OSError, RuntimeError):
        return characters
    return {character for character in characters if ord(character) not in known}


def _taste(path: str) -> tuple[bool, bool, str]:
    from matplotlib import font_manager

    name = Path(path).name.lower()
    return (
        font_manager.get_font(path).style_name not in ("Regular", "Book"),
        not any(preferred in name for preferred in PREFERRED),
        path,
    )
