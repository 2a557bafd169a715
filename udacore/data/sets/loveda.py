"""LoveDA: land cover from the air, in the city and in the country."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.data.splits import check_word
from udacore.datasets import Dataset, Layout
from udacore.labels import LOVEDA_COLOURS

COUNTS = {"train": (1156, 1366), "val": (677, 992), "test": (820, 976)}
"""Split -> number of urban and of rural images."""


def find_files(config: DataConfig, root: Path) -> Layout:
    """`<Split>/<Scene>/images_png` and `masks_png`; the archive Train.zip unpacks to
    `Train` or to `Train/Train`."""
    check_word("loveda", "split", config.split, tuple(COUNTS))
    check_word("loveda", "scene", config.scene, ("all", "urban", "rural"))
    name = config.split.capitalize()
    base = existing("loveda", (root / name / name, root / name))
    urban, rural = COUNTS[config.split]
    return Layout(
        root=root,
        images=base,
        labels=(base,),
        kind="ids",
        label_keys=lambda key: (key.replace("/images_png/", "/masks_png/"),),
        patterns=("*/images_png/*",)
        if config.scene == "all"
        else (f"{config.scene.capitalize()}/images_png/*",),
        complete={"all": urban + rural, "urban": urban, "rural": rural}[config.scene],
        prefixes=frozenset({name, *prefixes_of()}),
        on_missing="the labels of LoveDA's test split are not published" if config.split == "test" else "",
    )


DATASET = Dataset(
    find_files=find_files,
    ids={name: number for number, name in enumerate(LOVEDA_COLOURS, start=1)},
    label_space="loveda7",
    splits={split: sum(each) for split, each in COUNTS.items()},
    unlabelled=frozenset({"test"}),
    hint="LoveDA's masks hold ids 1 to 7, and 0 where there are no data; copies that are mapped to 0 to 6 are of kind folder",
    settings=("scene",),
    miniatures={"loveda": "udacore.testing.formats:write_loveda"},
)
