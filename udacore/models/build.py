"""The named network variants. Sizes of a network stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from udacore.config.schema import TIMM, ModelConfig
from udacore.models.channels import fit_input
from udacore.models.deeplab import DeepLabHead, Segmenter
from udacore.models.normalization import NormFactory, make_batch_norm
from udacore.models.resnet import ResNet, ResNetSettings
from udacore.models.vgg import VGG16

RESNET101 = ResNetSettings()
"""torchvision's ResNet-101 at output stride 8: stride on the 3x3, a dilated layer's first
block at the dilation before."""

RESNET101_CAFFE = ResNetSettings(stride_in="1x1", first_dilations=(1, 1, 2, 4), ceil_mode=True)
"""The Caffe form: stride on the 1x1, one dilation a layer, a pool that rounds up
(algorithms/clp 4.1, algorithms/bdl 5.1)."""

SMALL = ResNetSettings(
    block="basic",
    blocks=(1, 1, 1, 1),
    widths=(16, 32, 64, 96),
    stem="3x3",
    first_dilations=(1, 1, 2, 4),
)
"""For the embedded domains: output stride 4, 264 k parameters with a head of 12
classes (algorithms/streets 4)."""

SMALL_HEAD_DILATIONS = (1, 3, 6, 9)


def _assemble(backbone: ResNet | VGG16, num_classes: int, dilations: tuple[int, ...] = (6, 12, 18, 24)) -> Segmenter:
    channels = backbone.channels[-1]
    return Segmenter(backbone, DeepLabHead(channels, num_classes, dilations), num_classes=num_classes, feature_channels=channels)


def build_deeplab_resnet101(num_classes: int, norm: NormFactory) -> Segmenter:
    """DeepLab-V2 on ResNet-101: features of 2048 channels at output stride 8 (algorithms/proca 4.1, 4.3)."""
    return _assemble(ResNet(RESNET101, norm), num_classes)


def build_deeplab_vgg16(num_classes: int, norm: NormFactory) -> Segmenter:
    """DeepLab-V2 on VGG-16: features of 1024 channels at output stride 8; without batch
    norm, so `norm` has no effect."""
    return _assemble(VGG16(), num_classes)


def build_small(num_classes: int, norm: NormFactory) -> Segmenter:
    """The small network: features of 96 channels at output stride 4."""
    return _assemble(ResNet(SMALL, norm), num_classes, SMALL_HEAD_DILATIONS)


BUILDERS: dict[str, Callable[[int, NormFactory], Segmenter]] = {
    "deeplab-resnet101": build_deeplab_resnet101,
    "deeplab-vgg16": build_deeplab_vgg16,
    "small": build_small,
}


def build_segmenter(architecture: ModelConfig, num_classes: int, *, norm: NormFactory | None = None) -> Segmenter:
    """The segmenter that `architecture` names, with random weights drawn from torch's generator.

    `norm` makes the normalisation layers in place of those of `architecture.batch_norm`.
    Raises ConfigError for what timm does not take.
    """
    norm = norm or make_batch_norm(architecture.batch_norm)
    if architecture.name.startswith(TIMM):
        from udacore.models.timm_backbones import build_timm

        segmenter = build_timm(architecture, num_classes, norm)
    else:
        segmenter = BUILDERS[architecture.name](num_classes, norm)
    fit_input(segmenter.backbone, architecture.channels)
    return segmenter


def recognize_network(state: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Name and number of classes of the network whose parameters a state_dict holds, by
    names and shapes; None: another."""
    outputs = state.get("classifier.conv2d_list.0.weight")
    if outputs is None or outputs.ndim != 4:
        return None
    for name, builder in BUILDERS.items():
        with torch.device("meta"):  # names and shapes only
            model = builder(outputs.shape[0], make_batch_norm("train"))
        if all(key in state and state[key].shape == parameter.shape for key, parameter in model.named_parameters()):
            return name, model.num_classes
    return None
