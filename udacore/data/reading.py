"""Reading and writing of images and labels.

Each kind of label has its own decoder, because the wrong one gives numbers that look like labels: OpenCV
turns a palette PNG into colours, and Pillow keeps the high byte of a 16-bit PNG
(algorithms/datasets 2 and 3).
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.data.arrays import array_size, is_array, load_array, read_image_array, read_label_array
from udacore.data.decoding import UnreadableError, as_ids, as_rgb, orientation_of, upright_size
from udacore.datasets import LabelKind
from udacore.errors import DataError, near_matches
from udacore.files import find_png_damage, write_bytes

LABEL_KINDS = ("palette", "cityscapes", "synthia", "ids")

# What Pillow raises for a broken file, depending on the place where it breaks
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def _problem(path: Path, what: str, error: BaseException) -> DataError:
    """One line for a file that is missing or broken."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{what} {path} does not exist")
    if isinstance(error, IsADirectoryError | PermissionError):
        return DataError(f"{what} {path} cannot be read ({error.strerror})")
    return DataError(f"{what} {path} is broken or no image ({' '.join(str(error).split()) or type(error).__name__})")


def check_png(path: str | Path, what: str) -> None:
    """DataError, naming the file, for a PNG of which a byte has changed since it was
    written, and for one that is gone."""
    try:
        damage = find_png_damage(Path(path).read_bytes())
    except OSError as error:
        raise _problem(Path(path), what, error) from error
    if damage is not None:
        raise DataError(f"{what} {path} is damaged: {damage}; an earlier round wrote it, --resume writes it anew")


@contextlib.contextmanager
def opened_image(path: Path, what: str) -> Iterator[Image.Image]:
    """An image whose header was read; DataError, naming the file, for whatever is wrong with it in here."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for somebody to write
            raise DataError(f"{what} {path} is {_kind(path)}, not a file")
        with quiet_tiff(path), Image.open(path) as picture:
            yield picture
    except UnreadableError as error:
        raise DataError(f"{what} {path} holds {error}") from error
    except _BROKEN as error:
        raise _problem(path, what, error) from error


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe" if path.is_fifo() else "a socket or device"


@contextlib.contextmanager
def quiet_tiff(path: Path) -> Iterator[None]:
    """Keep what libtiff prints about odd tags, from C, away from stderr. Files of other
    formats are read as they are."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """The image as it looks, RGB uint8 H W 3, upright as its EXIF orientation says.

    DataError, naming the file, if it is missing, truncated, not an image, or holds pixels
    that have no agreed look.
    """
    if is_array(Path(path)):
        return read_image_array(Path(path))
    with opened_image(Path(path), "image") as picture:
        return as_rgb(picture)


def image_size(path: str | Path, *, what: str = "image") -> tuple[int, int]:
    """(height, width) of the upright image from the header, without decoding. DataError as
    `read_image`, naming `what`."""
    if is_array(Path(path)):
        return array_size(Path(path), what)
    with opened_image(Path(path), what) as picture:
        return upright_size(picture) if what == "image" else (picture.height, picture.width)


def orientation(path: str | Path) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 is upright as stored. DataError as `read_image`."""
    if is_array(Path(path)):
        return 1
    with opened_image(Path(path), "image") as picture:
        return orientation_of(picture)


def read_label(path: str | Path, kind: LabelKind | Callable[[Path], Any]) -> NDArray[Any]:
    """The raw ids of a label file, H W, uint8 (uint16 for SYNTHIA's 16-bit files).

    palette     GTA5: palette PNG, the index is the id
    cityscapes  8-bit grey `labelIds`
    synthia     16-bit RGB PNG, red is the id; or an 8-bit single-channel copy of the ids
    ids         one number a pixel: grey or palette; pseudo labels and masks of one's own
    a function  of a data set of somebody else's (`Layout.kind`), which reads the file

    DataError, naming the file, if it is missing, truncated, or encoded in another way.
    """
    path = Path(path)
    if callable(kind):
        return _read_by(kind, path)
    if is_array(path):
        return read_label_array(path)
    if kind not in LABEL_KINDS:
        raise ValueError(f"unknown kind of label {kind!r}{near_matches(kind, LABEL_KINDS)}")
    return _read_synthia(path) if kind == "synthia" else _read_indices(path, kind)


