"""Where an `ImageTable` reads from: files, or the generator of `streets`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.data.bands import RGB, Bands, read_pixels
from udacore.data.reading import check_png, image_size, label_size, orientation, read_label
from udacore.datasets import LabelKind
from udacore.errors import DataError, list_names
from udacore.labels import IGNORE, Label, remap

Image = NDArray[Any]
_SMALL = 256 * 128  # pixels of a drawn image up to which it is kept


@attrs.frozen(eq=False)
class ImageFiles:
    """Images in files: `read` gives RGB uint8 H W 3, `size` (height, width), `where` words for a message.

    overlay  the images were written by a run: their checksums are compared
    bands    other channels than RGB of 8 bits: `read` gives float32 H W C on 0..255
    """

    paths: tuple[str, ...]
    overlay: bool = False
    bands: Bands = RGB

    def read(self, index: int) -> Image:
        """The image; DataError if the file is missing or broken."""
        if self.overlay:
            check_png(self.paths[index], "image")
        return read_pixels(self.paths[index], self.bands)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) from the file's header."""
        return image_size(self.paths[index])

    def where(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]

    def orientation(self, index: int) -> int:
        """The EXIF orientation that `read` applies; 1 is upright as stored."""
        return orientation(self.paths[index])


@attrs.frozen(eq=False, kw_only=True)
class LabelFiles:
    """Labels in files: `raw` gives the ids as stored, `read` train ids (uint8 H W, 255 = ignore).

    kind     how the files are encoded
    table    uint8[256], raw id -> train id
    known    bool[256], the raw ids that may occur
    strict   an id that is not known is an error on reading, not only in the checks
    overlay  the label or its image replaces a data set's own, so that their sizes may differ
    hint     words on what may be wrong where no class is found; empty for those of the encoding
    measure  path -> (height, width) without decoding, for a `kind` that is a function;
             None: the file is decoded
    """

    paths: tuple[str, ...]
    kind: LabelKind | Callable[[Path], Any]
    table: Label
    known: NDArray[np.bool_]
    strict: bool = False
    overlay: bool = False
    hint: str = ""
    measure: Callable[[Path], tuple[int, int]] | None = None

    def raw(self, index: int) -> NDArray[Any]:
        """The ids as stored; DataError if the file is missing, broken or encoded in another way."""
        if self.overlay:
            check_png(self.paths[index], "label")
        return read_label(self.paths[index], self.kind)

    def read(self, index: int) -> Label:
        """Train ids; DataError as `raw`, and if `strict` for unknown ids."""
        return self.map_ids(index, self.raw(index))

    def map_ids(self, index: int, raw: NDArray[Any]) -> Label:
        """Train ids of the ids of label `index`, or of a part of it; DataError if
        `strict` for unknown ones."""
        if self.strict:
            unknown = unknown_ids(raw, self.known)
            if unknown:
                highest = int(np.flatnonzero(self.known[:IGNORE]).max(initial=0))
                raise DataError(f"label {self.paths[index]} holds {listed(unknown)}, expected train ids 0 to {highest} or {IGNORE}")
        return remap(raw, self.table)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) from the file's header; of a format that a function reads, by reading it."""
        if callable(self.kind):
            return label_size(self.paths[index], self.kind, self.measure)
        return image_size(self.paths[index], what="label")

    def where(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]

    def fingerprint(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            with open(self.paths[index], "rb") as file:
                return file.read()
        except OSError as error:
            raise DataError(f"label {self.paths[index]} cannot be read ({error.strerror})") from error


def unknown_ids(raw: NDArray[Any], known: NDArray[np.bool_]) -> list[int]:
    """The ids in `raw` that are not known, ascending."""
    if raw.dtype == np.uint8:
        counts = np.bincount(raw.ravel(), minlength=256)
        return [int(each) for each in np.flatnonzero(counts.astype(bool) & ~known)]
    return [int(each) for each in np.unique(raw) if not 0 <= each <= 255 or not known[each]]


def listed(ids: list[int]) -> str:
    """The first few ids in words."""
    return list_names(ids, most=8)


@attrs.frozen(kw_only=True)
class Drawing:
    """A list of images of the embedded domains; image `index` depends on nothing but these fields."""

    pair: str
    domain: Literal["source", "target"]
    split: str
    size: tuple[int, int]
    seed: int

    def render(self, index: int) -> tuple[Image, Label]:
        """Image (RGB uint8 H W 3) and label (raw ids, uint8 H W), not to be written to; small ones
        are kept by this process."""
        is_small = self.size[0] * self.size[1] <= _SMALL
        return _render(self, index) if is_small else _render.__wrapped__(self, index)

    def where(self, index: int) -> str:
        """Words for a message."""
        return f"streets {self.pair} {self.domain} {self.split}/{index:05d}"


@lru_cache(maxsize=2000)  # at most 256 MB
def _render(drawing: Drawing, index: int) -> tuple[Image, Label]:
    from udacore.data import streets  # OpenCV's drawing code is needed by this data set only

    image, label = streets.render(drawing.pair, drawing.domain, drawing.split, index, size=drawing.size, seed=drawing.seed)
    image.setflags(write=False)
    label.setflags(write=False)
    return image, label


@attrs.frozen(eq=False)
class DrawnImages:
    """Images of the embedded domains, with the methods of `ImageFiles`."""

    drawing: Drawing

    def read(self, index: int) -> Image:
        """The image, a copy."""
        return self.drawing.render(index)[0].copy()

    def size(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        return self.drawing.size[1], self.drawing.size[0]

    def where(self, index: int) -> str:
        """Words for a message."""
        return self.drawing.where(index)

    def orientation(self, index: int) -> int:
        """1: drawn upright."""
        return 1


@attrs.frozen(eq=False, kw_only=True)
class DrawnLabels:
    """Labels of the embedded domains, with the fields and methods of `LabelFiles`."""

    drawing: Drawing
    table: Label
    known: NDArray[np.bool_]
    overlay: bool = False

    def raw(self, index: int) -> NDArray[Any]:
        """The generator's ids."""
        return self.drawing.render(index)[1]

    def read(self, index: int) -> Label:
        """Train ids."""
        return remap(self.raw(index), self.table)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        return self.drawing.size[1], self.drawing.size[0]

    def where(self, index: int) -> str:
        """Words for a message."""
        return self.drawing.where(index)

    def fingerprint(self, index: int) -> bytes:
        """What the label depends on."""
        return f"{self.drawing!r} {index}".encode()


Images = ImageFiles | DrawnImages
Labels = LabelFiles | DrawnLabels
