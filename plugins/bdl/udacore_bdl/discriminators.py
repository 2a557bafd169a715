"""The networks that tell domains apart: by class maps (algorithms/bdl 5.3), and by patches of
images (algorithms/bdl 5.6)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from udacore.errors import ConfigError
from udacore_bdl.generators import InstanceNorm2d, initialize_translation

SMALLEST = 32
"""Sides below this leave nothing after five halvings."""
SMALLEST_PATCH = 24
"""Sides below this leave nothing after three halvings and two convolutions that each take a pixel."""


class OutputDiscriminator(nn.Module):
    """From class probabilities N K H W to logits N 1 h w; positive means target. Sides of at least 32.

    Five 4x4 convolutions of stride 2 and padding 1, LeakyReLU 0.2 between them. Keys: `conv1`
    ... `conv4`, `classifier`.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        widths = (num_classes, width, 2 * width, 4 * width, 8 * width)
        for number in range(1, 5):
            self.add_module(f"conv{number}", nn.Conv2d(widths[number - 1], widths[number], 4, 2, 1))
        self.classifier = nn.Conv2d(widths[-1], 1, 4, 2, 1)

    def forward(self, probability: Tensor) -> Tensor:
        """ConfigError where a side is below 32."""
        require_sides(probability, SMALLEST, "the output discriminator")
        x = probability
        for number in range(1, 5):
            x = F.leaky_relu(self.get_submodule(f"conv{number}")(x), 0.2)
        logits: Tensor = self.classifier(x)
        return logits


class PatchDiscriminator(nn.Module):
    """From images N 3 H W in [-1, 1] to N 1 h w: near 1 where a patch of 70 x 70
    looks real, near 0 where not.

    Keys: `model.{0,2,5,8,11}`. Running statistics in a file are dropped: each image is normalised by its own.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for number, stride in ((1, 2), (2, 2), (3, 1)):
            inputs, outputs = width * 2 ** (number - 1), width * 2**number
            layers += [nn.Conv2d(inputs, outputs, 4, stride, 1), InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(8 * width, 1, 4, 1, 1))
        self.model = nn.Sequential(*layers)
        initialize_translation(self)

    def forward(self, image: Tensor) -> Tensor:
        """ConfigError where a side is below 24."""
        require_sides(image, SMALLEST_PATCH, "the patch discriminator")
        score: Tensor = self.model(image)
        return score


def require_sides(x: Tensor, smallest: int, what: str) -> None:
    """ConfigError unless both sides of x (N C H W) have `smallest` pixels."""
    height, width = x.shape[-2:]
    if min(height, width) < smallest:
        raise ConfigError(f"transform: {what} needs sides of at least {smallest} pixels, got {width} x {height}; enlarge resize or crop")
