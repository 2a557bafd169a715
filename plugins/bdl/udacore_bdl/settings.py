"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore import MethodSettings, option
from udacore.config.schema import PixelConfig

CAFFE_PIXELS = PixelConfig(order="bgr", scale=255, mean=(104.00698793, 116.66876762, 122.67891434), std=(1, 1, 1))
"""BGR on 0..255 minus the mean: what the published segmenters expect."""


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values of GTA5 with DeepLab as defaults (algorithms/bdl 11)."""

    network: Literal["configured", "deeplab-caffe", "fcn8s"] = option(
        "configured", "segmenter: the core's by model.name, DeepLab-V2 in the Caffe form, or FCN-8s on VGG-16"
    )
    head_branches: Literal[2, 4] | None = option(
        None, "deeplab-caffe: branches of the head that count; default: 4, or what the loaded file was trained with"
    )
    lambda_adv: float = option(0.0, "weight of the adversarial loss on the target's class map; 0: no discriminator (published: 1e-3)", at_least=0)
    lambda_pseudo: float = option(1.0, "weight of the cross-entropy on pseudo labels", at_least=0)
    discriminator_width: int = option(64, "channels of the output discriminator's first convolution", at_least=1)
    fraction: float = option(0.5, "pseudo labels: share of a class's pixels below its threshold", at_least=0, at_most=1)
    cap: float = option(0.9, "pseudo labels: no threshold is higher (probability)", at_least=0, at_most=1)
    translate: bool = option(False, "train translators with critics (parts of these names), and translate the source at the round's end")
    lambda_a: float = option(10.0, "translation: weight of the source's cycle loss", at_least=0)
    lambda_b: float = option(10.0, "translation: weight of the target's cycle loss", at_least=0)
    lambda_identity: float = option(0.5, "translation: weight of the identity loss, relative to the cycle's; 0: not computed", at_least=0)
    lambda_semantic: float = option(1.0, "translation: perceptual loss of reconstructions, relative to the cycle's; 0: not computed", at_least=0)
    lambda_translated: float = option(0.1, "translation: weight of the perceptual loss of translations; 0: not computed", at_least=0)
    perceptual_pixels: PixelConfig = option(CAFFE_PIXELS, "translation: what the segmenter expects; the round's own pixels must lie in [-1, 1], RGB")
    perceptual_batches: Literal["joined", "single"] = option("joined", "translation: forwards of the segmenter on several images at once, or one each")
    pool_size: int = option(50, "translation: earlier images kept for the critics, of each direction", at_least=0, at_most=1000)
    ngf: int = option(64, "translation: channels of a generator's first convolution", at_least=1)
    ndf: int = option(64, "translation: channels of a critic's first convolution", at_least=1)
    blocks: int = option(9, "translation: residual blocks of a generator", at_least=0, at_most=100)
    halvings: int = option(
        2, "translation: how often a generator halves the sides, which must be multiples of 2^halvings", at_least=0, at_most=8
    )
