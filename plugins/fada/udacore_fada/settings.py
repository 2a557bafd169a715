"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

import attrs

from udacore import MethodSettings, option


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/fada 3, 5)."""

    adversarial: bool = option(False, "align the features of both domains; needs both domains drawn and an entry parts.discriminator")
    temperature: float = option(1.8, "in adversarial rounds class logits are divided by it, in soft labels and in the source's cross-entropy", above=0)
    clip: float = option(0.9, "no entry of a soft label is larger; 1: not clipped", above=0, at_most=1)
    adversarial_weight: float = option(0.001, "weight of the loss that makes target features look like the source's", at_least=0)
    discriminator_weight: float = option(0.5, "weight of each domain's loss of the discriminator", at_least=0)
    width: int = option(256, "channels of the discriminator's first convolution; its second has half as many", at_least=2)
