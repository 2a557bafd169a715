"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore import MethodSettings, option


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/clp 10)."""

    association_weight: float = option(0.1, "weight of each association loss, on features and on predictions; 0: none is computed", at_least=0)
    multi_level: bool = option(True, "associate the predictions too, not the features alone")
    aggregation: bool = option(True, "mix the target map with its self-attention average before it is associated")
    alpha: float = option(0.5, "share of that average in the mixture", above=0, below=1)
    lsr_weight: float = option(0.01, "weight of the smoothness regulariser on the predictions of each domain; 0: off", at_least=0)
    lsr_threshold: float = option(10.0, "smoothness (nats) that the regulariser pulls every pixel to", above=0)
    lovasz_weight: float = option(3.0, "weight of the Lovász-softmax on source labels, pooled over processes; 0: off", at_least=0)
    sampling: Literal["none", "grid", "downsample"] = option(
        "none", "which pixels are associated: all, those of random rows and columns, or those of maps made smaller"
    )
    sampling_factor: float = option(1.0, "share of the rows and columns that remains; with all of them nothing is saved", above=0, at_most=1)
    diagnostics: bool = option(False, "record the share of consistent cycles and of target pixels that are reached")
    adversarial: bool = option(False, "add a discriminator of class maps; needs an entry parts.discriminator")
    adversarial_weight: float = option(0.001, "weight of the loss that makes the target's class maps look like the source's", at_least=0)
