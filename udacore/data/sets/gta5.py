"""GTA5 (algorithms/datasets 2)."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.datasets import Dataset, Layout
from udacore.labels import CITYSCAPES_IDS


def find_files(config: DataConfig, root: Path) -> Layout:
    """`images` and `labels`, one file of one name in each."""
    images = existing("gta5", (root / "images",))
    return Layout(root=root, images=images, labels=(root / "labels",), kind="palette", prefixes=prefixes_of("images"))


DATASET = Dataset(
    find_files=find_files,
    ids=CITYSCAPES_IDS,
    highest=34,  # the license plate, -1 in Cityscapes
    label_space="cityscapes19",
    complete=24966,
    misaligned=frozenset({"15188", "17705"}),  # resizing both to one size is what everybody does
    hint="GTA5's labels are palette PNGs whose indices are Cityscapes ids, not grey copies, colours or train ids",
    miniatures={"gta5": "udacore.testing.formats:write_gta5"},
)
