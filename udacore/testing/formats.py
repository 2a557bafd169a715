"""Miniature data sets in exactly the real formats: GTA5, SYNTHIA, Cityscapes, Foggy Cityscapes.

Each image is a patchwork of regions in its classes' colours plus noise, and its label is encoded as in the real files.
Over a set all classes of the label space occur, together with some raw ids that are ignored. Everything follows from
`seed`, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.labels import CITYSCAPES_IDS, CLASSES16, CLASSES19, COLOURS, SYNTHIA_IDS

Size = tuple[int, int]

# Colours of the ids without train id, as in the Cityscapes tables
_VOID_COLOURS = {
    5: (111, 74, 0),
    6: (81, 0, 81),
    9: (250, 170, 160),
    10: (230, 150, 140),
    14: (180, 165, 180),
    15: (150, 100, 100),
    16: (150, 120, 90),
    18: (153, 153, 153),
    29: (0, 0, 90),
    30: (0, 0, 110),
    34: (0, 0, 142),
}
_TRAIN_CITIES = ("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover")
_CITIES = {"train": _TRAIN_CITIES, "val": ("frankfurt", "lindau", "munster"), "test": ("berlin", "bielefeld", "bonn")}
_THINGS = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


def raw_palette() -> list[int]:
    """The palette of a GTA5 label: 256 x RGB, Cityscapes' colours at the raw ids 0..34."""
    colours = dict(_VOID_COLOURS)
    colours.update({CITYSCAPES_IDS[name]: COLOURS[name] for name in CLASSES19})
    return [part for raw in range(256) for part in colours.get(raw, (0, 0, 0))]


def _patchwork(rng: np.random.Generator, size: Size, ids: Sequence[int], void: Sequence[int], must: Sequence[int]) -> NDArray[np.uint8]:
    """Raw ids H W: regions around random points. About two thirds of `ids` occur, each id in `must` for certain."""
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


def _labels(rng: np.random.Generator, sizes: Sequence[Size], ids: Sequence[int], void: Sequence[int]) -> list[NDArray[np.uint8]]:
    """A patchwork for each size; id number k is certain to occur in image k modulo their number."""
    count = len(sizes)
    while True:
        raw = [_patchwork(rng, size, ids, void, [each for k, each in enumerate(ids) if k % count == i]) for i, size in enumerate(sizes)]
        if set(ids) <= {int(each) for label in raw for each in np.unique(label)}:  # small squares may cover one another
            return raw


