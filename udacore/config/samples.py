"""Settings of the samples of a domain: windows of large images, their order, and further maps."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore.config.transforms import LONGEST_SIDE, Size
from udacore.options import option


@attrs.frozen(kw_only=True)
class TileConfig:
    """Large images as many samples: windows that cover an image."""

    size: Size | None = option(
        None, "width and height of a window; default: none, an image is one sample", at_least=1, at_most=LONGEST_SIDE
    )
    stride: Size | None = option(
        None, "step across and down; default: size. The last window ends with the image", at_least=1, at_most=LONGEST_SIDE
    )


@attrs.frozen(kw_only=True)
class SamplerConfig:
    """In which order the images of a domain come."""

    name: Literal["shuffle", "replacement", "class_balanced", "rare_class"] = option(
        "shuffle", "shuffle: each image once an epoch; replacement: independent draws; class_balanced: FADA's list; rare_class: DAFormer's"
    )
    sub_epoch: int = option(3000, "class_balanced: images after which the class counts start anew", at_least=1, at_most=10**6)
    temperature: float = option(0.01, "rare_class: how sharply rare classes are preferred", above=0)
    min_pixels: int = option(
        3000, "rare_class: pixels of the class that an image's label, as stored, must hold; with min_crop_ratio it must hold more", at_least=1
    )
    min_crop_ratio: float | None = option(
        None,
        "rare_class: an image is transformed again, up to 10 times, until more than min_pixels times this are left of the class; "
        "default: it is transformed once",
        at_least=0,
    )


@attrs.frozen(kw_only=True)
class MarginConfig:
    """Rows and columns at the edges of an image, in pixels of its file."""

    top: int = option(0, "rows", at_least=0)
    bottom: int = option(0, "rows", at_least=0)
    left: int = option(0, "columns", at_least=0)
    right: int = option(0, "columns", at_least=0)


@attrs.frozen(kw_only=True)
class ExtraConfig:
    """A further map of each image, in a folder of files named like the images, or a mask of its margins."""

    folder: str | None = option(None, "where the files lie, by the images' names or base names; margins alone have none")
    kind: Literal["float", "label", "image", "margins"] = option(
        "float", "float: numbers such as depth; label: ids, 255 where padding is; image: colours; margins: a mask, false at the edges"
    )
    margins: MarginConfig = option(factory=MarginConfig, help="margins only: how much of an image is false; padding is false, too")
    factor: float = option(1.0, "float only: numbers are multiplied by it")
    rename: dict[str, str] = option(factory=dict, help="text in an image's name -> text in the file's, such as {_leftImg8bit: _disparity}")
