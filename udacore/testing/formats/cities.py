"""Miniatures of GTA5, SYNTHIA, Cityscapes and Foggy Cityscapes, and the embedded domains as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.labels import CITYSCAPES_IDS, CLASSES16, CLASSES19, COLOURS, SYNTHIA_IDS
from udacore.testing.formats.patches import Counts, Size, count_splits, draw_image, draw_labels, save

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


def write_gta5(
    root: Path,
    count: int = 3,
    *,
    sizes: Sequence[Size] = ((191, 105), (191, 104), (190, 105)),
    size: Size | None = None,
    seed: int = 0,
) -> list[str]:
    """`images/00001.png` (RGB) and `labels/00001.png` (palette PNG of raw ids, Cityscapes
    colours); returns the keys.

    `sizes` (width, height) are taken in turn: the real set has no single size either. With
    `size` all have that one.
    """
    sizes = sizes if size is None else (size,)
    rng = np.random.default_rng([seed, 5])
    ids = [CITYSCAPES_IDS[name] for name in CLASSES19]
    names = [f"{number:05d}" for number in range(1, count + 1)]
    labels = draw_labels(rng, [sizes[i % len(sizes)] for i in range(count)], ids, (0, 1, 4, 5, 6, 9, 34))
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for name, raw in zip(names, labels, strict=True):
        save(draw_image(rng, raw, CITYSCAPES_IDS, (1.0, 1.0, 1.0)), root / "images" / f"{name}.png")
        label = Image.fromarray(raw)
        label.putpalette(raw_palette())
        label.save(root / "labels" / f"{name}.png")
    return names


def write_synthia(root: Path, count: int = 3, *, parsed: bool = False, size: Size = (128, 76), seed: int = 0) -> list[str]:
    """`RAND_CITYSCAPES/{RGB,GT/LABELS}/0000000.png`, labels in 16-bit RGB (class,
    instance, 0); returns the keys.

    With `parsed` the layout in which 8-bit ids are in circulation: `RGB` and `synthia_mapped_to_cityscapes`,
    one channel. Instance ids exceed 255, and 0 stands for stuff.
    """
    rng = np.random.default_rng([seed, 6])
    ids = {name: SYNTHIA_IDS[name] for name in CLASSES16}
    things = [ids[name] for name in _THINGS if name in ids]
    base = root if parsed else root / "RAND_CITYSCAPES"
    folder = base / ("synthia_mapped_to_cityscapes" if parsed else "GT/LABELS")
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:07d}" for number in range(count)]
    for name, raw in zip(names, draw_labels(rng, [size] * count, list(ids.values()), (0, 13, 14, 22)), strict=True):
        save(draw_image(rng, raw, ids, (0.9, 0.9, 1.0)), base / "RGB" / f"{name}.png")
        if parsed:
            save(raw, folder / f"{name}.png")
            continue
        instance = np.where(np.isin(raw, things), 200 + 40 * raw.astype(np.uint16), 0).astype(np.uint16)
        channels: Any = [np.zeros_like(instance), instance, raw.astype(np.uint16)]
        encoded = cv2.imencode(".png", cv2.merge(channels))[1]  # OpenCV's order: blue, green, red
        (folder / f"{name}.png").write_bytes(encoded.tobytes())  # imwrite hides a full disk
    return names


def write_parsed_synthia(root: Path, count: int = 3, *, size: Size = (128, 76), seed: int = 0) -> list[str]:
    """SYNTHIA in the layout in which 8-bit ids are in circulation, see `write_synthia`."""
    return write_synthia(root, count, parsed=True, size=size, seed=seed)


def write_cityscapes(
    root: Path, counts: Counts = None, *, labels: bool = True, size: Size = (128, 64), seed: int = 0
) -> dict[str, list[str]]:
    """`leftImg8bit/<split>/<city>/..._leftImg8bit.png` and `gtFine/.../..._gtFine_labelIds.png`;
    returns the keys by split.

    counts  split -> number of images, each in a city of its own as long as there are cities; default 3 train,
            2 val; a number: that of train, and a quarter of it for val
    labels  False writes no `gtFine` at all
    """
    written: dict[str, list[str]] = {}
    for split, name, image, raw in _draw_cities(counts, size, seed):
        save(image, root / "leftImg8bit" / split / f"{name}_leftImg8bit.png")
        if labels:
            save(raw, root / "gtFine" / split / f"{name}_gtFine_labelIds.png")
        written.setdefault(split, []).append(f"{name}_leftImg8bit")
    return written


def write_foggy_cityscapes(
    root: Path,
    counts: Counts = None,
    *,
    betas: Sequence[float] = (0.005, 0.01, 0.02),
    labels: bool = True,
    size: Size = (128, 64),
    seed: int = 0,
) -> dict[str, list[str]]:
    """`leftImg8bit_foggy/<split>/<city>/..._leftImg8bit_foggy_beta_0.02.png` for each density, and
    Cityscapes' own `gtFine`.

    Returns the keys by split without the ending `_foggy_beta_...`. The same places as `write_cityscapes`
    draws for the same seed: of an image x, the share exp(-100 beta) is left, and the rest is light grey.
    """
    written: dict[str, list[str]] = {}
    for split, name, image, raw in _draw_cities(counts, size, seed):
        for beta in betas:
            left = float(np.exp(-100 * beta))
            foggy = (left * image + (1 - left) * 215).astype(np.uint8)
            save(foggy, root / "leftImg8bit_foggy" / split / f"{name}_leftImg8bit_foggy_beta_{beta:g}.png")
        if labels:
            save(raw, root / "gtFine" / split / f"{name}_gtFine_labelIds.png")
        written.setdefault(split, []).append(f"{name}_leftImg8bit")
    return written


def _draw_cities(counts: Counts, size: Size, seed: int) -> Iterator[tuple[str, str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(split, city/city_seq_frame, image, raw ids) of each image of Cityscapes' miniature."""
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 7, number])
        cities = _CITIES[split]
        names = [f"{cities[i % len(cities)]}/{cities[i % len(cities)]}_{i // len(cities):06d}_000019" for i in range(count)]
        ids = [CITYSCAPES_IDS[name] for name in CLASSES19]
        for name, raw in zip(names, draw_labels(rng, [size] * count, ids, (0, 1, 2, 3, 4, 6, 9)), strict=True):
            yield split, name, draw_image(rng, raw, CITYSCAPES_IDS, (0.7, 0.85, 0.75)), raw


def write_streets(
    root: Path, domain: Literal["source", "target"], count: int = 4, *, split: str = "train", pair: str = "W", size: Size = (64, 32), seed: int = 0
) -> list[str]:
    """The embedded domains as files: `images/00000.png` (RGB) and `labels/00000.png` (class ids, 255 =
    ignore); returns the keys.

    What `dataset: folder` reads with `label_space: streets`; pixel for pixel what `dataset: streets` draws.
    """
    from udacore.data import streets

    names = [f"{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        image, label = streets.render(pair, domain, split, number, size=size, seed=seed)
        save(image, root / "images" / f"{name}.png")
        save(label, root / "labels" / f"{name}.png")
    return names


def write_folder(root: Path, count: int = 4, *, size: Size = (64, 32), seed: int = 0) -> list[str]:
    """The source of the embedded domains as files, see `write_streets`."""
    return write_streets(root, "source", count, size=size, seed=seed)
