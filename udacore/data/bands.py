"""Images of other than three channels, or kept at 16 bits: float32 H W C on 0..255, in the order of the file."""

from __future__ import annotations

from pathlib import Path

import attrs
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.data.arrays import is_array, load_array
from udacore.data.decoding import UnreadableError, orientation_of, raw_mode
from udacore.data.reading import opened_image, read_image
from udacore.errors import DataError

Floats = NDArray[np.float32]
_BY_PILLOW = {"L", "LA", "RGB", "RGBA", "CMYK"}
"""Modes, as files store them, whose channels Pillow gives untouched: OpenCV multiplies colours by what it takes for
transparency, and Pillow drops a fourth channel that is none and keeps the high bytes of 16 bits."""
_WIDE = 257
"""65535 / 255: from 16 bits to the scale of 8."""


@attrs.frozen
class Bands:
    """What an image is to hold.

    channels  C
    bits      16: images of 16 bits keep all of them; 8: their high byte. Images of 8 bits are read under both
    """

    channels: int = 3
    bits: int = 8

    @property
    def is_rgb(self) -> bool:
        """Whether images are read as they look, RGB uint8."""
        return self == RGB


RGB = Bands()
"""What is read where nothing else is asked for."""


def read_pixels(path: str | Path, bands: Bands) -> NDArray[np.uint8] | Floats:
    """An image as `read_image` gives it, or as `read_bands` does where it is not RGB of 8 bits."""
    return read_image(path) if bands.is_rgb else read_bands(path, bands)


def read_bands(path: str | Path, bands: Bands, rows: tuple[int, int] | None = None, columns: tuple[int, int] | None = None) -> Floats:
    """The image as it is stored, float32 H W C on 0..255, upright as its EXIF orientation says.

    No channel is taken for transparency, and a grey image is not made RGB.

    rows, columns  (begin, end) of the part that is read of a `.npy` file; None: all

    DataError, naming the file, if it is missing, broken, or has another number of channels; of PNG, TIFF and
    others 1 to 4 are read, of `.npy` any number.
    """
    path = Path(path)
    if is_array(path):
        array = load_array(path, "image")
        if array.ndim in (2, 3):
            array = array[slice(*(rows or (None,))), slice(*(columns or (None,)))]
        stored = np.array(array[..., None] if array.ndim == 2 else array)
    else:
        with opened_image(path, "image") as picture:
            stored = _stored(picture, path)
    with_name = f"{path} has {stored.shape[-1]} channels" if stored.ndim == 3 else f"{path} is an array of shape {stored.shape}"
    if stored.ndim != 3 or stored.shape[2] != bands.channels:
        raise DataError(f"image {with_name}, and model.channels is {bands.channels}")
    if stored.dtype == np.uint16:
        return stored.astype(np.float32) / np.float32(_WIDE) if bands.bits == 16 else (stored >> 8).astype(np.float32)
    if stored.dtype != np.uint8:
        raise DataError(f"image {path} holds numbers of the type {stored.dtype}, expected 8 or 16 bits")
    return stored.astype(np.float32)


def _stored(picture: Image.Image, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The channels of a file, H W C. UnreadableError for what has no channels, such as a palette."""
    mode, orientation = raw_mode(picture) or picture.mode, orientation_of(picture)
    if mode in _BY_PILLOW:
        picture.load()
        orientation = orientation_of(picture)  # a version of Pillow that turns a TIFF by itself forgets it here
        stored = np.asarray(picture)
    elif picture.mode in ("P", "PA", "1"):
        raise UnreadableError("a palette or mask, which has no channels of 8 or 16 bits")
    else:
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # does not turn the image
        if read is None or read.dtype not in (np.uint8, np.uint16):
            raise UnreadableError(f"pixels of the mode {picture.mode}, which are not of 8 or 16 bits")
        channels = read.shape[2] if read.ndim == 3 else 1
        stored = read[:, :, [2, 1, 0, 3][:channels]] if channels > 2 else read
    return _upright(stored[:, :, None] if stored.ndim == 2 else stored, orientation)


def _upright(stored: NDArray[np.uint8] | NDArray[np.uint16], orientation: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels turned as an EXIF orientation from 1 to 8 says."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
