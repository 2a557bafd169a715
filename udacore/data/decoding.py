"""Decoding of images to RGB: bit depth, colour model, transparency and EXIF orientation.

What cannot be shown without a guess, such as floats of unknown range, is refused by name.
See docs/data.md, "Images".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

ORIENTATION = 0x0112
"""EXIF tag: how an image is turned to be upright; 1 is as stored, 5 to 8 swap width and height."""

_SHOWN = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}
_WHITE_IS_ZERO = 262
"""TIFF tag: photometric interpretation; 0 means that the value 0 is white."""

_UNKNOWN = {
    "F": "32-bit floats, whose range is not stated",
    "I": "32-bit numbers, whose range is not stated",
    "LAB": "LAB colours",
}


class UnreadableError(ValueError):
    """A sound file whose pixels have no agreed look; the message says which pixels it holds."""


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, from the header; 1 where none or an impossible one is stated."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # to ask for it would decode the whole image
    try:
        found = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises a dozen kinds for EXIF data that is damaged; the pixels are not
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) once the orientation is applied, without decoding."""
    size = (picture.height, picture.width)
    tags = getattr(picture, "tag_v2", {})  # of a TIFF, whose orientation some versions of Pillow apply by themselves
    is_turned = picture.format == "TIFF" and picture.size != (tags.get(256), tags.get(257))
    return size[::-1] if orientation_of(picture) >= 5 and not is_turned else size


def as_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """The image as it looks, RGB uint8 H W 3: of several pages the first, transparent
    pixels on white, upright.

    Raises UnreadableError for pixels that have no agreed look, and what Pillow raises for a broken file.
    """
    if picture.format == "TIFF":
        picture.load()  # a version of Pillow that turns the image by itself forgets the orientation here
    orientation = orientation_of(picture)
    shown = _eight_bit(picture)
    if shown.mode not in _SHOWN:
        raise UnreadableError(_UNKNOWN.get(shown.mode, f"pixels of the mode {shown.mode}"))
    if shown.mode in _TRANSPARENT or "transparency" in shown.info:
        shown = _on_white(shown.convert("RGBA"))
    shown = shown.convert("RGB")  # decodes here: opening reads the header only
    if orientation != 1:
        shown.getexif()[ORIENTATION] = orientation  # a conversion may have lost it
        shown = ImageOps.exif_transpose(shown)
    return np.array(shown)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The high bytes of a 16-bit grey image, which Pillow would cut at 255 and so make
    white; others as they are."""
    if not picture.mode.startswith("I;16") and not (picture.mode == "I" and picture.format == "PNG"):
        return picture
    values = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(_WHITE_IS_ZERO) == 0:
        values = 255 - values  # Pillow inverts such images of 8 bits, not those of 16
    return Image.fromarray(values)


def _on_white(picture: Image.Image) -> Image.Image:
    """An image with transparent pixels on a white page; the colours that they hide may be anything."""
    opaque: Any = picture.getextrema()[-1]
    if opaque == (255, 255):
        return picture.convert("RGB")
    page = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(page, picture).convert("RGB")


def as_ids(picture: Image.Image) -> NDArray[np.uint8]:
    """The numbers that a label holds, H W uint8: palette indices or grey values, as stored.

    Raises UnreadableError, which says what the file holds, for anything but one
    number of at most 8 bits a pixel.
    """
    if picture.format == "JPEG":
        raise UnreadableError("a JPEG, whose compression changes ids")
    if picture.mode not in ("P", "L"):
        raise UnreadableError(_describe(picture))
    rawmode = raw_mode(picture)  # before the image is decoded
    values = np.array(picture)
    # Pillow stretches grey of 2 and 4 bits to 0..255; the ids are what was stored
    return values // {"L;2": np.uint8(85), "L;4": np.uint8(17)}.get(rawmode, np.uint8(1))


def raw_mode(picture: Image.Image) -> str:
    """How the file stores its pixels, in Pillow's words, such as `L;4`."""
    tiles: Any = getattr(picture, "tile", None)  # empty once the image is decoded
    arguments = tiles[0][3] if tiles else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _describe(picture: Image.Image) -> str:
    """What a file holds, for a message about a label."""
    known = {
        "1": "a 1-bit mask", "LA": "grey with transparency", "RGB": "RGB colours", "RGBA": "RGB colours with transparency",
        "I": "32-bit grey", "F": "floats", "PA": "a palette with transparency", "CMYK": "CMYK colours",
    }  # fmt: skip
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        return "16-bit grey"
    return known.get(picture.mode, f"pixels of the mode {picture.mode}")
