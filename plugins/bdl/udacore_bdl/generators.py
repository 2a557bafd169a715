"""The translation generator (algorithms/bdl 5.5)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from udacore.errors import ConfigError

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class InstanceNorm2d(nn.InstanceNorm2d):
    """Normalises by the image's own statistics, always. Files of the authors hold
    running ones: read and dropped."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in _STATISTICS:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def initialize_translation(network: nn.Module) -> None:
    """Weights of all convolutions from N(0, 0.02), biases 0 (algorithms/bdl 5.7)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm under `conv_block`, and the identity; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), InstanceNorm2d(channels), nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """N C h w to the same shape."""
        changed: Tensor = self.conv_block(x)
        return x + changed


class Generator(nn.Module):
    """An image N 3 H W in [-1, 1] to one of the same size in [-1, 1]; sides must be multiples of 2^halvings.

    width     channels of the first convolution, doubled at each halving
    blocks    residual blocks at the lowest resolution
    halvings  how often the sides are halved; 2 in the original, fewer for images that are small already
    Keys: `model.<index>`, as in the authors' files.
    """

    def __init__(self, width: int = 64, blocks: int = 9, halvings: int = 2) -> None:
        super().__init__()
        self.multiple = 2**halvings
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_normalized(nn.Conv2d(3, width, 7), width)]
        widths = [width * 2**number for number in range(halvings + 1)]
        for channels in widths[1:]:
            layers += _normalized(nn.Conv2d(channels // 2, channels, 3, 2, 1), channels)
        layers += [ResidualBlock(widths[-1]) for _ in range(blocks)]
        for channels in reversed(widths[:-1]):
            layers += _normalized(nn.ConvTranspose2d(2 * channels, channels, 3, 2, 1, output_padding=1), channels)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        initialize_translation(self)

    def forward(self, image: Tensor) -> Tensor:
        """ConfigError where a side is no such multiple."""
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise ConfigError(f"transform: translation needs sides that are multiples of {self.multiple}, got {width} x {height}; change resize or crop")
        result: Tensor = self.model(image)
        return result


def _normalized(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, InstanceNorm2d(channels), nn.ReLU(inplace=True)]