def label_size(
    path: str | Path, read: Callable[[Path], Any], measure: Callable[[Path], tuple[int, int]] | None
) -> tuple[int, int]:
    """(height, width) of a label that a function reads: by `measure`, or by reading it.
    DataError as `read_label`."""
    if measure is None:
        height, width = _read_by(read, Path(path)).shape
        return height, width
    try:
        height, width = measure(Path(path))
        return int(height), int(width)
    except (*_BROKEN, TypeError) as error:
        raise _problem(Path(path), "label", error) from error


def _read_by(read: Callable[[Path], Any], path: Path) -> NDArray[Any]:
    """The raw ids that a function reads. DataError, naming the file, for what it raises or gives instead."""
    try:
        raw = read(path)
    except (*_BROKEN, TypeError) as error:
        raise _problem(path, "label", error) from error
    if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.dtype.kind not in "iu":
        given = f"{raw.dtype} {raw.shape}" if isinstance(raw, np.ndarray) else type(raw).__name__
        raise DataError(f"label {path}: {getattr(read, '__qualname__', read)} must give integers H W, got {given}")
    return raw


def label_mode(path: str | Path) -> str:
    """Pillow's word for the encoding of a label file: P palette, L grey, RGB, ..., or the type of an
    array. DataError if it is missing or broken."""
    if is_array(Path(path)):
        return str(load_array(Path(path), "label").dtype)
    with opened_image(Path(path), "label") as picture:
        return picture.mode


_EXPECTED = {
    "palette": "a palette PNG whose indices are the ids",
    "cityscapes": "8-bit grey labelIds",
    "ids": "one 8-bit number a pixel",
}


def _read_indices(path: Path, kind: str) -> NDArray[np.uint8]:
    """Palette indices or grey values, without conversion to colours."""
    try:
        with opened_image(path, "label") as picture:
            return as_ids(picture)
    except DataError as error:
        if isinstance(error.__cause__, UnreadableError):
            hint = "; is it a coloured copy?" if "colours" in str(error) else ""
            if hint and kind == "ids":
                hint += " `dataset: folder` reads colours by label_colours, one channel of them by label_channel"
            raise DataError(f"{error}; expected {_EXPECTED[kind]}{hint}") from error
        raise


def _read_synthia(path: Path) -> NDArray[Any]:
    """The red channel of a 16-bit RGB PNG, or a single channel as it is."""
    with opened_image(path, "label"):
        pass
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            picture.verify()  # finds broken files by their checksums; OpenCV would print libpng's complaints on stderr
    except _BROKEN as error:
        raise _problem(path, "label", error) from error
    raw = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise DataError(f"label {path} is broken or no image")
    if raw.ndim == 2:
        return raw
    if raw.dtype != np.uint16:
        raise DataError(f"label {path} has {raw.shape[2]} channels of 8 bit, expected 16-bit RGB or 8-bit ids; is it a coloured copy?")
    return np.ascontiguousarray(raw[..., 2])  # OpenCV's order is blue, green, red


def write_label(path: str | Path, label: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> None:
    """Write train ids (uint8 H W) as an 8-bit palette PNG, atomically; `palette` has a colour for
    each id, others are black."""
    if label.dtype != np.uint8 or label.ndim != 2:
        raise TypeError(f"a label is uint8 H W, got {label.dtype} {label.shape}")
    colours = [part for colour in palette for part in colour]
    picture = Image.fromarray(label)
    picture.putpalette(colours + [0] * (768 - len(colours)))
    _write_png(path, picture)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an image (RGB uint8 H W 3) as PNG, atomically."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"an image is uint8 H W 3, got {image.dtype} {image.shape}")
    _write_png(path, Image.fromarray(image))


def _write_png(path: str | Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=3)
    write_bytes(path, buffer.getvalue())
