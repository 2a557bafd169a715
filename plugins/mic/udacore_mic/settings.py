"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs

from udacore import MethodSettings, option
from udacore.config.transforms import Crop, Resize

IMAGENET = "imagenet"
"""The part that is a frozen copy of the backbone."""


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/mic 3)."""

    network: Literal["mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5", "mit_tiny", "resnet101_v1c", "core"] = option(
        "mit_b5",
        "mit_b0 to mit_b5: the transformer and DAFormer's head; mit_tiny: a small one for small images; resnet101_v1c: the authors' DeepLab-V2; "
        "core: the segmenter of `model.name`",
    )
    width: int = option(256, "channels of DAFormer's head", at_least=1)
    dropout: float = option(0.1, "share of the channels of DAFormer's head that are dropped in training", at_least=0, below=1)
    detail_size: tuple[int, int] | None = option(
        None, "width and height of a detail crop at full size, beside the whole image at half size (HRDA); default: one scale", at_least=8
    )
    detail_weight: float = option(0.1, "share of the detail's own logits in each loss", at_least=0, at_most=1)
    windows: int = option(9, "detail windows that are inferred at a time when an image is scored or labelled", at_least=1)
    alpha: float = option(0.999, "what the teacher keeps of itself in an update; at most 1 - 1 / (updates + 1)", at_least=0, at_most=1)
    threshold: float | None = option(
        0.968, "probability from which a pixel of the teacher's is sure; their share is the weight of its labels. null: weight 1", at_least=0, at_most=1
    )
    ignore_top: int = option(0, "first rows of the target input where the teacher's labels count nothing", at_least=0)
    ignore_bottom: int = option(0, "last rows of the target input where the teacher's labels count nothing", at_least=0)
    trust: str = option(
        "trusted", "name of a map under target.extras by which the weights of the teacher's labels are multiplied, such as margins; where there is one"
    )
    feature_distance: float = option(
        0.0, "weight of the distance to the features of the part `imagenet`, a frozen copy of the backbone (published: 0.005); 0: none", at_least=0
    )
    feature_classes: tuple[str, ...] = option(
        (
            "light", "sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
        ),
        "classes whose cells that distance is a mean over; those that the label space lacks are passed over",
    )  # fmt: skip
    feature_share: float = option(0.75, "share of a cell's pixels that a class must have", at_least=0, at_most=1)
    mix: float = option(1.0, "weight of the loss on mixed images", at_least=0)
    jitter: float = option(0.2, "strength of the colour jitter of mixed and masked images", at_least=0, at_most=0.5)
    jitter_threshold: float = option(
        0.2, "colours are jittered where a number from 0 to 1 is above it: in 0.8 of the steps", at_least=0, at_most=1
    )
    blur_threshold: float = option(0.5, "images are blurred where a number from 0 to 1 is above it", at_least=0, at_most=1)
    masked: Literal["none", "target", "both", "source"] = option(
        "none", "images of which blocks are hidden: none; the target's; the first half of each domain's; the source's"
    )
    masked_augmented: bool = option(True, "jitter and blur masked images too, by draws of their own")
    mask_weight: float = option(1.0, "weight of the loss on masked images", at_least=0)
    mask_block: int = option(64, "side of a block, in pixels of the input", at_least=1)
    mask_ratio: float = option(0.7, "share of the blocks that is hidden, on average", at_least=0, at_most=1)

    def _find_problems(self, round: Any) -> Iterator[tuple[str, str]]:
        """Sizes and counts of the round that these settings cannot be met with."""
        part = round.parts.get(IMAGENET)
        if self.feature_distance and not (part is not None and part.frozen):
            frozen = f"the features are compared with those of a frozen part: parts.{IMAGENET}: {{frozen: true}}"
            yield "method.feature_distance", f"{frozen} and initial.{IMAGENET}, or feature_distance: 0"
        sizes = {domain: _last_size(getattr(round, domain).transform) for domain in round.draws}
        if "target" not in sizes:
            return
        if "source" not in sizes:
            yield "draws", "source classes are pasted into target images: draws: [source, target]"
        elif None not in sizes.values() and sizes["source"] != sizes["target"]:
            given = " and ".join("{} x {}".format(*size) for size in sizes.values() if size)
            yield "target.transform", f"mixing needs images of one size, not {given}: end both transforms with the same crop"
        if self.masked == "both" and (round.batch // round.accumulation) % 2:
            yield "method.masked", f"both hides half of the images of each domain: an even number, not {round.batch // round.accumulation}"
        yield from self._find_misfits(sizes["target"])

    def _find_misfits(self, size: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
        """What does not fit into images of a size (width, height)."""
        if size is None:
            return
        if self.masked != "none" and not all(round(side / self.mask_block) for side in size):
            yield "method.mask_block", f"images of {size[0]} x {size[1]} have no block of {self.mask_block}; possible: at most {2 * min(size) - 1}"
        if self.detail_size is None:
            return
        if any(part > whole for part, whole in zip(self.detail_size, size, strict=True)):
            yield "method.detail_size", "a crop of {} x {} does not fit into images of {} x {}".format(*self.detail_size, *size)
        if any(side % 8 for side in size):
            yield "target.transform", "two scales need images whose sides are multiples of 8, not {} x {}".format(*size)


def _last_size(transform: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of what the transforms give; None if it is not known beforehand."""
    size: tuple[int, int] | None = None
    for step in transform.values():
        if isinstance(step, Crop | Resize):
            size = step.size
        elif type(step).__name__ in ("Scale", "ResizeShortSide", "ResizeWithin"):
            size = None
    return size
