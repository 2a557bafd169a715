"""The optional discriminator of class maps (algorithms/clp 4.3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from udacore.errors import ConfigError

WIDTHS = (64, 128, 256, 512)
SMALLEST = 2 ** (len(WIDTHS) + 1)
"""Side of the smallest class map of which one answer is left."""


class Discriminator(nn.Module):
    """Whether a class map looks like one of the source: five 4x4 convolutions of stride 2, keys `conv1
    ... conv4`, `classifier`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = (num_classes, *WIDTHS)
        for number, (inputs, outputs) in enumerate(zip(channels[:-1], WIDTHS, strict=True), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
        self.classifier = nn.Conv2d(WIDTHS[-1], 1, 4, stride=2, padding=1)

    def forward(self, probability: Tensor) -> Tensor:
        """Class probabilities N K H W to scores N 1 H/32 W/32, positive for "source".
        ConfigError for a side below 32."""
        height, width = probability.shape[-2:]
        if min(height, width) < SMALLEST:
            raise ConfigError(f"the discriminator needs images of {SMALLEST} pixels and more on each side, got {width} x {height}; set adversarial: false")
        x = probability
        for number in range(1, len(WIDTHS) + 1):
            x = F.leaky_relu(self.get_submodule(f"conv{number}")(x), 0.2)
        scores: Tensor = self.classifier(x)
        return scores
