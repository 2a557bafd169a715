"""Files of ImageNet weights: their family, recognised by keys and shapes, and the keys of our backbones."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from udacore.errors import ConfigError, list_names
from udacore.models.resnet import ResNet
from udacore.models.timm_backbones import TimmBackbone
from udacore.models.vgg import VGG16

State = Mapping[str, Tensor]

TORCHVISION_RESNET = "torchvision ResNet"
CAFFE_RESNET = "Caffe ResNet"
DEEP_RESNET = "deep-stem ResNet"
V1C_RESNET = "open-mmlab ResNet-v1c"
TORCHVISION_VGG = "torchvision VGG-16"
CAFFE_VGG = "Caffe VGG-16"
OWN = "udacore checkpoint"

_RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "18",
    ("basic", (3, 4, 6, 3)): "34",
    ("bottleneck", (3, 4, 6, 3)): "50",
    ("bottleneck", (3, 4, 23, 3)): "101",
    ("bottleneck", (3, 8, 36, 3)): "152",
}
_DEEP_STEM = {"conv1.weight": (64, 3, 3, 3), "conv2.weight": (64, 64, 3, 3), "conv3.weight": (128, 64, 3, 3)}
_DEEP_ADDRESS = "http://sceneparsing.csail.mit.edu/model/pretrained_resnet/resnet{}-imagenet.pth"
_V1C_ADDRESS = "https://download.openmmlab.com/pretrain/third_party/resnet101_v1c-e67eebb6.pth"
_V1C_STEM = {"stem.0.weight": (32, 3, 3, 3), "stem.3.weight": (32, 32, 3, 3), "stem.6.weight": (64, 32, 3, 3)}
_V1C_KEYS = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
_PREFIX = "Scale."  # of files converted from Caffe
_UNUSED = ("fc.", "layer5.")  # a classifier of 1000 classes; an untrained head


class OwnFiles:
    """A base beside `nn.Module` for a backbone that has ImageNet weights in files of its own form.

    With it `initial: FILE` fills the backbone, and a frozen part that is such a backbone.
    """

    @property
    def expected_file(self) -> str:
        """Which files fit, in words, for messages."""
        raise NotImplementedError

    def convert_weights(self, state: State, where: str) -> dict[str, Tensor]:
        """What a file holds, under the backbone's keys: all of them and no others.

        state  the state_dict in the file, without what wrappers put around it
        Raises ConfigError, which begins with `where`, for a file of something else.
        """
        raise NotImplementedError


def recognize_family(state: State) -> str:
    """The family of a file, such as 'torchvision ResNet-101'; 'unknown family' where none fits."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    if any(key.startswith("backbone.") for key in shapes):
        return OWN
    if "features.0.weight" in shapes:
        return _vgg_family(shapes)
    prefixed = all(key.startswith(_PREFIX) for key in shapes)
    shapes = {key.removeprefix(_PREFIX): shape for key, shape in shapes.items()} if prefixed else shapes
    if "layer1.0.conv1.weight" not in shapes:
        return "unknown family"
    if any(key.startswith("layer5.") for key in shapes) or prefixed:
        return f"{CAFFE_RESNET}-{_depth(shapes)}"
    if all(shapes.get(key) == shape for key, shape in _DEEP_STEM.items()):
        return f"{DEEP_RESNET}-{_depth(shapes)}"
    if all(shapes.get(key) == shape for key, shape in _V1C_STEM.items()):
        return f"{V1C_RESNET}-{_depth(shapes)}"
    if shapes.get("conv1.weight") != (64, 3, 7, 7):
        return f"ResNet-{_depth(shapes)} with another stem"
    if shapes.get("layer1.0.conv2.weight") != (64, 64, 3, 3):
        return "wide or grouped ResNet"
    return f"{TORCHVISION_RESNET}-{_depth(shapes)}"


