"""The authors' networks: a dilated ResNet with a deep stem, pyramid pooling, and an auxiliary head
(algorithms/pycda 3.1, 3.2)."""

from __future__ import annotations

import attrs

from udacore.errors import ConfigError, near_matches
from udacore.models import NormFactory, ResNet, ResNetSettings
from udacore_pycda.pyramid_pooling import PyramidSegmenter


@attrs.frozen
class Architecture:
    """A ResNet, and the width of the pyramid on it."""

    backbone: ResNetSettings
    width: int = 512


RESNET101 = ResNetSettings(stem="deep")
RESNET50 = attrs.evolve(RESNET101, blocks=(3, 4, 6, 3))
RESNET18 = attrs.evolve(RESNET101, block="basic", blocks=(2, 2, 2, 2))
TINY = attrs.evolve(RESNET101, block="basic", blocks=(1, 1, 1, 1), widths=(8, 8, 16, 16))

ARCHITECTURES = {
    "resnet101": Architecture(RESNET101),
    "resnet50": Architecture(RESNET50),
    "resnet18": Architecture(RESNET18),
    "tiny": Architecture(TINY, width=8),
}
"""All at output stride 8; `tiny` is for trials that only have to run."""


def build_ppm(arch: str, num_classes: int, norm: NormFactory) -> PyramidSegmenter:
    """The network `arch` with random weights from torch's generator; `norm` makes its batch-norm layers.

    Raises ConfigError for an unknown name.
    """
    if arch not in ARCHITECTURES:
        raise ConfigError(f"encoder {arch!r}{near_matches(arch, ARCHITECTURES)}")
    architecture = ARCHITECTURES[arch]
    return PyramidSegmenter(ResNet(architecture.backbone, norm), num_classes, norm, width=architecture.width)
