"""Pyramid pooling on a ResNet, with an auxiliary head on the layer before the last (algorithms/pycda 3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.errors import ConfigError, near_matches
from udacore.interface import Output
from udacore.losses import upsample
from udacore.models.normalization import NormFactory, use_domain
from udacore.models.resnet import ResNet, convolution

AUXILIARY = "aux"
"""The auxiliary head's name in `Output.heads`."""


class PyramidHead(nn.Module):
    """Averages over s x s cells of the last map beside the map itself, and an auxiliary head on the map
    before (algorithms/pycda 3.2).

    channels     of the map before and of the last map
    width        channels of each average, and of the classifier's hidden layer
    scales       s of each average
    Keys: `ppm.S.1|2`, `conv_last.0|1|4`, and for the auxiliary head `cbr_deepsup.0|1`, `conv_last_deepsup`.
    Convolutions begin by Kaiming's rule, the shift of batch norm at 1e-4 (algorithms/pycda 3.4).
    """

    def __init__(
        self, channels: tuple[int, int], num_classes: int, norm: NormFactory, *, width: int = 512, scales: Sequence[int] = (1, 2, 3, 6)
    ) -> None:
        super().__init__()
        before, last = channels
        norm = partial(_shifted, norm)
        self.ppm = nn.ModuleList(
            nn.Sequential(CellMeans(scale), nn.Conv2d(last, width, 1, bias=False), norm(width), nn.ReLU(inplace=True)) for scale in scales
        )
        self.conv_last = nn.Sequential(
            convolution(last + len(self.ppm) * width, width, 3),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(width, num_classes, 1),
        )
        hidden = last // 4
        self.cbr_deepsup = nn.Sequential(convolution(before, hidden, 3), norm(hidden), nn.ReLU(inplace=True))
        self.dropout_deepsup = nn.Dropout2d(0.1)
        self.conv_last_deepsup = nn.Conv2d(hidden, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        """The last map N A h w to logits N K h w."""
        height, width = features.shape[-2:]
        averages = [F.interpolate(branch(features), (height, width), mode="bilinear", align_corners=False) for branch in self.ppm]
        logits: Tensor = self.conv_last(torch.cat([features, *averages], dim=1))
        return logits

    def auxiliary(self, features: Tensor) -> Tensor:
        """The map before the last, N B h w, to logits N K h w."""
        logits: Tensor = self.conv_last_deepsup(self.dropout_deepsup(self.cbr_deepsup(features)))
        return logits


class CellMeans(nn.Module):
    """Means over scale x scale cells, as `nn.AdaptiveAvgPool2d`, whose backward on CUDA is refused where
    only deterministic forms are allowed."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to N A scale scale."""
        if x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
            return multiplied_means(x, self.scale)
        return F.adaptive_avg_pool2d(x, self.scale)


def multiplied_means(x: Tensor, scale: int) -> Tensor:
    """The means over scale x scale cells of N A h w by two products of matrices, in float32 at least."""
    with torch.autocast(x.device.type, enabled=False):
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        rows, columns = (_shares(length, scale).to(values) for length in x.shape[2:])
        return (rows @ values @ columns.T).to(x.dtype)


def _shares(length: int, scale: int) -> Tensor:
    """scale x length: each row's mean is that of its cell, from floor(i length / scale) to
    ceil((i + 1) length / scale)."""
    place, cell = torch.arange(length), torch.arange(scale)[:, None]
    inside = (place >= cell * length // scale) & (place < -(-(cell + 1) * length // scale))
    return inside / inside.sum(1, keepdim=True)


def _shifted(norm: NormFactory, channels: int) -> nn.Module:
    """A layer of batch norm that begins with a small shift; one form holds it as a buffer,
    another once for each domain."""
    layer = norm(channels)
    for key, value in layer.state_dict().items():
        if key.endswith("bias"):
            value.fill_(1e-4)
    return layer


class PyramidSegmenter(nn.Module):
    """A ResNet and a pyramid of averages. Logits belong to pixels by corners that are not aligned.

    In training mode logits have the features' resolution, and `heads["aux"]` holds the auxiliary head's. In
    evaluation mode logits are enlarged to the image's size, as published (algorithms/pycda 8.2): a protocol
    that enlarges them further may do so with aligned corners. There the auxiliary head runs on demand only,
    by `head="aux"`.
    """

    align_corners = False
    head_names = (AUXILIARY,)

    def __init__(self, backbone: ResNet, num_classes: int, norm: NormFactory, *, width: int = 512) -> None:
        super().__init__()
        before, last = backbone.channels[-2:]
        self.backbone = backbone
        self.classifier = PyramidHead((before, last), num_classes, norm, width=width)
        self.num_classes = num_classes
        self.feature_channels = last

    def forward(self, image: Tensor, domain: str | None = None, head: str | None = None) -> Output:
        """Logits and features (the last map) of images N 3 H W; arguments as `Segmenter.forward`."""
        if head is not None and head not in self.head_names:
            raise ConfigError(f"head {head!r}: this model's further heads are {list(self.head_names)}{near_matches(head, self.head_names)}")
        with nullcontext() if domain is None else use_domain(self, domain):
            *_, before, features = self.backbone.stages(image)
            logits = self.classifier(features)
            heads = {AUXILIARY: self.classifier.auxiliary(before)} if self.training or head == AUXILIARY else {}
        if not self.training:
            height, width = image.shape[-2:]
            logits = upsample(logits, (height, width), self.align_corners)
            heads = {name: upsample(value, (height, width), self.align_corners) for name, value in heads.items()}
        return Output(logits=logits, features=features, heads=heads)
