"""The segmenter: DeepLab-V2 in the Caffe form or one of the core's, with aggregated
inference as a further head."""

from __future__ import annotations

import torch
from torch import Tensor

from udacore.config.schema import ModelConfig
from udacore.interface import Output
from udacore.models import RESNET101_CAFFE, DeepLabHead, ResNet, Segmenter, build_segmenter, fit_input, make_batch_norm
from udacore_clp.aggregation import aggregate

AGGREGATED = "aggregated"
"""Name of the head of aggregated inference."""
ALPHA = 0.5
"""Share of the average in aggregated inference; a constant, not the setting of
training (algorithms/clp 9.1)."""


class AssociationSegmenter(Segmenter):
    """A segmenter that can also let similar pixels of an image agree before it answers.

    The features of each pixel are mixed with the average of all, weighted by similarity, then its class
    probabilities alike. This has no weights of its own and is run on demand, as `head="aggregated"`; an
    evaluation asks for it with `head: aggregated` and `upsample: probability`.

    network        whose backbone and classifier are used
    align_corners  corner rule under which logits are to be enlarged; default: the network's
    """

    def __init__(self, network: Segmenter, align_corners: bool | None = None) -> None:
        super().__init__(
            network.backbone, network.classifier, num_classes=network.num_classes, feature_channels=network.feature_channels,
            align_corners=network.align_corners if align_corners is None else align_corners,
        )  # fmt: skip
        self.head_names = (AGGREGATED,)

    def forward(self, image: Tensor, domain: str | None = None, head: str | None = None) -> Output:
        """As `Segmenter.forward`; `head="aggregated"` adds
        `heads["aggregated"]`, log probabilities N K h w."""
        if head != AGGREGATED:
            return super().forward(image, domain, head)
        output = super().forward(image, domain)
        return Output(logits=output.logits, features=output.features, heads={head: self.aggregate(output.features)})

    def aggregate(self, features: Tensor) -> Tensor:
        """Features N A h w to log probabilities N K h w of aggregated inference (algorithms/clp 9.1)."""
        logits = self.classifier(aggregate(features, "cos", ALPHA))
        probability = aggregate(logits.float().softmax(1), "kl", ALPHA)
        return probability.clamp(min=torch.finfo(probability.dtype).tiny).log()


def build_network(architecture: ModelConfig, num_classes: int) -> AssociationSegmenter:
    """The network that `architecture` names; ResNet-101 in the method's own form (algorithms/clp 4.1),
    the others as in the core.

    Its own: stride on the 1x1, a dilation for all blocks of a layer, a pool that rounds up, a head without
    bias that starts as torch starts convolutions, logits enlarged without aligned corners.
    """
    if architecture.name != "deeplab-resnet101":
        return AssociationSegmenter(build_segmenter(architecture, num_classes))
    backbone = ResNet(RESNET101_CAFFE, make_batch_norm(architecture.batch_norm))
    fit_input(backbone, architecture.channels)
    channels = backbone.channels[-1]
    head = DeepLabHead(channels, num_classes, bias=False, std=None)
    network = Segmenter(backbone, head, num_classes=num_classes, feature_channels=channels)
    return AssociationSegmenter(network, align_corners=False)
