"""Large images as many samples: windows of one size at a regular step, which together cover an image.

Of an evaluation set each pixel is scored once, in the window whose middle is nearest, as if the windows'
predictions had been put together: the label of a window is 255 where another counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config.schema import TileConfig
from udacore.data.arrays import is_array, read_image_array, read_label_array
from udacore.data.bands import read_bands
from udacore.data.sources import Image, ImageFiles, Images, LabelFiles, Labels
from udacore.errors import ConfigError, DataError
from udacore.labels import IGNORE, Label, remap


@attrs.frozen
class Window:
    """A window of an image: which image, its whole size, rows and columns, and those of them that
    count once; (begin, end)."""

    index: int
    whole: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    own_rows: tuple[int, int]
    own_columns: tuple[int, int]

    @property
    def name(self) -> str:
        """What is put behind the image's key: column, row, width and height."""
        height, width = self.size
        return f"@{self.columns[0]}-{self.rows[0]}-{width}x{height}"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def cut(self, whole: NDArray[Any]) -> NDArray[Any]:
        """The window of an array H W ..., a copy."""
        return np.array(whole[slice(*self.rows), slice(*self.columns)])

    @property
    def others(self) -> NDArray[np.bool_]:
        """bool H W: pixels that another window counts."""
        others = np.ones(self.size, np.bool_)
        (top, bottom), (left, right) = self.own_rows, self.own_columns
        others[
            top - self.rows[0] : bottom - self.rows[0], left - self.columns[0] : right - self.columns[0]
        ] = False
        return others


@attrs.frozen(eq=False)
class TiledImages:
    """Windows of images, with the methods of `ImageFiles`."""

    images: Images
    windows: tuple[Window, ...]

    def read(self, index: int) -> Image:
        """The window; of an array in a file only these rows and columns are read, of other
        formats the whole image."""
        window, files = self.windows[index], self.images
        if isinstance(files, ImageFiles) and is_array(Path(files.paths[window.index])):
            path = Path(files.paths[window.index])
            read: Callable[..., Image] = read_image_array if files.bands.is_rgb else partial(read_bands, bands=files.bands)
            return read(path, rows=window.rows, columns=window.columns)
        return window.cut(_whole_image(files, window.index))

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of the window."""
        return self.windows[index].size

    def where(self, index: int) -> str:
        """The image's file."""
        return self.images.where(self.windows[index].index)

    def orientation(self, index: int) -> int:
        """The EXIF orientation that `read` applies to the whole image."""
        return self.images.orientation(self.windows[index].index)


@attrs.frozen(eq=False, kw_only=True)
class TiledLabels:
    """Windows of labels, with the fields and methods of `LabelFiles`; `once`: a pixel
    counts in one window only."""

    labels: Labels
    windows: tuple[Window, ...]
    once: bool
    overlay: bool = False

    @property
    def table(self) -> Label:
        """uint8[256], raw id -> train id."""
        return self.labels.table

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool[256], the raw ids that may occur."""
        return self.labels.known

    @property
    def kind(self) -> object:
        """How the labels are encoded."""
        return getattr(self.labels, "kind", None)

    def raw(self, index: int) -> NDArray[Any]:
        """The ids of the window as stored. DataError as `LabelFiles.raw`, and for a label of
        another size than its image."""
        return self._cut(index, self._raw(index))

    def read(self, index: int) -> Label:
        """Train ids of the window, 255 where another window counts."""
        window = self.windows[index]
        raw, files = self.raw(index), self.labels
        label = files.map_ids(window.index, raw) if isinstance(files, LabelFiles) else remap(raw, self.table)
        return np.where(window.others, np.uint8(IGNORE), label) if self.once else label

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of the window; of the label where that is not of the image's size."""
        window = self.windows[index]
        size = self.labels.size(window.index)
        return window.size if size == window.whole else size

    def where(self, index: int) -> str:
        """The label's file."""
        return self.labels.where(self.windows[index].index)

    def fingerprint(self, index: int) -> bytes:
        """The file's bytes, and whether pixels count once."""
        return self.labels.fingerprint(self.windows[index].index) + bytes([self.once])

    def _raw(self, index: int) -> NDArray[Any]:
        number = self.windows[index].index
        if isinstance(self.labels, LabelFiles) and is_array(Path(self.labels.paths[number])):
            return read_label_array(Path(self.labels.paths[number]), mapped=True)
        return _whole_label(self.labels, number)

    def _cut(self, index: int, whole: NDArray[Any]) -> NDArray[Any]:
        window = self.windows[index]
        if whole.shape != window.whole:
            height, width = whole.shape
            raise DataError(
                f"label {self.where(index)} is {width} x {height}, but its image {window.whole[1]} x {window.whole[0]}"
            )
        return window.cut(whole)


@lru_cache(maxsize=1)  # windows of one image are often read one after another, by one process
def _whole_image(images: Images, index: int) -> Image:
    whole = images.read(index)
    whole.setflags(write=False)
    return whole


@lru_cache(maxsize=1)
def _whole_label(labels: Labels, index: int) -> NDArray[Any]:
    return labels.raw(index)


def find_windows(index: int, whole: tuple[int, int], tile: TileConfig, where: str) -> list[Window]:
    """The windows of an image of size `whole` (height, width), row by row; the last of
    each ends with the image.

    DataError, naming `where`, for an image that is smaller than a window; ConfigError for
    a step that leaves gaps.
    """
    assert tile.size is not None
    width, height = tile.size
    across, down = tile.stride or tile.size
    if across > width or down > height:
        raise ConfigError(f"tile.stride: {across} x {down} leaves gaps between tiles of {width} x {height}")
    if whole[0] < height or whole[1] < width:
        raise DataError(
            f"tile.size: {width} x {height} is larger than image {where} of {whole[1]} x {whole[0]}"
        )
    rows, columns = _spans(whole[0], height, down), _spans(whole[1], width, across)
    return [
        Window(index, whole, row, column, own_row, own_column)
        for row, own_row in rows
        for column, own_column in columns
    ]


def join_windows(image: NDArray[Any], tile: TileConfig, label: Callable[[NDArray[Any]], Label]) -> Label:
    """The labels (uint8 H W) of an image from those of its windows; a pixel that lies in several has that of the window
    whose middle is nearest, as it is scored. Errors are those of `find_windows`."""
    height, width = image.shape[:2]
    joined = np.empty((height, width), np.uint8)
    for window in find_windows(0, (height, width), tile, "to be labelled"):
        part = label(window.cut(image))
        (top, bottom), (left, right) = window.own_rows, window.own_columns
        rows, columns = slice(top - window.rows[0], bottom - window.rows[0]), slice(left - window.columns[0], right - window.columns[0])
        joined[top:bottom, left:right] = part[rows, columns]
    return joined


def _spans(whole: int, length: int, step: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(begin, end) of each window along one side, and of what counts in it: overlaps
    are divided in the middle."""
    begins = [*range(0, whole - length, step), whole - length]
    borders = [0, *((one + length + other) // 2 for one, other in itertools.pairwise(begins)), whole]
    return [
        ((begin, begin + length), own) for begin, own in zip(begins, itertools.pairwise(borders), strict=True)
    ]
