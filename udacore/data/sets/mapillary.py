"""Mapillary Vistas with the classes of Cityscapes: labels of version 1.2 (66 ids) and
of version 2.0 (124 ids)."""

from __future__ import annotations

from pathlib import Path

import attrs

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.data.splits import check_word
from udacore.datasets import Dataset, Layout

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}

IDS: dict[str, int | tuple[int, ...]] = {
    "road": (13, 24, 41),  # road, lane marking, manhole
    "sidewalk": (2, 15),  # curb, sidewalk
    "building": 17, "wall": 6, "fence": 3,
    "pole": (45, 47),  # pole, utility pole
    "light": 48, "sign": 50, "vegetation": 30, "terrain": 29, "sky": 27, "person": 19,
    "rider": (20, 21, 22),  # bicyclist, motorcyclist, other rider
    "car": 55, "truck": 61, "bus": 54, "train": 58, "motorcycle": 57, "bicycle": 52,
}  # fmt: skip
"""Class -> ids of version 1.2, as domain generalisation reports Mapillary since RobustNet (2021)."""
IDS_2: dict[str, int | tuple[int, ...]] = {
    "road": (21, *range(35, 45), *range(46, 56), 57, 58, 74),  # without zebra crossings, which 1.2 has apart
    "sidewalk": (4, 24), "building": (27, 28), "wall": 12, "fence": 5, "pole": (85, 88),
    "light": tuple(range(90, 96)),
    "sign": (99, 100, 101, 103),  # those seen from the front
    "vegetation": 64, "terrain": 63, "sky": 61, "person": (30, 31), "rider": (32, 33, 34),
    "car": 108, "truck": 114, "bus": 107, "train": 111, "motorcycle": 110, "bicycle": 105,
}  # fmt: skip
"""Class -> ids of version 2.0: the classes that those of `IDS` were divided into."""


def find_files(config: DataConfig, root: Path) -> Layout:
    """`<split>/images` and `<split>/labels`, or beside the labels of version 2.0 `<split>/v1.2/labels`."""
    return _layout(config, root, "mapillary", ("labels", "v1.2/labels"))


def find_files_2(config: DataConfig, root: Path) -> Layout:
    """`<split>/images` and `<split>/v2.0/labels`."""
    return _layout(config, root, "mapillary_v2", ("v2.0/labels",))


def _layout(config: DataConfig, root: Path, dataset: str, folders: tuple[str, ...]) -> Layout:
    check_word(dataset, "split", config.split, tuple(FOLDERS))
    base = root / FOLDERS[config.split]
    return Layout(
        root=root,
        images=existing(dataset, (base / "images",)),
        labels=tuple(base / folder for folder in folders),
        kind="palette",
        prefixes=prefixes_of(*(f"{folder}/images" for folder in FOLDERS.values())),
        on_missing="the labels of Mapillary's test split are not published" if config.split == "test" else "",
    )


DATASET = Dataset(
    find_files=find_files,
    ids=IDS,
    highest=65,
    label_space="cityscapes19",
    splits={"train": 18000, "val": 2000, "test": 5000},
    unlabelled=frozenset({"test"}),
    hint="these are ids of version 1.2, 0 to 65; labels of version 2.0 are the data set mapillary_v2",
    miniatures={"mapillary": "udacore.testing.formats:write_mapillary"},
)
VERSION_2 = attrs.evolve(
    DATASET,
    find_files=find_files_2,
    ids=IDS_2,
    highest=123,
    hint="these are ids of version 2.0, 0 to 123; labels of version 1.2 are the data set mapillary",
    miniatures={"mapillary_v2": "udacore.testing.formats:write_mapillary_v2"},
)
