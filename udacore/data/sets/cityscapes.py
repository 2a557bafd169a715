"""Cityscapes and Foggy Cityscapes (algorithms/datasets 1)."""

from __future__ import annotations

from pathlib import Path

import attrs

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.data.splits import CLEAR, TRAIN_IDS, UNPUBLISHED, check_split, foggy_ending
from udacore.datasets import Dataset, Layout
from udacore.labels import CITYSCAPES_IDS


def find_files(config: DataConfig, root: Path) -> Layout:
    """`leftImg8bit` and `gtFine`, by split and city."""
    return _of_cities(config, root, "leftImg8bit", CLEAR)


def find_foggy_files(config: DataConfig, root: Path) -> Layout:
    """`leftImg8bit_foggy` of one density, with the labels of Cityscapes."""
    layout = _of_cities(config, root, "leftImg8bit_foggy", foggy_ending(config.beta))
    shared = f"its labels are those of Cityscapes: copy or link its gtFine to {root / 'gtFine'}"
    return attrs.evolve(layout, on_missing=layout.on_missing or shared)


def _of_cities(config: DataConfig, root: Path, folder: str, ending: str) -> Layout:
    """Cityscapes' layout: images by split and city in `folder`, with names that end with
    `ending`; its own labels."""
    split, pictures = config.split, root / folder
    if pictures.is_dir():
        check_split(config.dataset, split, pictures)
    fine = "gtCoarse" if split == "train_extra" else "gtFine"
    return Layout(
        root=root,
        images=existing(config.dataset, (pictures / split,)),
        labels=(root / fine / split,),
        kind="cityscapes",
        label_keys=lambda key: tuple(f"{key.removesuffix(ending)}_{fine}_{ids}" for ids in ("labelIds", TRAIN_IDS)),
        ending=ending,
        prefixes=prefixes_of(f"{folder}/leftImg8bit/{split}"),
        on_missing=UNPUBLISHED if split == "test" else "",
        on_void=UNPUBLISHED if split == "test" else "",
    )


DATASET = Dataset(
    find_files=find_files,
    ids=CITYSCAPES_IDS,
    highest=33,
    label_space="cityscapes19",
    domain="target",
    splits={"train": 2975, "val": 500, "test": 1525},
    hint="the files wanted are `_gtFine_labelIds.png` as shipped, not colours, instances or train ids",
    miniatures={"cityscapes": "udacore.testing.formats:write_cityscapes"},
)
FOGGY = attrs.evolve(
    DATASET,
    find_files=find_foggy_files,
    ids_like="cityscapes",
    settings=("beta",),
    miniatures={"foggy_cityscapes": "udacore.testing.formats:write_foggy_cityscapes"},
)
"""Images of one density: as many as Cityscapes has."""