def _picture(rng: np.random.Generator, raw: NDArray[np.uint8], ids: Mapping[str, int], tint: Sequence[float]) -> NDArray[np.uint8]:
    """RGB uint8: each class in its colour, tinted, with an offset for the image and noise for each pixel."""
    colours = np.full((256, 3), 90.0)
    for name, each in ids.items():
        colours[each] = COLOURS[name]
    image = colours[raw] * tint + rng.normal(0, 10, 3) + rng.normal(0, 12, (*raw.shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def _save(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1)


def write_gta5(root: Path, count: int = 3, *, sizes: Sequence[Size] = ((191, 105), (191, 104), (190, 105)), seed: int = 0) -> list[str]:
    """`images/00001.png` (RGB) and `labels/00001.png` (palette PNG of raw ids, Cityscapes colours); returns the keys.

    `sizes` (width, height) are taken in turn: the real set has no single size either.
    """
    rng = np.random.default_rng([seed, 5])
    ids = [CITYSCAPES_IDS[name] for name in CLASSES19]
    names = [f"{number:05d}" for number in range(1, count + 1)]
    labels = _labels(rng, [sizes[i % len(sizes)] for i in range(count)], ids, (0, 1, 4, 5, 6, 9, 34))
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for name, raw in zip(names, labels, strict=True):
        _save(_picture(rng, raw, CITYSCAPES_IDS, (1.0, 1.0, 1.0)), root / "images" / f"{name}.png")
        label = Image.fromarray(raw)
        label.putpalette(raw_palette())
        label.save(root / "labels" / f"{name}.png")
    return names


def write_synthia(root: Path, count: int = 3, *, parsed: bool = False, size: Size = (128, 76), seed: int = 0) -> list[str]:
    """`RAND_CITYSCAPES/{RGB,GT/LABELS}/0000000.png`, labels in 16-bit RGB (class, instance, 0); returns the keys.

    With `parsed` the layout in which 8-bit ids are in circulation: `RGB` and `synthia_mapped_to_cityscapes`, one channel.
    Instance ids exceed 255, and 0 stands for stuff.
    """
    rng = np.random.default_rng([seed, 6])
    ids = {name: SYNTHIA_IDS[name] for name in CLASSES16}
    things = [ids[name] for name in _THINGS if name in ids]
    base = root if parsed else root / "RAND_CITYSCAPES"
    folder = base / ("synthia_mapped_to_cityscapes" if parsed else "GT/LABELS")
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:07d}" for number in range(count)]
    for name, raw in zip(names, _labels(rng, [size] * count, list(ids.values()), (0, 13, 14, 22)), strict=True):
        _save(_picture(rng, raw, ids, (0.9, 0.9, 1.0)), base / "RGB" / f"{name}.png")
        if parsed:
            _save(raw, folder / f"{name}.png")
            continue
        instance = np.where(np.isin(raw, things), 200 + 40 * raw.astype(np.uint16), 0).astype(np.uint16)
        channels: Any = [np.zeros_like(instance), instance, raw.astype(np.uint16)]
        encoded = cv2.imencode(".png", cv2.merge(channels))[1]  # OpenCV's order: blue, green, red
        (folder / f"{name}.png").write_bytes(encoded.tobytes())  # imwrite hides a full disk
    return names


def write_cityscapes(
    root: Path, counts: Mapping[str, int] | None = None, *, labels: bool = True, size: Size = (128, 64), seed: int = 0
) -> dict[str, list[str]]:
    """`leftImg8bit/<split>/<city>/..._leftImg8bit.png` and `gtFine/.../..._gtFine_labelIds.png`; returns the keys by split.

    counts  split -> number of images, each in a city of its own as long as there are cities; default 3 train, 2 val
    labels  False writes no `gtFine` at all
    """
    written: dict[str, list[str]] = {}
    for split, name, image, raw in _draw_cities(counts, size, seed):
        _save(image, root / "leftImg8bit" / split / f"{name}_leftImg8bit.png")
        if labels:
            _save(raw, root / "gtFine" / split / f"{name}_gtFine_labelIds.png")
        written.setdefault(split, []).append(f"{name}_leftImg8bit")
    return written


def write_foggy_cityscapes(
    root: Path,
    counts: Mapping[str, int] | None = None,
    *,
    betas: Sequence[float] = (0.005, 0.01, 0.02),
    labels: bool = True,
    size: Size = (128, 64),
    seed: int = 0,
) -> dict[str, list[str]]:
    """`leftImg8bit_foggy/<split>/<city>/..._leftImg8bit_foggy_beta_0.02.png` for each density, and Cityscapes' own `gtFine`.

    Returns the keys by split without the ending `_foggy_beta_...`. The same places as `write_cityscapes` draws for the same
    seed: of an image x, the share exp(-100 beta) is left, and the rest is light grey.
    """
    written: dict[str, list[str]] = {}
    for split, name, image, raw in _draw_cities(counts, size, seed):
        for beta in betas:
            left = float(np.exp(-100 * beta))
            foggy = (left * image + (1 - left) * 215).astype(np.uint8)
            _save(foggy, root / "leftImg8bit_foggy" / split / f"{name}_leftImg8bit_foggy_beta_{beta:g}.png")
        if labels:
            _save(raw, root / "gtFine" / split / f"{name}_gtFine_labelIds.png")
        written.setdefault(split, []).append(f"{name}_leftImg8bit")
    return written


def _draw_cities(counts: Mapping[str, int] | None, size: Size, seed: int) -> Iterator[tuple[str, str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(split, city/city_seq_frame, image, raw ids) of each image of Cityscapes' miniature."""
    for number, (split, count) in enumerate((counts or {"train": 3, "val": 2}).items()):
        rng = np.random.default_rng([seed, 7, number])
        cities = _CITIES[split]
        names = [f"{cities[i % len(cities)]}/{cities[i % len(cities)]}_{i // len(cities):06d}_000019" for i in range(count)]
        ids = [CITYSCAPES_IDS[name] for name in CLASSES19]
        for name, raw in zip(names, _labels(rng, [size] * count, ids, (0, 1, 2, 3, 4, 6, 9)), strict=True):
            yield split, name, _picture(rng, raw, CITYSCAPES_IDS, (0.7, 0.85, 0.75)), raw


def write_streets(
    root: Path, domain: Literal["source", "target"], count: int = 4, *, split: str = "train", pair: str = "W", size: Size = (64, 32), seed: int = 0
) -> list[str]:
    """The embedded domains as files: `images/00000.png` (RGB) and `labels/00000.png` (class ids, 255 = ignore); returns the keys.

    What `dataset: folder` reads with `label_space: streets`; pixel for pixel what `dataset: streets` draws.
    """
    from udacore.data import streets

    names = [f"{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        image, label = streets.render(pair, domain, split, number, size=size, seed=seed)
        _save(image, root / "images" / f"{name}.png")
        _save(label, root / "labels" / f"{name}.png")
    return names
