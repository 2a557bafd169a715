"""Your own data set: a folder of images and a folder of labels (algorithms/datasets 4)."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.datasets import Dataset, Layout


def find_files(config: DataConfig, root: Path) -> Layout:
    """The folders that `image_folder` and `label_folder` name."""
    return Layout(
        root=root,
        images=existing("folder", (root / config.image_folder,)),
        labels=(root / config.label_folder,),
        kind="ids",
        label_keys=lambda key: (key + config.label_suffix,),
        prefixes=prefixes_of(config.image_folder),
    )


DATASET = Dataset(
    find_files=find_files,
    hint="each pixel must be a number that `label_map` lists, or without it a train id; see `label_folder` and `label_map`",
    miniatures={"folder": "udacore.testing.formats:write_folder"},
)
