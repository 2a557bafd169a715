"""UrbanSyn: rendered street scenes with the labels of Cityscapes."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.datasets import Dataset, Layout
from udacore.labels import CLASSES19


def find_files(config: DataConfig, root: Path) -> Layout:
    """`rgb/rgb_0001.png` and `ss/ss_0001.png`."""
    return Layout(
        root=root,
        images=existing("urbansyn", (root / "rgb",)),
        labels=(root / "ss",),
        kind="ids",
        label_keys=lambda key: (f"ss_{key.removeprefix('rgb_')}", key),
        prefixes=prefixes_of("rgb"),
    )


DATASET = Dataset(
    find_files=find_files,
    ids={name: number for number, name in enumerate(CLASSES19)},
    highest=19,  # what is no class
    label_space="cityscapes19",
    complete=7539,
    hint="UrbanSyn's labels are train ids in `ss`, not the colours of `ss_color`",
    miniatures={"urbansyn": "udacore.testing.formats:write_urbansyn"},
)
