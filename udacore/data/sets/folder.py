"""Your own data set: a folder of images and a folder of labels (algorithms/datasets 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from udacore.config.schema import DataConfig
from udacore.data.colours import ChannelLabels, ColourLabels, given_colours
from udacore.data.layouts import existing, prefixes_of
from udacore.data.reading import image_size
from udacore.datasets import Dataset, LabelKind, Layout
from udacore.errors import ConfigError


def find_files(config: DataConfig, root: Path) -> Layout:
    """The folders that `image_folder` and `label_folder` name."""
    kind = _kind(config)
    return Layout(
        root=root,
        images=existing("folder", (root / config.image_folder,)),
        more_images=(".npy",),
        labels=(root / config.label_folder,),
        kind=kind,
        label_size=read_size if callable(kind) else None,
        label_suffixes=(".png", ".tif", ".tiff", ".bmp", ".npy")
        if kind == "ids"
        else (".png", ".tif", ".tiff", ".bmp"),
        label_keys=lambda key: (key + config.label_suffix,),
        prefixes=prefixes_of(config.image_folder),
    )


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of a label that is an image."""
    return image_size(path, what="label")


def _kind(config: DataConfig) -> LabelKind | Callable[[Path], Any]:
    """How the labels are encoded. ConfigError where two settings say it."""
    given = [name for name in ("label_map", "label_channel") if getattr(config, name) is not None]
    if config.label_colours is not None:
        if given:
            raise ConfigError(f"label_colours says what the labels hold, so {given[0]} must be null")
        return ColourLabels(given_colours(config.label_colours))
    return "ids" if config.label_channel is None else ChannelLabels(config.label_channel)


DATASET = Dataset(
    find_files=find_files,
    hint="each pixel must be a number that `label_map` lists, or without it a train id; see `label_folder` and `label_map`",
    miniatures={"folder": "udacore.testing.formats:write_folder"},
)
