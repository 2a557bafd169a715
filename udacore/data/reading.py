"""Pictures and labels from and to files.

Each kind of label has its own decoder, because the wrong one gives numbers that look like labels: OpenCV turns a
palette PNG into colours, and Pillow keeps the high byte of a 16-bit PNG (spec datasets, sections 2 and 3).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.errors import DataError, near_matches
from udacore.files import find_png_damage, write_bytes

LabelKind = Literal["palette", "cityscapes", "synthia", "ids"]
LABEL_KINDS = ("palette", "cityscapes", "synthia", "ids")

# What Pillow raises for a broken file, depending on the place where it breaks
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def _problem(path: Path, what: str, error: BaseException) -> DataError:
    """One line for a file that is missing or broken."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{what} {path} does not exist")
    if isinstance(error, IsADirectoryError | PermissionError):
        return DataError(f"{what} {path} cannot be read ({error.strerror})")
    return DataError(f"{what} {path} is broken or no picture ({' '.join(str(error).split()) or type(error).__name__})")


def check_png(path: str | Path, what: str) -> None:
    """DataError, naming the file, for a PNG of which a byte has changed since it was written, and for one that is gone."""
    try:
        damage = find_png_damage(Path(path).read_bytes())
    except OSError as error:
        raise _problem(Path(path), what, error) from error
    if damage is not None:
        raise DataError(f"{what} {path} is damaged: {damage}; an earlier round wrote it, --resume writes it anew")


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """The picture as RGB uint8 H W 3. DataError, naming the file, if it is missing, truncated or no picture."""
    path = Path(path)
    try:
        with Image.open(path) as picture:
            return np.array(_eight_bit(picture).convert("RGB"))  # decodes here: opening reads the header only
    except _BROKEN as error:
        raise _problem(path, "image", error) from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The high bytes of a 16-bit grey picture, which Pillow would cut at 255 and so make white; others as they are."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture


def image_size(path: str | Path, *, what: str = "image") -> tuple[int, int]:
    """(height, width) from the header, without decoding. DataError, naming the file (`what` it is), if it is missing or no picture."""
    path = Path(path)
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except _BROKEN as error:
        raise _problem(path, what, error) from error


def read_label(path: str | Path, kind: LabelKind) -> NDArray[Any]:
    """The raw ids of a label file, H W, uint8 (uint16 for SYNTHIA's 16-bit files).

    palette     GTA5: palette PNG, the index is the id
    cityscapes  8-bit grey `labelIds`
    synthia     16-bit RGB PNG, red is the id; or an 8-bit single-channel copy of the ids
    ids         one number a pixel: grey or palette; pseudo labels and masks of one's own

    DataError, naming the file, if it is missing, truncated, or encoded in another way.
    """
    path = Path(path)
    if kind not in LABEL_KINDS:
        raise ValueError(f"unknown kind of label {kind!r}{near_matches(kind, LABEL_KINDS)}")
    return _read_synthia(path) if kind == "synthia" else _read_indices(path, kind)


def label_mode(path: str | Path) -> str:
    """Pillow's word for the encoding of a label file: P palette, L grey, RGB, ... DataError if it is missing or broken."""
    path = Path(path)
    try:
        with Image.open(path) as picture:
            return picture.mode
    except _BROKEN as error:
        raise _problem(path, "label", error) from error


def _read_indices(path: Path, kind: str) -> NDArray[np.uint8]:
    """Palette indices or grey values, without conversion to colours."""
    expected = {"palette": "palette PNG whose indices are the ids", "cityscapes": "8-bit grey labelIds", "ids": "one 8-bit number a pixel"}
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise DataError(f"label {path} has mode {picture.mode}, expected {expected[kind]}; is it a coloured copy?")
            return np.array(picture)
    except _BROKEN as error:
        raise _problem(path, "label", error) from error


def _read_synthia(path: Path) -> NDArray[Any]:
    """The red channel of a 16-bit RGB PNG, or a single channel as it is."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            picture.verify()  # finds broken files by their checksums; OpenCV would print libpng's complaints on stderr
    except _BROKEN as error:
        raise _problem(path, "label", error) from error
    raw = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise DataError(f"label {path} is broken or no picture")
    if raw.ndim == 2:
        return raw
    if raw.dtype != np.uint16:
        raise DataError(f"label {path} has {raw.shape[2]} channels of 8 bit, expected 16-bit RGB or 8-bit ids; is it a coloured copy?")
    return np.ascontiguousarray(raw[..., 2])  # OpenCV's order is blue, green, red


def write_label(path: str | Path, label: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> None:
    """Write train ids (uint8 H W) as an 8-bit palette PNG, atomically; `palette` has a colour for each id, others are black."""
    if label.dtype != np.uint8 or label.ndim != 2:
        raise TypeError(f"a label is uint8 H W, got {label.dtype} {label.shape}")
    colours = [part for colour in palette for part in colour]
    picture = Image.fromarray(label)
    picture.putpalette(colours + [0] * (768 - len(colours)))
    _write_png(path, picture)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write a picture (RGB uint8 H W 3) as PNG, atomically."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"a picture is uint8 H W 3, got {image.dtype} {image.shape}")
    _write_png(path, Image.fromarray(image))


def _write_png(path: str | Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=3)
    write_bytes(path, buffer.getvalue())
