"""SYNTHIA-RAND-CITYSCAPES (algorithms/datasets 3)."""

from __future__ import annotations

from pathlib import Path

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, prefixes_of
from udacore.datasets import Dataset, Layout
from udacore.labels import SYNTHIA_IDS


def find_files(config: DataConfig, root: Path) -> Layout:
    """`RGB` and `GT/LABELS`, or copies of the labels as ids, with or without the folder
    `RAND_CITYSCAPES` above them."""
    inner = root / "RAND_CITYSCAPES"
    images = existing("synthia", (inner / "RGB", root / "RGB"))
    bases = (images.parent, root) if images.parent != root else (root,)
    labels = tuple(base / name for base in bases for name in ("GT/LABELS", "synthia_mapped_to_cityscapes", "parsed_LABELS"))
    return Layout(root=root, images=images, labels=labels, kind="synthia", prefixes=prefixes_of("RAND_CITYSCAPES/RGB"))


DATASET = Dataset(
    find_files=find_files,
    ids=SYNTHIA_IDS,
    highest=22,
    label_space="synthia16",
    complete=9400,
    hint="SYNTHIA's labels are 16-bit RGB or 8-bit copies of the raw ids 0 to 22, not colours or train ids",
    miniatures={
        "synthia": "udacore.testing.formats:write_synthia",
        "synthia-parsed": "udacore.testing.formats:write_parsed_synthia",
    },
)
