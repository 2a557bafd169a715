"""ACDC and Dark Zurich: driving in fog, night, rain and snow, and images of the
same places in fair weather."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from udacore.config.schema import DataConfig
from udacore.data.layouts import existing, is_folder, prefixes_of
from udacore.data.splits import TRAIN_IDS, check_word
from udacore.datasets import Dataset, Layout
from udacore.errors import DataError
from udacore.labels import CITYSCAPES_IDS

CONDITIONS = {"fog": 100, "night": 106, "rain": 100, "snow": 100}
"""Condition of ACDC -> images of its split val; train has 400 of each, test 500."""
SPLITS = {"train": 1600, "val": 406, "test": 2000, "train_ref": 1600, "val_ref": 406, "test_ref": 2000}
TIMES = {"night": 2416, "twilight": 2920, "day": 3041}
"""Time of day of Dark Zurich -> images of its split train."""

_MISSING = "the labels of ACDC's test splits are not published; those of the splits *_ref are an archive of their own"
_UNLABELLED = "of Dark Zurich's images only those of split val have labels; a target needs none"


def find_files(config: DataConfig, root: Path) -> Layout:
    """`rgb_anon` and `gt`, by condition, split and sequence, or by split and sequence where the conditions
    were merged; in the splits `*_ref` the same places in fair weather."""
    split = config.split
    check_word("acdc", "condition", config.condition, ("all", *CONDITIONS))
    check_word("acdc", "split", split, tuple(SPLITS))
    chosen = tuple(CONDITIONS) if config.condition == "all" else (config.condition,)
    each = {"train": 400, "test": 500}.get(split.removesuffix("_ref"))
    middle = "_ref" if split.endswith("_ref") else ""
    patterns = tuple(f"{condition}/{split}/*" for condition in chosen)
    if _is_merged(root / "rgb_anon", split):
        if config.condition != "all":
            folder = root / "rgb_anon" / split
            raise DataError(f"acdc: no condition {config.condition!r}: {folder} holds those of all, merged; possible: all")
        patterns = (f"{split}/*",)
    return _layout(
        config, root, f"_rgb{middle}_anon", f"_gt{middle}",
        patterns=patterns,
        complete=sum(each or CONDITIONS[condition] for condition in chosen),
        on_missing=_MISSING if split not in ("train", "val") else "",
    )  # fmt: skip


def _is_merged(images: Path, split: str) -> bool:
    """Whether a split lies in one folder, as some programs want it; a copy of that beside the folders of the
    conditions is passed over, since its images would count twice."""
    return is_folder(images / split) and not any(is_folder(images / condition / split) for condition in CONDITIONS)


def find_dark_files(config: DataConfig, root: Path) -> Layout:
    """`rgb_anon` by split, time of day and sequence, and `gt/val`; in the split
    `val_ref` the same places by day."""
    split = config.split
    check_word("dark_zurich", "condition", config.condition, ("all", *TIMES))
    check_word("dark_zurich", "split", split, tuple(DARK.splits))
    ending = "_ref_rgb_anon" if split.endswith("_ref") else "_rgb_anon"
    time = "*" if config.condition == "all" else config.condition
    return _layout(
        config, root, ending, "_gt",
        patterns=(f"{split}/{time}/*",),
        complete=TIMES.get(config.condition) if split == "train" else None,
        on_missing=_UNLABELLED if split != "val" else "",
    )  # fmt: skip


def _layout(config: DataConfig, root: Path, ending: str, middle: str, **rest: Any) -> Layout:
    """`rgb_anon`, with names that end with `ending`, and `gt`, whose names have
    `middle` and the ids in its place."""
    return Layout(
        root=root,
        images=existing(config.dataset, (root / "rgb_anon",)),
        labels=(root / "gt",),
        kind="cityscapes",
        label_keys=lambda key: tuple(
            f"{key.removesuffix(ending)}{middle}_{ids}" for ids in ("labelIds", TRAIN_IDS)
        ),
        ending=ending,
        prefixes=prefixes_of("rgb_anon"),
        **rest,
    )


DATASET = Dataset(
    find_files=find_files,
    ids=CITYSCAPES_IDS,
    highest=33,
    label_space="cityscapes19",
    domain="target",
    splits=SPLITS,
    unlabelled=frozenset({"test", "test_ref"}),
    hint="the files wanted are `_gt_labelIds.png` as shipped, not colours, train ids or masks of invalid pixels (`_gt_invIds`)",
    settings=("condition",),
    miniatures={"acdc": "udacore.testing.formats:write_acdc"},
)
DARK = attrs.evolve(
    DATASET,
    find_files=find_dark_files,
    splits={"train": sum(TIMES.values()), "val": 50, "test": 151, "val_ref": 50, "test_ref": 151},
    unlabelled=frozenset({"train", "test", "val_ref", "test_ref"}),
    hint="the files wanted are `_gt_labelIds.png` as shipped",
    miniatures={"dark_zurich": "udacore.testing.formats:write_dark_zurich"},
)
