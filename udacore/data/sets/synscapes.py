"""Synscapes: rendered street scenes with the ids of Cityscapes."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.datasets import Dataset, Layout
from udacore.labels import CITYSCAPES_IDS


def find_files(config: DataConfig, root: Path) -> Layout:
    """`img/rgb/1.png` and `img/class/1.png`, with or without `Synscapes` above; the enlarged
    `img/rgb-2k` is not read."""
    images = existing("synscapes", (root / "img/rgb", root / "Synscapes/img/rgb"))
    labels = (images.parent / "class",)
    return Layout(
        root=root, images=images, labels=labels, kind="ids", prefixes=prefixes_of("Synscapes/img/rgb")
    )


DATASET = Dataset(
    find_files=find_files,
    ids=CITYSCAPES_IDS,
    highest=33,
    label_space="cityscapes19",
    complete=25000,
    hint="Synscapes' labels are the ids of Cityscapes in `img/class`, not the instances of `img/instance`",
    miniatures={"synscapes": "udacore.testing.formats:write_synscapes"},
)
