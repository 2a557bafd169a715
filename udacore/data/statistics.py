"""Class statistics of a data set's labels, cached in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore import ranks
from udacore.data.tables import ImageTable
from udacore.files import atomic, find_zip_damage
from udacore.labels import LabelSpace
from udacore.places import expand

log = logging.getLogger(__name__)
REPORT_SECONDS = 10.0


@attrs.frozen(kw_only=True, eq=False)
class ClassStatistics:
    """How many pixels of each class each label holds.

    pixels  F K int64
    """

    pixels: NDArray[np.int64]

    @property
    def presence(self) -> NDArray[np.bool_]:
        """F K, whether class k has a pixel in file f (algorithms/fada 7.4)."""
        return self.pixels > 0


def class_statistics(table: ImageTable, space: LabelSpace) -> ClassStatistics:
    """The statistics of `table`'s labels, from the cache or counted now. Called by all ranks or by none.

    Raises DataError for a label that cannot be read.
    """
    classes = tuple(space.classes)
    path = cache_folder() / f"statistics-{_key(table, classes)}.npz"
    pixels = _load(path, (len(table), len(classes)))
    if all(ranks.all_gather_object(pixels is not None)) and pixels is not None:
        return ClassStatistics(pixels=pixels)
    share = range(ranks.rank(), len(table), ranks.size())
    rows = ranks.all_gather_object([row.tolist() for row in _count(table, share, len(classes))])
    pixels = np.zeros((len(table), len(classes)), np.int64)
    for rank, part in enumerate(rows):
        pixels[rank :: len(rows)] = np.array(part, np.int64).reshape(-1, len(classes))
    if ranks.is_main():
        _save(path, pixels)
    return ClassStatistics(pixels=pixels)


def count_pixels(label: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """K int64: pixels of each train id in a label (uint8 H W)."""
    return np.bincount(label.reshape(-1), minlength=256)[:classes].astype(np.int64, copy=False)


def cache_folder() -> Path:
    """$UDACORE_CACHE, else $XDG_CACHE_HOME/udacore, else ~/.cache/udacore."""
    own, general = os.environ.get("UDACORE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return expand(own)
    return expand(general or "~/.cache") / "udacore"


def _key(table: ImageTable, classes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([table.source_hash(), *classes]).encode()).hexdigest()[:32]


def _count(table: ImageTable, share: Sequence[int], classes: int) -> Iterator[NDArray[np.int64]]:
    """The counts of the labels at `share`, in that order; decoding is spread over threads."""
    log.info("counting the classes of %d labels (once; the result is kept in %s)", len(table), cache_folder())
    reported = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, row in enumerate(pool.map(lambda i: count_pixels(table.read_label(i), classes), share), 1):
            if time.monotonic() - reported > REPORT_SECONDS:
                log.info("counted %d of %d labels", done, len(share))
                reported = time.monotonic()
            yield row


def _load(path: Path, shape: tuple[int, int]) -> NDArray[np.int64] | None:
    """The kept counts, or None if there are none or the file is damaged."""
    try:
        if find_zip_damage(path) is not None:
            raise zipfile.BadZipFile
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pixels: NDArray[np.int64] = arrays["pixels"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        log.warning("%s is damaged and is made anew", path)
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.int64 else None


def _save(path: Path, pixels: NDArray[np.int64]) -> None:
    """Write at once or not at all; a cache that cannot be written is only a loss of time."""
    try:
        with atomic(path, shared=True) as file:
            np.savez_compressed(file, pixels=pixels)
    except OSError as error:
        log.warning("class statistics could not be kept: %s", error)
