"""Fingerprints of lists of files, which tell whether two lists are the same without reading every file."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from udacore.data.sidecars import Sidecar
from udacore.data.sources import ImageFiles, LabelFiles
from udacore.data.tables import ImageTable
from udacore.data.tiles import TiledImages, TiledLabels
from udacore.errors import DataError

_DIGITS = 8
_BLOCK = 1 << 14
_WHOLE = 1 << 16
_SHARE = 256
"""Pairs that a thread looks at before it asks for more: a list of millions is not a queue of millions."""


def prints_of(table: ImageTable) -> dict[str, Any]:
    """A checksum of eight digits for each pair: its name, and what its image and label hold."""
    with ThreadPoolExecutor(8) as pool:  # it is the disk that is waited for
        blocks = pool.map(lambda first: _prints(table, range(first, min(first + _SHARE, len(table)))), range(0, len(table), _SHARE))
        values = list(blocks)
    images = table.images.images if isinstance(table.images, TiledImages) else table.images
    where = str(Path(table.where(0)).parent) if isinstance(images, ImageFiles) else table.dataset
    return {"count": len(table), "where": where, "prints": "".join(values)}


def _prints(table: ImageTable, indices: range) -> str:
    return "".join(_print(table, index) for index in indices)


def _print(table: ImageTable, index: int) -> str:
    value = zlib.crc32(table.names[index].encode())
    for files in (table.images, table.labels):
        number = index
        if isinstance(files, TiledImages | TiledLabels):
            number, files = files.windows[index].index, files.images if isinstance(files, TiledImages) else files.labels
        if isinstance(files, ImageFiles | LabelFiles):
            value = _sample(files.paths[number], value)
        elif files is not None:
            value = zlib.crc32(repr(files.drawing).encode(), value)
    for extra in table.extras.values():
        if isinstance(extra, Sidecar):  # what is made without files follows from the configuration
            value = _sample(extra.paths[index], value)
    return f"{value:08x}"


def _sample(path: str, value: int) -> int:
    """Adds a file to a checksum: all of a small one; of a large one its length, beginning, middle and end.

    A PNG file ends with a checksum of its pixels, so that no change of one is missed.
    """
    try:
        return _sample_file(path, value)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _sample_file(path: str, value: int) -> int:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        value = zlib.crc32(str(size).encode(), value)
        if size <= _WHOLE:
            return zlib.crc32(file.read(), value)
        for place in (0, (size - _BLOCK) // 2, size - _BLOCK):
            file.seek(place)
            value = zlib.crc32(file.read(_BLOCK), value)
    return value


def count_differences(old: str, new: str) -> tuple[int, int]:
    """In how many places two texts of `prints` differ, and the first of them."""
    pairs = [(old[place : place + _DIGITS], new[place : place + _DIGITS]) for place in range(0, max(len(old), len(new)), _DIGITS)]
    places = [place for place, (one, other) in enumerate(pairs) if one != other]
    return len(places), places[0] if places else 0
