"""Images and labels in `.npy` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from udacore.errors import DataError

SUFFIX = ".npy"


def is_array(path: Path) -> bool:
    """Whether a file holds an array, by its name."""
    return path.suffix.lower() == SUFFIX


def load_array(path: Path, what: str) -> NDArray[Any]:
    """The array, mapped and not read. DataError, naming the file, if it is missing,
    broken, or holds objects."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{what} {path} does not exist") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{what} {path} is broken or no array ({' '.join(str(error).split()) or 'empty'})"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{what} {path} is an archive of arrays, expected one array")
    return array


def array_size(path: Path, what: str) -> tuple[int, int]:
    """(height, width), from the header. DataError as `load_array`, and for an array that is no image."""
    shape = load_array(path, what).shape
    if len(shape) not in (2, 3):
        raise DataError(f"{what} {path} is an array of shape {shape}, expected H W or H W 3")
    return int(shape[0]), int(shape[1])


def read_image_array(
    path: Path, rows: tuple[int, int] | None = None, columns: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """An image H W or H W 3 of 8 or 16 bits as RGB uint8 H W 3; of 16 bits the high byte.
    DataError for another array.

    rows, columns  (begin, end) of the part that is read; None: all
    """
    array = load_array(path, "image")
    if array.ndim in (2, 3):
        array = array[slice(*(rows or (None,))), slice(*(columns or (None,)))]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"image {path} is an array of {array.dtype} {array.shape}, expected 8 or 16 bits, H W or H W 3"
        )
    return np.array(array if array.dtype == np.uint8 else array >> 8, np.uint8)


def read_label_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """A label H W of integers; `mapped`: its pixels are read as they are asked for.
    DataError for another array."""
    array = load_array(path, "label")
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise DataError(f"label {path} is an array of {array.dtype} {array.shape}, expected integers H W")
    return array if mapped else np.array(array)
