"""ResNet with torchvision's keys, without average pool and fc, and with the switches by which
segmentation networks differ."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import attrs
from torch import Tensor, nn

from udacore.models.normalization import NormFactory

Place = Literal["1x1", "3x3"]


@attrs.frozen(kw_only=True)
class ResNetSettings:
    """The numbers of a ResNet. One entry for each layer, `layer1` first; defaults: ResNet-101 at output
    stride 8 (algorithms/proca 4.1).

    block            kind of block: bottleneck (output 4 x width) or basic (output = width)
    blocks, widths   number of blocks, and their width
    stem             7x7: conv 7x7 / 2, pool / 2; deep: three 3x3 of 64, 64, 128 channels, pool / 2; 3x3: conv
                     3x3 / 2 of the first width, no pool; v1c: as deep, of 32, 32, 64 channels
    strides          stride of the first block
    dilations        dilation of the blocks
    first_dilations  dilation of the first block (a basic one: of its first convolution)
    stride_in        bottleneck: the convolution that carries the stride (1x1 is the Caffe form)
    ceil_mode        whether the pool rounds up
    """

    block: Literal["bottleneck", "basic"] = "bottleneck"
    blocks: tuple[int, ...] = (3, 4, 23, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Literal["7x7", "deep", "v1c", "3x3"] = "7x7"
    strides: tuple[int, ...] = (1, 2, 1, 1)
    dilations: tuple[int, ...] = (1, 1, 2, 4)
    first_dilations: tuple[int, ...] = (1, 1, 1, 2)
    stride_in: Place = "3x3"
    ceil_mode: bool = False


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias whose padding keeps the size, but for the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation, bias=False)


@attrs.frozen(kw_only=True)
class _Place:
    """What a block must know about its place in the network."""

    inputs: int
    width: int
    outputs: int
    stride: int
    first_dilation: int
    dilation: int
    stride_in: Place
    norm: NormFactory

    def shortcut(self) -> nn.Module | None:
        """The projection on the identity path, where shapes differ."""
        if self.stride == 1 and self.inputs == self.outputs:
            return None
        return nn.Sequential(convolution(self.inputs, self.outputs, 1, self.stride), self.norm(self.outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity."""

    expansion = 1

    def __init__(self, place: _Place) -> None:
        super().__init__()
        self.conv1 = convolution(place.inputs, place.width, 3, place.stride, place.first_dilation)
        self.bn1 = place.norm(place.width)
        self.conv2 = convolution(place.width, place.width, 3, 1, place.dilation)
        self.bn2 = place.norm(place.width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = place.shortcut()

    def forward(self, x: Tensor) -> Tensor:
        """N inputs h w to N outputs h/stride w/stride."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += identity
        result: Tensor = self.relu(y)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and the identity."""

    expansion = 4

    def __init__(self, place: _Place) -> None:
        super().__init__()
        at_1x1 = place.stride_in == "1x1"
        self.conv1 = convolution(place.inputs, place.width, 1, place.stride if at_1x1 else 1)
        self.bn1 = place.norm(place.width)
        self.conv2 = convolution(place.width, place.width, 3, 1 if at_1x1 else place.stride, place.first_dilation)
        self.bn2 = place.norm(place.width)
        self.conv3 = convolution(place.width, place.outputs, 1)
        self.bn3 = place.norm(place.outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = place.shortcut()

    def forward(self, x: Tensor) -> Tensor:
        """N inputs h w to N outputs h/stride w/stride."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += identity
        result: Tensor = self.relu(y)
        return result


class ResNet(nn.Module):
    """Feature extractor; keys `conv1, bn1, layer1 ... layer4` (deep stem and v1c: `conv1 ... bn3`).

    channels  output channels of each layer
    """

    def __init__(self, settings: ResNetSettings, norm: NormFactory) -> None:
        super().__init__()
        self.settings = settings
        self.layers = tuple(f"layer{index + 1}" for index in range(len(settings.blocks)))
        kind: type[BasicBlock] | type[Bottleneck] = Bottleneck if settings.block == "bottleneck" else BasicBlock
        inputs = self._add_stem(norm)
        channels = []
        for index, name in enumerate(self.layers):
            self.add_module(name, self._layer(index, inputs, kind, norm))
            inputs = settings.widths[index] * kind.expansion
            channels.append(inputs)
        self.channels = tuple(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _add_stem(self, norm: NormFactory) -> int:
        first = self.settings.widths[0]
        # (kernel, channels) of each convolution; the first one has stride 2
        stem = {
            "7x7": [(7, 64)], "deep": [(3, 64), (3, 64), (3, 128)], "v1c": [(3, 32), (3, 32), (3, 64)], "3x3": [(3, first)],
        }[self.settings.stem]  # fmt: skip
        inputs = 3
        for number, (kernel, outputs) in enumerate(stem, start=1):
            self.add_module(f"conv{number}", convolution(inputs, outputs, kernel, 2 if number == 1 else 1))
            self.add_module(f"bn{number}", norm(outputs))
            inputs = outputs
        self._stem = tuple((f"conv{number}", f"bn{number}") for number in range(1, len(stem) + 1))
        self.relu = nn.ReLU(inplace=True)
        pooled = self.settings.stem != "3x3"
        self.maxpool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=self.settings.ceil_mode) if pooled else nn.Identity()
        return inputs

    def _layer(self, index: int, inputs: int, kind: type[BasicBlock] | type[Bottleneck], norm: NormFactory) -> nn.Sequential:
        settings = self.settings
        dilation, outputs = settings.dilations[index], settings.widths[index] * kind.expansion
        first = _Place(
            inputs=inputs,
            width=settings.widths[index],
            outputs=outputs,
            stride=settings.strides[index],
            first_dilation=settings.first_dilations[index],
            dilation=dilation,
            stride_in=settings.stride_in,
            norm=norm,
        )
        further = attrs.evolve(first, inputs=outputs, stride=1, first_dilation=dilation)
        places = [first] + [further] * (settings.blocks[index] - 1)
        return nn.Sequential(OrderedDict((str(number), kind(place)) for number, place in enumerate(places)))

    def stages(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs of `layer1`, `layer2` ... for an image N 3 H W, each after its last
        ReLU: N channels[i] h w."""
        x = image
        for conv, bn in self._stem:
            x = self.relu(self.get_submodule(bn)(self.get_submodule(conv)(x)))
        x = self.maxpool(x)
        outputs = []
        for name in self.layers:
            x = self.get_submodule(name)(x)
            outputs.append(x)
        return tuple(outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Output of the last layer: N channels[-1] h w."""
        return self.stages(image)[-1]
