"""Letters of any script in a picture: from a font that has them, or as what they are called."""

import functools
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"  # Comes with matplotlib.


def spell(text: str) -> str:
    r"""Returns a text in which every letter can be drawn.

    A letter that no font has, or that would end the line, becomes its number, as in `\u{732b}`: a
    box would look like any other. A mark that shows nothing by itself is left out then.
    """
    return "".join(
        letter if unicodedata.category(letter) != "Cc" and family_with(letter) else _number(letter)
        for letter in text.encode(errors="replace").decode()
    )


def families(texts: Iterable[str]) -> list[str]:
    """Returns the font families that have all letters, matplotlib's own first."""
    found = map(family_with, sorted(set().union(*texts)))
    return [*dict.fromkeys([OWN, *(family for family in found if family)])]


@functools.cache
def family_with(letter: str) -> str | None:
    """Returns a font family that has a letter; None where none is installed."""
    if _own().get_char_index(ord(letter)):
        return OWN
    found = next((font for font in _installed() if font.get_char_index(ord(letter))), None)
    if found is None:
        return None
    font_manager.fontManager.addfont(str(found.fname))  # It may be newer than matplotlib's list.
    return found.family_name


def width(text: str) -> int:
    """Returns the width of a text in Latin letters; one of Chinese or Japanese is twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _number(letter: str) -> str:
    if unicodedata.category(letter) in ("Cf", "Mn"):
        return ""
    # In braces: what follows in the name may be a digit.
    return rf"\u{{{ord(letter):x}}}" if ord(letter) > 0xFF else ascii(letter)[1:-1]


@functools.cache
def _own() -> FT2Font:
    return FT2Font(font_manager.findfont(OWN))


@functools.cache
def _installed() -> list[FT2Font]:
    """The system's fonts that can be drawn at any size, upright sans-serif ones first."""
    paths = sorted(font_manager.findSystemFonts(), key=_preference)
    return [font for path in paths if (font := _open(path)) and font.scalable]


def _preference(path: str) -> tuple[bool, bool, str]:
    name = Path(path).name
    return "Sans" not in name, "Regular" not in name, path


def _open(path: str) -> FT2Font | None:
    try:
        return FT2Font(path)
    except (RuntimeError, OSError):  # A damaged one on this machine is none that could be used.
        return None
