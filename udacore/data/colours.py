"""Labels in colour images: each class has a colour, or its number lies in one channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.data.reading import opened_image
from udacore.errors import ConfigError, DataError, list_names
from udacore.labels import IGNORE, Colour, Label, LabelSpace, class_index

CHANNELS = ("red", "green", "blue", "alpha")
FIRST = 128
"""The raw id of the first colour of `label_colours`; a data set's own colours have lower ones."""

_NAMED = re.compile(r"(\d{1,3})[ ,]+(\d{1,3})[ ,]+(\d{1,3})")
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_ROWS = 512  # at a time, so that a large label takes no several times its memory


@attrs.frozen
class ColourLabels:
    """Reads a label whose colours stand for raw ids: (colour, raw id) in pairs, of
    one colour the last counts.

    Called with a path it gives uint8 H W. DataError, with the number of pixels, for a
    colour that is not listed.
    """

    pairs: tuple[tuple[Colour, int], ...]

    def __call__(self, path: Path) -> Label:
        """The raw ids of a label."""
        with opened_image(path, "label") as picture:
            if picture.format == "JPEG":
                raise DataError(f"label {path} is a JPEG, whose compression changes colours")
            colours = np.asarray(picture.convert("RGB"))  # drops transparency, and does not mix it in
        raw = np.empty(colours.shape[:2], np.uint8)
        table = _table(self.pairs)
        for top in range(0, len(raw), _ROWS):
            raw[top : top + _ROWS] = table[_codes(colours[top : top + _ROWS])]
        if (raw == IGNORE).any():
            raise DataError(
                f"label {path} holds {_describe(colours[raw == IGNORE])}; list it in label_colours, with 255 to ignore it"
            )
        return raw


@attrs.frozen
class ChannelLabels:
    """Reads a label whose ids lie in one channel of an RGB or RGBA image: uint8 H W.
    DataError for other images."""

    channel: str

    def __call__(self, path: Path) -> Label:
        """The raw ids of a label."""
        number = CHANNELS.index(self.channel)
        with opened_image(path, "label") as picture:
            if picture.format == "JPEG" or picture.mode not in ("RGB", "RGBA") or number >= len(picture.mode):
                held = "JPEG" if picture.format == "JPEG" else picture.mode
                raise DataError(f"label {path} is {held}, expected RGB or RGBA with a channel {self.channel}")
            return np.ascontiguousarray(np.asarray(picture)[..., number])


def parse_colour(text: str, where: str) -> Colour:
    """The colour that `255 0 0` names; commas, and `#ff0000`, are understood. ConfigError, naming `where`."""
    named, hexadecimal = _NAMED.fullmatch(text.strip()), _HEX.fullmatch(text.strip())
    parts = (
        [int(part) for part in named.groups()]
        if named
        else [int(part, 16) for part in hexadecimal.groups()]
        if hexadecimal
        else []
    )
    if len(parts) != 3 or max(parts) > 255:
        raise ConfigError(
            f"{where}: a colour is red green blue, each 0 to 255, such as `255 0 0`, got {text!r}"
        )
    red, green, blue = parts
    return red, green, blue


def given_colours(label_colours: Mapping[str, str | int]) -> tuple[tuple[Colour, int], ...]:
    """The colours of the setting with their raw ids. ConfigError for what is no colour, for one
    given twice, for too many."""
    pairs = tuple(
        (parse_colour(text, "label_colours"), FIRST + place) for place, text in enumerate(label_colours)
    )
    if len(pairs) > IGNORE - FIRST:
        raise ConfigError(f"label_colours: at most {IGNORE - FIRST} colours, got {len(pairs)}")
    colours = [colour for colour, _ in pairs]
    twice = [text for place, text in enumerate(label_colours) if colours[place] in colours[:place]]
    if twice:
        raise ConfigError(f"label_colours: {list_names(twice)} is listed twice")
    return pairs


def given_ids(label_colours: Mapping[str, str | int], space: LabelSpace) -> dict[int, int]:
    """{raw id: train id} of the colours of the setting; 255 stays 255. ConfigError for a
    class that the space lacks."""
    return {
        FIRST + place: IGNORE if given == IGNORE else class_index(space, given, "label_colours")
        for place, given in enumerate(label_colours.values())
    }


@lru_cache(maxsize=2)  # 16 MiB each
def _table(pairs: tuple[tuple[Colour, int], ...]) -> Label:
    """uint8[2**24]: colour as one number -> raw id; 255 where none is listed."""
    table = np.full(2**24, IGNORE, np.uint8)
    for (red, green, blue), raw in pairs:
        table[red << 16 | green << 8 | blue] = raw
    return table


def _codes(colours: NDArray[Any]) -> NDArray[np.uint32]:
    """Colours ... 3 as one number each."""
    wide = colours.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def _describe(unlisted: NDArray[np.uint8]) -> str:
    """Words on pixels N 3 of colours that are not listed, the most frequent first."""
    codes, counts = np.unique(_codes(unlisted), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = [
        f"{code >> 16} {code >> 8 & 255} {code & 255} ({count} pixel{'s' if count > 1 else ''})"
        for code, count in zip(codes[order].tolist(), counts[order].tolist(), strict=True)
    ]
    word = "the colour" if len(named) == 1 else f"{len(named)} colours that stand for nothing"
    return f"{word} {list_names(named)}" + (", which stands for nothing" if len(named) == 1 else "")
