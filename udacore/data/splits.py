"""Splits of data sets and names of their files, and messages where another split was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from udacore.config.schema import DataConfig, EvaluationConfig
from udacore.errors import DataError, list_names, near_matches
from udacore.labels import CITYSCAPES_IDS, Label, table_of

CLEAR = "_leftImg8bit"
"""What the names of Cityscapes' images end with."""
TRAIN_IDS = "labelTrainIds"
"""What the names of labels end with that hold train ids, written by Cityscapes' scripts."""

UNPUBLISHED = "the labels of Cityscapes' test split are not published, the files released for it are void; use split val"

_BETA = re.compile(r"_foggy_beta_([0-9.]+)$")


def foggy_ending(beta: float) -> str:
    """What the names of Foggy Cityscapes' images of one density end with.

    >>> foggy_ending(0.02)
    '_leftImg8bit_foggy_beta_0.02'
    """
    return f"{CLEAR}_foggy_beta_{beta:g}"


def check_split(dataset: str, split: str, images: Path) -> None:
    """DataError, naming those that are there, if `images` has no folder `split`."""
    if not (images / split).is_dir():
        there = sorted(each.name for each in images.iterdir() if each.is_dir())
        raise DataError(f"{dataset}: no split {split!r} in {images}{near_matches(split, there)}")


def check_word(dataset: str, setting: str, given: str, possible: Sequence[str]) -> None:
    """DataError, with what is possible, for a word of a setting that the data set does not know."""
    if given not in possible:
        raise DataError(f"{dataset}: no {setting} {given!r}{near_matches(given, possible)}")


def check_one_part(config: DataConfig, images: Path) -> None:
    """DataError if a data set of one part is asked for another: it would give all its images.

    `train` stands for all of it, and in an evaluation set `val` too: these are the defaults, and presets name
    them. Where a folder of images holds folders by the names of splits, `val` may be meant, so that it is
    refused there.
    """
    split = config.split
    parts = [name for name in ("train", "val", "test") if config.dataset == "folder" and (images / name).is_dir()]
    is_default = split == "val" and isinstance(config, EvaluationConfig)
    if split == "train" or (is_default and (split not in parts or config.list_ is not None)):
        return
    said = f"{config.dataset}: no split {split!r}: the images in {images} are one part, split train"
    if parts:
        example = f"{config.image_folder}/{split if split in parts else parts[0]}"
        raise DataError(f"{said}; it holds folders {list_names(parts)}: name one by image_folder, such as {example}, and label_folder")
    raise DataError(f"{said}; choose among them by list, except or count")


def describe_other_names(keys: Iterable[str], ending: str) -> str:
    """Words on images none of which has a name that ends with `ending`: how many, the first,
    and for fog the densities."""
    keys = sorted(keys)
    said = f"{len(keys)} other images, the first {keys[0]}"
    betas = sorted({found[1] for key in keys if (found := _BETA.search(key))}, key=lambda text: float(text.strip(".") or 0))
    return f"{said}; beta there: {list_names(betas)}" if betas and _BETA.search(ending) else said


def holds_train_ids(paths: Sequence[str], kind: object) -> bool:
    """Whether labels of Cityscapes hold train ids in place of raw ids, by their names.
    DataError where some do."""
    if kind != "cityscapes":
        return False
    named = [path for path in paths if path.endswith(f"_{TRAIN_IDS}.png")]
    if named and len(named) < len(paths):
        other = next(path for path in paths if path not in named)
        raise DataError(f"labels of two encodings: {named[0]} holds train ids, {other} raw ids; let all be labelIds")
    return bool(named)


def from_train_ids(table: Label) -> Label:
    """uint8[256]: Cityscapes' 19 train ids -> train ids of a label space, from `table`,
    which maps raw ids; 255 = ignore."""
    return table_of({number: int(table[raw]) for number, raw in enumerate(CITYSCAPES_IDS.values())})
