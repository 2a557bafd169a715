"""DeepLab-V2 in the Caffe form, whose head sums two or four branches (algorithms/bdl 5.1),
and the choice of a segmenter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from udacore.config.schema import ModelConfig
from udacore.models import RESNET101_CAFFE, DeepLabHead, ResNet, Segmenter, build_segmenter, fit_input, make_batch_norm
from udacore_bdl.fcn8s import FCN8s
from udacore_bdl.settings import Settings

UNTRAINED = 0.01
"""Standard deviation of a head's random start."""
_LIKE = 2e-4
"""How near to it an untrained branch is: over its 350,000 weights the estimate varies by 1e-5."""


class BranchedHead(DeepLabHead):
    """DeepLab's head that knows how many of its branches count, also after it was loaded from a file.

    summed  2 or 4, or None: 4, or what a loaded file tells
    The number is saved in the buffer `branches`. Files of 2019 have no such entry and come from a head of two
    branches, where the other two kept their random start; those of later programs have four trained ones.
    """

    branches: Tensor

    def __init__(self, channels: int, num_classes: int, summed: int | None = None) -> None:
        super().__init__(channels, num_classes, summed=summed)
        self.is_given = summed is not None
        self.register_buffer("branches", torch.tensor(self.summed))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if self.is_given:
            state_dict[prefix + "branches"] = torch.tensor(self.summed)
        elif prefix + "branches" not in state_dict:
            state_dict[prefix + "branches"] = torch.tensor(count_branches(state_dict, f"{prefix}conv2d_list."))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.summed = int(self.branches)


def count_branches(state: dict[str, Tensor], prefix: str) -> int:
    """2 if the third and fourth branch of a head have their random start and the
    first two have not, else 4."""
    weights = [state.get(f"{prefix}{number}.weight") for number in range(4)]
    untrained = [weight is not None and abs(float(weight.std()) - UNTRAINED) < _LIKE and abs(float(weight.mean())) < _LIKE for weight in weights]
    return 2 if untrained == [False, False, True, True] else 4


def build_deeplab(num_classes: int, batch_norm: str, head_branches: int | None) -> Segmenter:
    """ResNet-101 at output stride 8 in the Caffe form, its convolutions from N(0,
    0.01), with DeepLab-V2's head."""
    backbone = ResNet(RESNET101_CAFFE, make_batch_norm(batch_norm))
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, UNTRAINED)
    channels = backbone.channels[-1]
    return Segmenter(backbone, BranchedHead(channels, num_classes, head_branches), num_classes=num_classes, feature_channels=channels)


def build_network(settings: Settings, architecture: ModelConfig, num_classes: int) -> nn.Module:
    """The segmenter that `settings.network` names: one of the method's own, or the core's by `model.name`."""
    network: nn.Module
    if settings.network == "deeplab-caffe":
        network = build_deeplab(num_classes, architecture.batch_norm, settings.head_branches)
    elif settings.network == "fcn8s":
        network = FCN8s(num_classes)
    else:
        return build_segmenter(architecture, num_classes)
    fit_input(network, architecture.channels)
    return network
