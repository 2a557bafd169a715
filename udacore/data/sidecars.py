"""Further maps beside the images of a domain, such as depth, or masks of their margins: the setting `extras`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config.schema import ExtraConfig, MarginConfig
from udacore.data.arrays import is_array, load_array
from udacore.data.layouts import IMAGE_SUFFIXES, LABEL_SUFFIXES
from udacore.data.reading import opened_image, read_image, read_label
from udacore.data.sources import Images
from udacore.data.tiles import TiledImages, Window
from udacore.errors import DataError

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "float": (".npy", ".png", ".tif", ".tiff"), "label": LABEL_SUFFIXES, "image": IMAGE_SUFFIXES,
}  # fmt: skip
"""Kind -> endings of its files."""


@attrs.frozen(eq=False, kw_only=True)
class Sidecar:
    """One further map of each image, in files.

    name     its key under `extras`
    paths    a file for each image of a table
    kind     float, label or image
    factor   floats are multiplied by it
    windows  the windows that the table's samples are of larger images; empty where they are whole
    """

    name: str
    paths: tuple[str, ...]
    kind: str
    factor: float = 1.0
    windows: tuple[Window, ...] = ()

    def read(self, index: int) -> NDArray[Any]:
        """float32 H W, uint8 H W, or RGB uint8 H W 3. DataError, naming the file, if it is missing,
        broken or of another kind.

        Of a window: these rows and columns; DataError for a file of another size than the whole image.
        """
        whole = self._read_whole(self.paths[index])
        if not self.windows:
            return whole
        window = self.windows[index]
        if whole.shape[:2] != window.whole:
            (height, width), (rows, columns) = whole.shape[:2], window.whole
            raise DataError(f"{self.name} {self.paths[index]} is {width} x {height}, but its image, which is cut into tiles, {columns} x {rows}")
        return window.cut(whole)

    def _read_whole(self, path: str) -> NDArray[Any]:
        if self.kind == "image":
            return read_image(path)
        if self.kind == "float":
            return read_floats(Path(path), self.name) * np.float32(self.factor)
        raw = read_label(path, "ids")
        if raw.size and not 0 <= int(raw.min()) <= int(raw.max()) <= 255:
            raise DataError(f"{self.name} {path} holds ids from {int(raw.min())} to {int(raw.max())}, expected 0 to 255")
        return raw.astype(np.uint8, copy=False)


@attrs.frozen(eq=False, kw_only=True)
class Margins:
    """A mask of each image, made when it is asked for: False at the edges of the image as it lies on disk.

    place    its setting, such as `target.extras.trusted`
    margins  how many rows and columns are False
    images   whose sizes it has; of a window it is the part of the whole image's mask
    """

    place: str
    margins: MarginConfig
    images: Images | TiledImages

    def read(self, index: int) -> NDArray[np.bool_]:
        """bool H W. DataError, naming the image, where the margins leave nothing of it."""
        window = self.images.windows[index] if isinstance(self.images, TiledImages) else None
        height, width = self.images.size(index) if window is None else window.whole
        mask = margin_mask((height, width), self.margins)
        if not mask.any():
            raise DataError(f"{self.place}.margins leave nothing of image {self.images.where(index)} of {width} x {height}")
        return mask if window is None else window.cut(mask)


def margin_mask(size: tuple[int, int], margins: MarginConfig) -> NDArray[np.bool_]:
    """bool H W of `size` (height, width): False in the margins, which may overlap."""
    height, width = size
    mask = np.zeros(size, np.bool_)
    mask[margins.top : max(height - margins.bottom, 0), margins.left : max(width - margins.right, 0)] = True
    return mask


def read_floats(path: Path, what: str) -> NDArray[np.float32]:
    """Numbers H W as float32, from an array or an image of one channel (8, 16 or 32 bits, or float).
    DataError for another file."""
    if is_array(path):
        array = np.asarray(load_array(path, what))
    else:
        with opened_image(path, what) as picture:
            array = np.asarray(picture)
            if picture.mode in ("P", "1"):
                raise DataError(f"{what} {path} holds colours of a palette, expected numbers")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise DataError(f"{what} {path} holds {array.dtype} {array.shape}, expected numbers H W")
    return array.astype(np.float32)


def file_keys(names: Sequence[str], config: ExtraConfig) -> tuple[str, ...]:
    """The keys of the files that belong to images of these names."""
    keys = list(names)
    for text, other in config.rename.items():
        keys = [key.replace(text, other) for key in keys]
    return tuple(keys)