def _depth(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of a ResNet by its numbers of blocks."""
    blocks = []
    for layer in (1, 2, 3, 4):
        numbers = [int(match[1]) for key in shapes if (match := re.match(rf"layer{layer}\.(\d+)\.", key))]
        blocks.append(max(numbers, default=-1) + 1)
    kind = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    return _RESNETS.get((kind, tuple(blocks)), f"of {'+'.join(map(str, blocks))} blocks")


def _vgg_family(shapes: Mapping[str, tuple[int, ...]]) -> str:
    if "features.28.weight" not in shapes or "features.30.weight" in shapes or "features.1.weight" in shapes:
        return "VGG of another depth, or with batch norm"
    # torchvision's classifier has its layers at 0, 3 and 6; that of the Caffe file at 1, 4 and 6.
    return CAFFE_VGG if "classifier.1.weight" in shapes else TORCHVISION_VGG


def accepted_families(backbone: nn.Module | None) -> tuple[str, ...]:
    """Families whose weights fit a backbone; none for one that was never trained on ImageNet."""
    if isinstance(backbone, VGG16):
        return (TORCHVISION_VGG, CAFFE_VGG)
    if isinstance(backbone, ResNet):
        settings = backbone.settings
        depth = _RESNETS.get((settings.block, settings.blocks))
        if depth is None or settings.widths != (64, 128, 256, 512):
            return ()
        if settings.stem == "deep":
            return (f"{DEEP_RESNET}-{depth}",)
        if settings.stem == "v1c":
            return (f"{V1C_RESNET}-{depth}",)
        if settings.stem == "7x7":
            # The Caffe form takes both: torchvision's have its keys, if not its place of the stride.
            caffe = (f"{CAFFE_RESNET}-{depth}",) if settings.stride_in == "1x1" else ()
            return (f"{TORCHVISION_RESNET}-{depth}", *caffe)
    return ()


def convert_backbone(state: State, family: str, backbone: nn.Module, where: str) -> dict[str, Tensor]:
    """The entries of an ImageNet file under the keys of `backbone`, without its classifier.

    Raises ConfigError if the family is not one for this backbone.
    """
    if isinstance(backbone, OwnFiles):
        return backbone.convert_weights(state, where)
    if family not in accepted_families(backbone):
        keys = list_names(state)
        raise ConfigError(f"{where}: {family} (keys {keys}); expected {describe_expected(backbone)}")
    if isinstance(backbone, VGG16):
        return {_vgg_key(key): value for key, value in state.items() if not key.startswith("classifier.")}
    stripped = {key.removeprefix(_PREFIX): value for key, value in state.items()}
    return {_stem_key(key): value for key, value in stripped.items() if not key.startswith(_UNUSED)}


def _stem_key(key: str) -> str:
    """`stem.<j>.x` of a v1c file to `conv<i>.x` or `bn<i>.x`; other keys stay."""
    match = re.fullmatch(r"stem\.(\d+)\.(\w+)", key)
    return key if match is None else f"{_V1C_KEYS.get(match[1], match[0])}.{match[2]}"


def _vgg_key(key: str) -> str:
    """`features.<j>.x` to `<index>.x`: the fourth pool, 23, is not there, so what follows moves down by
    one (algorithms/fada 4.1)."""
    match = re.fullmatch(r"features\.(\d+)\.(weight|bias)", key)
    if match is None:
        return key
    number = int(match[1])
    return f"{number - (number > 23)}.{match[2]}"


def describe_expected(backbone: nn.Module | None) -> str:
    """Which files fit a backbone, for messages; with the address of a family
    that is not fetched by itself."""
    if backbone is not None and isinstance(backbone, OwnFiles):
        return backbone.expected_file
    if isinstance(backbone, TimmBackbone):
        return f"timm's weights of {backbone.recipe.name} (.safetensors or .pth) or a udacore checkpoint"
    accepted = accepted_families(backbone)
    if any(family.startswith(V1C_RESNET) for family in accepted):
        return f"{accepted[0]}, such as {_V1C_ADDRESS}"
    names = " or ".join(accepted) or "a udacore checkpoint: this network has no ImageNet weights, use initial: random"
    depth = next((family.rpartition("-")[2] for family in accepted if family.startswith(DEEP_RESNET)), None)
    return names if depth is None else f"{names}, stem of 64, 64, 128 channels, as {_DEEP_ADDRESS.format(depth)}"


def is_torchvisions(backbone: nn.Module | None) -> bool:
    """Whether the weights that `initial: imagenet` fetches may fit: false for a backbone whose ImageNet
    weights are another program's."""
    others = any(name.startswith((DEEP_RESNET, V1C_RESNET)) for name in accepted_families(backbone))
    return not others and not isinstance(backbone, OwnFiles)


def untouched_by_imagenet(backbone: nn.Module) -> tuple[str, ...]:
    """Beginnings of keys that ImageNet weights do not fill: VGG's fc6 and fc7 keep their random
    start (algorithms/fada 4.1)."""
    return ("29.", "31.") if isinstance(backbone, VGG16) else ()
