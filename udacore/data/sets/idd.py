"""IDD, the India Driving Dataset: labels are polygons, as shipped, or the masks that its
owners' program makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from udacore.config.schema import DataConfig
from udacore.data.decoding import as_ids
from udacore.data.layouts import existing, prefixes_of
from udacore.data.splits import check_split
from udacore.datasets import Dataset, Layout
from udacore.labels import CLASSES19, IGNORE, SHORT_NAMES

TERRAIN = "non-drivable fallback"
"""What IDD counts as the terrain of Cityscapes."""
OTHERS = (
    "parking", "drivable fallback", "rail track", "animal", "autorickshaw", "caravan", "trailer", "vehicle fallback", "curb",
    "guard rail", "billboard", "polegroup", "obs-str-bar-fallback", "bridge", "tunnel", "fallback background", "unlabeled",
    "ego vehicle", "rectification border", "out of roi", "license plate",
)  # fmt: skip
"""Labels of IDD that are no class of Cityscapes."""

_LABELS = {name: number for number, name in enumerate(CLASSES19)} | dict.fromkeys(OTHERS, IGNORE)
_LABELS |= {TERRAIN: _LABELS["terrain"]} | {
    long: _LABELS[name] for long, name in SHORT_NAMES.items() if name in _LABELS
}


def find_files(config: DataConfig, root: Path) -> Layout:
    """`leftImg8bit` and `gtFine`, by split and sequence, with or without `IDD_Segmentation` above."""
    bases = (root, root / "IDD_Segmentation")
    images = existing("idd", tuple(base / "leftImg8bit" for base in bases))
    check_split("idd", config.split, images)
    ending = "_leftImg8bit"
    return Layout(
        root=root,
        images=images / config.split,
        labels=(images.parent / "gtFine" / config.split,),
        kind=read_label,
        label_size=measure_label,
        label_suffixes=(".png", ".json"),
        label_keys=lambda key: tuple(
            f"{key.removesuffix(ending)}_gtFine_{what}" for what in ("labelcsTrainIds", "polygons")
        ),
        ending=ending,
        prefixes=prefixes_of("IDD_Segmentation/leftImg8bit"),
        on_missing="the labels of IDD's test split are not published" if config.split == "test" else "",
    )


def read_label(path: Path) -> NDArray[np.uint8]:
    """Train ids of Cityscapes, uint8 H W, 255 elsewhere: `labelcsTrainIds` as they are,
    `polygons` drawn in their order.

    ValueError for what is not IDD's.
    """
    if path.suffix == ".png":
        with Image.open(path) as mask:
            return as_ids(mask)
    content = _read_polygons(path)
    picture = Image.new("L", (content["imgWidth"], content["imgHeight"]), IGNORE)
    pen = ImageDraw.Draw(picture)
    for thing in content["objects"]:
        points = [(float(x), float(y)) for x, y in thing["polygon"]]
        if not thing.get("deleted") and len(points) > 1:
            pen.polygon(points, fill=_number_of(thing["label"]))
    return np.array(picture)


def measure_label(path: Path) -> tuple[int, int]:
    """(height, width) of a label, without drawing it."""
    if path.suffix == ".png":
        with Image.open(path) as mask:
            return mask.height, mask.width
    content = _read_polygons(path)
    return content["imgHeight"], content["imgWidth"]


def _read_polygons(path: Path) -> dict[str, Any]:
    """The content of a file of polygons; ValueError if it is none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    sizes = [content.get(key) for key in ("imgWidth", "imgHeight")] if isinstance(content, dict) else []
    things = content.get("objects") if sizes else None
    whole = isinstance(things, list) and all(
        isinstance(each, dict) and {"label", "polygon"} <= each.keys() for each in things
    )
    if not whole or not all(type(size) is int and 0 < size <= 2**15 for size in sizes):
        raise ValueError("polygons of IDD have imgWidth, imgHeight and objects, each with label and polygon")
    return dict(content)


def _number_of(label: str) -> int:
    """Train id of a polygon's label; a group, as `cargroup`, counts as what it is a group of."""
    name = label if label in _LABELS else label.removesuffix("group")
    if name not in _LABELS:
        raise ValueError(f"no label of IDD is named {label!r}")
    return _LABELS[name]


DATASET = Dataset(
    find_files=find_files,
    ids={name: number for number, name in enumerate(CLASSES19)},
    label_space="cityscapes19",
    domain="target",
    splits={"train": 6993, "val": 981, "test": 2029},
    unlabelled=frozenset({"test"}),
    hint="IDD's labels are `_gtFine_polygons.json` as shipped, or `_gtFine_labelcsTrainIds.png` with 0 to 18 and 255",
    miniatures={"idd": "udacore.testing.formats:write_idd"},
)
