"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore import MethodSettings, option


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/mic 3)."""

    alpha: float = option(0.999, "what the teacher keeps of itself in an update; at most 1 - 1 / (updates + 1)", at_least=0, at_most=1)
    threshold: float | None = option(
        0.968, "probability from which a pixel of the teacher's is sure; their share is the weight of its labels. null: weight 1", at_least=0, at_most=1
    )
    ignore_top: int = option(0, "first rows of the target input where the teacher's labels count nothing", at_least=0)
    ignore_bottom: int = option(0, "last rows of the target input where the teacher's labels count nothing", at_least=0)
    trust: str = option(
        "trust", "name of a map under target.extras of factors for the weights of the teacher's labels, such as 0 in margins; where there is one"
    )
    feature_distance: float = option(
        0.005, "weight of the distance to the features of the part `imagenet`, a frozen copy of the backbone; 0: there is none", at_least=0
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
    detail_weight: float = option(0.1, "networks with a detail crop: share of its own logits in each loss", at_least=0, at_most=1)
