"""The discriminator: for each pixel of the features a class and a domain at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Discriminator(nn.Module):
    """3x3 convolutions on the segmenter's features, with a head for each domain (algorithms/fada 4.4).

    channels     A, of the features
    num_classes  K
    width        channels of the first convolution; the second has half as many
    """

    def __init__(self, channels: int, num_classes: int, width: int = 256) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.source = nn.Conv2d(width // 2, num_classes, 3, padding=1)
        self.target = nn.Conv2d(width // 2, num_classes, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """N A h w to logits N 2K h w: channel k is "source and class k", channel
        K + k "target and class k"."""
        x = self.trunk(features)
        return torch.cat([self.source(x), self.target(x)], 1)
