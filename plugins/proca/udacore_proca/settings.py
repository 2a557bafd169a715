"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore import MethodSettings, option


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/proca 2)."""

    lovasz_weight: float = option(0.75, "weight of Lovasz-Softmax beside the source's cross-entropy; 0: not computed", at_least=0)
    initialise_prototypes: bool = option(False, "at the round's end, begin the prototypes with a pass over all source images")
    prototype_folder: str | None = option(None, "folder of the authors' prototype files to begin with, if the weights hold none")
    contrast: bool = option(False, "contrast the pixels of both domains, in rounds that draw both; needs `update: joint`")
    variant: Literal["prototypes", "memory_bank"] = option("prototypes", "what pixels are contrasted with")
    delta: float = option(0.9, "a target pixel takes part if its largest raw logit (not probability) reaches this")
    tau: float = option(50.0, "temperature: cosines are divided by it", above=0)
    feature_weight: float = option(1.0, "weight of the contrast of features", at_least=0)
    multi_level: bool = option(True, "contrast the logits too")
    output_weight: float = option(1.0, "weight of the contrast of logits", at_least=0)
    prototype_update: Literal["running_mean", "momentum"] = option(
        "running_mean", "running_mean: every pixel ever seen weighs the same; momentum: each batch weighs `momentum`"
    )
    momentum: float = option(0.9, "momentum only: weight of the new batch's mean", at_least=0, at_most=1)
    percent: float = option(0.6, "pseudo labels: share of a class's pixels below its threshold", at_least=0, at_most=1)
    cap: float = option(0.9, "pseudo labels: no threshold is higher (probability)", at_least=0, at_most=1)
    bank_weight: float = option(1.0, "memory bank: weight of the contrast of each domain", at_least=0)
    bank_rows: int = option(1000, "memory bank: rows of each of a class's two queues", at_least=1)
    bank_pixels: int = option(
        10, "memory bank: pixels of a class written per batch and domain, at most", at_least=1, at_most=10**6
    )
    bank_temperature: float = option(0.1, "memory bank: products of embeddings are divided by it", above=0)
    embedding: int = option(256, "memory bank: channels of the projection", at_least=1)
    projection: Literal["convmlp", "linear"] = option("convmlp", "memory bank: form of the projection head")
    anchors: int = option(1024, "memory bank: anchors of a batch, at most", at_least=1, at_most=10**6)
    anchors_per_class: int = option(
        10, "memory bank: anchors of a class, at most; it needs more pixels than this", at_least=1, at_most=10**6
    )
