"""Patchworks of classes, of which miniatures are made: labels, and images that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.labels import COLOURS, Colour

Size = tuple[int, int]
"""Width and height."""
Counts = Mapping[str, int] | int | None
"""Images by split, or of the training split, to which come a quarter more of the
others; None: 3 train, 2 val."""


def count_splits(counts: Counts, splits: Sequence[str] = ("train", "val")) -> dict[str, int]:
    """Split -> number of images."""
    if counts is None:
        counts = {split: 3 if split == "train" else 2 for split in splits}
    if isinstance(counts, int):
        counts = {split: counts if split.startswith("train") else max(1, counts // 4) for split in splits}
    return dict(counts)


def _patchwork(
    rng: np.random.Generator, size: Size, ids: Sequence[int], void: Sequence[int], must: Sequence[int]
) -> NDArray[np.uint8]:
    """Raw ids H W: regions around random points. About two thirds of `ids` occur, each
    id in `must` for certain."""
    width, height = size
    chosen = [each for each in ids if each in must or rng.random() < 0.6]
    chosen += [void[int(rng.integers(len(void)))]]
    cells = np.array(chosen + [chosen[int(rng.integers(len(chosen)))] for _ in range(6)], np.uint8)
    points = rng.random((len(cells), 2)) * (height, width)
    rows, columns = np.mgrid[:height, :width]
    distance = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    raw: NDArray[np.uint8] = cells[distance.argmin(axis=-1)]
    for each in must:  # a region may have been squeezed out by its neighbours
        row, column = int(rng.integers(height - 5)), int(rng.integers(width - 5))
        if not (raw == each).any():
            raw[row : row + 5, column : column + 5] = each
    return raw


def draw_labels(
    rng: np.random.Generator, sizes: Sequence[Size], ids: Sequence[int], void: Sequence[int]
) -> list[NDArray[np.uint8]]:
    """A patchwork for each size; id number k is certain to occur in image k modulo their number."""
    count = len(sizes)
    while True:
        raw = [
            _patchwork(rng, size, ids, void, [each for k, each in enumerate(ids) if k % count == i])
            for i, size in enumerate(sizes)
        ]
        if set(ids) <= {
            int(each) for label in raw for each in np.unique(label)
        }:  # small squares may cover one another
            return raw


def draw_image(
    rng: np.random.Generator,
    raw: NDArray[np.uint8],
    ids: Mapping[str, int | tuple[int, ...]] | Mapping[str, int],
    tint: Sequence[float],
    colours_of: Mapping[str, Colour] = COLOURS,
) -> NDArray[np.uint8]:
    """RGB uint8: each class in its colour, tinted, with an offset for the image and noise for each pixel."""
    colours = np.full((256, 3), 90.0)
    for name, each in ids.items():
        colours[np.atleast_1d(each)] = colours_of[name]
    image = colours[raw] * tint + rng.normal(0, 10, 3) + rng.normal(0, 12, (*raw.shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def save(image: NDArray[np.uint8], path: Path) -> None:
    """Write an image, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1)


def save_photo(image: NDArray[np.uint8], path: Path) -> None:
    """Write an image as a JPEG, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95, subsampling=0)
