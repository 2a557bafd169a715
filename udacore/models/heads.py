"""Heads over maps of several sizes: how they become one map, and the classifier of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.models.normalization import NormFactory

DILATIONS = (6, 12, 18)


def enlarge_to_first(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps N A_i h_i w_i, each enlarged bilinearly to the size of the first; corners are not aligned."""
    size = maps[0].shape[-2:]
    return [x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps]


class Joined(nn.Module):
    """Maps N A_i h_i w_i side by side, at the size of the first: N (sum of A_i) h w. No parameters."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = sum(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps to one map."""
        return maps[0] if len(maps) == 1 else torch.cat(enlarge_to_first(maps), 1)


class _Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, norm: NormFactory, *, side: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = dilation if side == 3 else 0
        self.conv = nn.Conv2d(before, after, side, padding=padding, dilation=dilation, groups=groups, bias=False)
        self.bn = norm(after)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to N B h w."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Separable(nn.Module):
    """A dilated 3x3 unit with one filter a channel, and a 1x1 unit."""

    def __init__(self, before: int, after: int, norm: NormFactory, dilation: int) -> None:
        super().__init__()
        self.depthwise_conv = _Unit(before, before, norm, side=3, dilation=dilation, groups=before)
        self.pointwise_conv = _Unit(before, after, norm)

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to N B h w."""
        result: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return result


class _Embedding(nn.Module):
    """A linear map of every pixel's channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.proj = nn.Linear(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to N B h w."""
        return F.conv2d(x, self.proj.weight[:, :, None, None], self.proj.bias)


class _Pyramid(nn.Module):
    """One 1x1 branch, three dilated separable ones, side by side, and a 3x3 unit over them."""

    def __init__(self, before: int, after: int, norm: NormFactory) -> None:
        super().__init__()
        dilated = (_Separable(before, after, norm, dilation) for dilation in DILATIONS)
        self.aspp_modules = nn.ModuleList([_Unit(before, after, norm), *dilated])
        self.bottleneck = _Unit(after * (1 + len(DILATIONS)), after, norm, side=3)

    def forward(self, x: Tensor) -> Tensor:
        """N A h w to N B h w."""
        result: Tensor = self.bottleneck(torch.cat([branch(x) for branch in self.aspp_modules], 1))
        return result


class ContextFusion(nn.Module):
    """DAFormer's context-aware fusion of the maps of all stages (Hoyer et al., CVPR
    2022), without its classifier.

    channels  A_i of the maps, from the largest map to the smallest
    width     channels of each embedding and of what comes out
    fusion    pyramid: dilated branches side by side and a 3x3 unit; 1x1: one 1x1 unit

    Keys are those of the authors' head: `embed_layers.<i>.proj`, `fuse_layer.aspp_modules.<j>`,
    `fuse_layer.bottleneck` (1x1: `fuse_layer`). Batch norm is trained over all processes, where the original
    keeps statistics for each.
    """

    def __init__(
        self, channels: Sequence[int], width: int, norm: NormFactory, *, fusion: Literal["pyramid", "1x1"] = "pyramid"
    ) -> None:
        super().__init__()
        self.channels = width
        self.embed_layers = nn.ModuleList(_Embedding(count, width) for count in channels)
        kind = _Pyramid if fusion == "pyramid" else _Unit
        self.fuse_layer = kind(width * len(channels), width, norm)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps N A_i h_i w_i to N `width` h_1 w_1."""
        embedded = [embed(x) for embed, x in zip(self.embed_layers, maps, strict=True)]
        result: Tensor = self.fuse_layer(torch.cat(enlarge_to_first(embedded), 1))
        return result


class PixelClassifier(nn.Module):
    """Whole channels dropped with probability `dropout` in training, then a 1x1 convolution
    with bias (key `conv_seg`)."""

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(self.conv_seg.weight, 0.0, 0.01)
        assert self.conv_seg.bias is not None
        nn.init.zeros_(self.conv_seg.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features N A h w to logits N K h w."""
        logits: Tensor = self.conv_seg(self.dropout(features))
        return logits
