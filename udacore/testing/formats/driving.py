"""Miniatures of BDD100K, Mapillary Vistas, IDD, UrbanSyn and Synscapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from udacore.data.sets import idd, mapillary
from udacore.labels import CITYSCAPES_IDS, CLASSES19, IGNORE, SHORT_NAMES
from udacore.testing.formats.patches import (
    Counts,
    Size,
    count_splits,
    draw_image,
    draw_labels,
    save,
    save_photo,
)

_TRAIN_IDS = {name: number for number, name in enumerate(CLASSES19)}
_LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))


def write_bdd100k(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """`images/10k/<split>/<name>.jpg` and `labels/sem_seg/masks/<split>/<name>.png` of train ids;
    returns the keys by split."""
    written: dict[str, list[str]] = {}
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng, names = np.random.default_rng([seed, 13, number]), np.random.default_rng(number)
        for raw in draw_labels(rng, [size] * count, list(_TRAIN_IDS.values()), (IGNORE,)):
            name = "-".join(f"{int(names.integers(2**32)):08x}" for _ in range(2))
            save_photo(
                draw_image(rng, raw, _TRAIN_IDS, (0.8, 0.8, 0.9)), root / "images/10k" / split / f"{name}.jpg"
            )
            save(raw, root / "labels/sem_seg/masks" / split / f"{name}.png")
            written.setdefault(split, []).append(name)
    return {split: sorted(keys) for split, keys in written.items()}


def write_mapillary(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """`training/images/<key>.jpg` and `training/labels/<key>.png`, palette PNGs of the ids of version
    1.2; `validation` alike."""
    return _write_mapillary(root, counts, "labels", mapillary.IDS, 65, size, seed)


def write_mapillary_v2(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """The same images with `training/v2.0/labels/<key>.png`, palette PNGs of the ids of version 2.0."""
    return _write_mapillary(root, counts, "v2.0/labels", mapillary.IDS_2, 123, size, seed)


def _write_mapillary(
    root: Path,
    counts: Counts,
    folder: str,
    ids: Mapping[str, int | tuple[int, ...]],
    unlabelled: int,
    size: Size,
    seed: int,
) -> dict[str, list[str]]:
    """Of each class one id occurs for certain, and among the others those of no class."""
    several = {name: each if isinstance(each, tuple) else (each,) for name, each in ids.items()}
    void = [unlabelled, 0, *(other for each in several.values() for other in each[1:])]
    written: dict[str, list[str]] = {}
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng, names = np.random.default_rng([seed, 14, number]), np.random.default_rng(number)
        base = root / mapillary.FOLDERS[split]
        for raw in draw_labels(rng, [size] * count, [each[0] for each in several.values()], void):
            name = "".join(names.choice(_LETTERS, 22))
            save_photo(draw_image(rng, raw, several, (0.9, 0.9, 0.9)), base / "images" / f"{name}.jpg")
            label = Image.fromarray(raw)
            label.putpalette([part for each in range(256) for part in (each, 255 - each, each // 2)])
            (base / folder).mkdir(parents=True, exist_ok=True)
            label.save(base / folder / f"{name}.png")
            written.setdefault(split, []).append(name)
    return {split: sorted(keys) for split, keys in written.items()}


def write_idd(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """`leftImg8bit/<split>/<drive>/<frame>_leftImg8bit.png` and `gtFine/..._gtFine_polygons.json`;
    returns the keys by split."""
    written: dict[str, list[str]] = {}
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 15, number])
        for index in range(count):
            name = f"{7 + number}/{903127 + 30 * index}"
            label = root / "gtFine" / split / f"{name}_gtFine_polygons.json"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(json.dumps(_draw_polygons(rng, size)))
            image = draw_image(rng, idd.read_label(label), _TRAIN_IDS, (1.0, 0.9, 0.7))
            save(image, root / "leftImg8bit" / split / f"{name}_leftImg8bit.png")
            written.setdefault(split, []).append(f"{name}_leftImg8bit")
    return {split: sorted(keys) for split, keys in written.items()}


def _draw_polygons(rng: np.random.Generator, size: Size) -> dict[str, Any]:
    """A file of polygons: every class of Cityscapes under IDD's name, a group, one that is
    deleted, and some of no class."""
    long = {short: name for name, short in SHORT_NAMES.items() if short in ("light", "sign")} | {
        "terrain": idd.TERRAIN
    }
    names = [
        *(long.get(name, name) for name in CLASSES19),
        "cargroup",
        "autorickshaw",
        "curb",
        "billboard",
        "parking",
    ]
    cells = [(column, row) for column in range(5) for row in range(5)]
    width, height = size[0] / 5, size[1] / 5
    things: list[dict[str, Any]] = [{"label": "sky", "deleted": 1, "polygon": _box(0, 0, *size)}]
    for place, label in zip(rng.permutation(len(cells)), names, strict=False):
        left, top = cells[place][0] * width, cells[place][1] * height
        things.append(
            {"label": label, "deleted": 0, "polygon": _box(left, top, left + width - 1, top + height - 1)}
        )
    return {"imgHeight": size[1], "imgWidth": size[0], "objects": things}


def _box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_urbansyn(root: Path, count: int = 3, *, size: Size = (128, 64), seed: int = 0) -> list[str]:
    """`rgb/rgb_0001.png` and `ss/ss_0001.png` of train ids, 19 for what is no class; returns the keys."""
    rng = np.random.default_rng([seed, 16])
    for number, raw in enumerate(draw_labels(rng, [size] * count, list(_TRAIN_IDS.values()), (19,)), start=1):
        save(draw_image(rng, raw, _TRAIN_IDS, (1.0, 1.0, 0.95)), root / "rgb" / f"rgb_{number:04d}.png")
        save(raw, root / "ss" / f"ss_{number:04d}.png")
    return [f"rgb_{number:04d}" for number in range(1, count + 1)]


def write_synscapes(root: Path, count: int = 3, *, size: Size = (144, 72), seed: int = 0) -> list[str]:
    """`img/rgb/1.png` and `img/class/1.png` of Cityscapes' ids; returns the keys."""
    rng = np.random.default_rng([seed, 17])
    ids = [CITYSCAPES_IDS[name] for name in CLASSES19]
    for number, raw in enumerate(draw_labels(rng, [size] * count, ids, (0, 4, 6, 9)), start=1):
        save(draw_image(rng, raw, CITYSCAPES_IDS, (1.0, 0.95, 0.9)), root / "img/rgb" / f"{number}.png")
        save(raw, root / "img/class" / f"{number}.png")
    return sorted(str(number) for number in range(1, count + 1))
