"""BDD100K: its 10 000 images with semantic labels."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.data.splits import check_split
from udacore.datasets import Dataset, Layout
from udacore.labels import CLASSES19

PLACES = (("images/10k", "labels/sem_seg/masks"), ("seg/images", "seg/labels"))
"""Folders of images and labels: of the release of 2020, and of the first one."""


def find_files(config: DataConfig, root: Path) -> Layout:
    """`images/10k` and `labels/sem_seg/masks`, or `seg/images` and `seg/labels`, by split, with or
    without `bdd100k` above."""
    bases = (root, root / "bdd100k")
    images = existing("bdd100k", tuple(base / place for place, _ in PLACES for base in bases))
    check_split("bdd100k", config.split, images)
    labels = tuple(base / place / config.split for _, place in PLACES for base in bases)
    return Layout(
        root=root,
        images=images / config.split,
        labels=labels,
        kind="ids",
        label_keys=lambda key: (key, f"{key}_train_id"),
        prefixes=prefixes_of("bdd100k/images/10k", "seg/images"),
        on_missing="the labels of BDD100K's test split are not published" if config.split == "test" else "",
    )


DATASET = Dataset(
    find_files=find_files,
    ids={name: number for number, name in enumerate(CLASSES19)},
    label_space="cityscapes19",
    domain="target",
    splits={"train": 7000, "val": 1000, "test": 2000},
    unlabelled=frozenset({"test"}),
    hint="BDD100K's masks hold train ids 0 to 18 and 255, not the colours of its `colormaps`",
    miniatures={"bdd100k": "udacore.testing.formats:write_bdd100k"},
)
