"""Backbones of the library timm: any network with `features_only`, convolutional or
transformer, under our heads."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore.config.schema import TIMM, ModelConfig
from udacore.errors import ConfigError, list_names, near_matches, one_line
from udacore.models.deeplab import DeepLabHead, Segmenter
from udacore.models.heads import ContextFusion, Joined, PixelClassifier
from udacore.models.normalization import NormFactory

OWN_ARGUMENTS = ("features_only", "out_indices", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "in_chans")
"""Arguments of `timm.create_model` that are not for `model.options`."""

_DYNAMIC: tuple[Mapping[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""What lets a network take images of any size: ViT and EVA, Swin, and networks that need nothing."""


@attrs.frozen(kw_only=True)
class Recipe:
    """What `timm.create_model` is called with."""

    name: str
    out_indices: tuple[int, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def create(self, **more: Any) -> Any:
        """The network, its weights drawn from torch's generator unless `more` says otherwise.
        Raises what timm raises."""
        chosen = {"out_indices": self.out_indices} if self.out_indices else {}
        return import_timm(self.name).create_model(self.name, features_only=True, **chosen, **self.options, **more)


class TimmBackbone(nn.Module):
    """A network of timm (`net`), and what makes one map of its maps (`neck`).

    recipe    how `net` was made
    channels  of the map that comes out
    patch     side of the patches of a transformer whose maps all have one stride, else 1
    """

    def __init__(self, recipe: Recipe, net: Any, neck: Joined | ContextFusion) -> None:
        super().__init__()
        self.recipe, self.net, self.neck = recipe, net, neck
        self.channels = neck.channels
        strides = [row["reduction"] for row in net.feature_info.info]
        self.patch = int(strides[0]) if len(strides) > 1 and len(set(strides)) == 1 else 1
        self.is_channels_last = "NHWC" in str(getattr(net, "output_fmt", ""))

    def forward(self, image: Tensor) -> Tensor:
        """Image N 3 H W to N A h w. Raises what `maps` raises."""
        result: Tensor = self.neck(self.maps(image))
        return result

    def maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """The chosen maps N A_i h_i w_i of an image N 3 H W, before the neck.

        ConfigError for a size that the network's patches do not divide.
        """
        height, width = image.shape[-2:]
        if height % self.patch or width % self.patch:
            near = [max(1, round(side / self.patch)) * self.patch for side in (width, height)]
            said = f"an image of {width} x {height} does not divide into patches of {self.patch} x {self.patch}"
            raise ConfigError(f"model {TIMM}{self.recipe.name}: {said}; possible: {near[0]} x {near[1]}")
        maps = self.net(image)
        return tuple(x.permute(0, 3, 1, 2) if self.is_channels_last else x for x in maps)


def import_timm(name: str) -> Any:
    """The library. ConfigError that tells how to install it."""
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ConfigError(f"model.name: {TIMM}{name} needs {error.name}, which is not installed: pip install 'udacore[timm]'") from error


def build_timm(architecture: ModelConfig, num_classes: int, norm: NormFactory) -> Segmenter:
    """The segmenter that a name `timm:NET` means, with random weights drawn from torch's generator.

    Head `aspp` is DeepLab-V2's sum of dilated convolutions and `linear` a 1x1 convolution, both on the last
    map, or on the chosen ones side by side; `daformer` is DAFormer's fusion of all maps from stride 4 on,
    with its classifier. Raises ConfigError for a name, an option or a map that timm does not have.
    """
    recipe = choose_maps(architecture)
    net = _try(recipe)
    use_norm(net, norm)
    counts = [int(count) for count in net.feature_info.channels()]
    neck: Joined | ContextFusion = Joined(counts)
    if architecture.head == "daformer":
        neck = ContextFusion(counts, architecture.width, norm)
        head: nn.Module = PixelClassifier(neck.channels, num_classes, dropout=0.1)
    elif architecture.head == "linear":
        head = PixelClassifier(neck.channels, num_classes)
    else:
        head = DeepLabHead(neck.channels, num_classes)
    backbone = TimmBackbone(recipe, net, neck)
    return Segmenter(backbone, head, num_classes=num_classes, feature_channels=neck.channels, align_corners=False)


def choose_maps(architecture: ModelConfig) -> Recipe:
    """The complete recipe of a network: with its maps, and with what lets it take images of any size."""
    name, options = architecture.name.removeprefix(TIMM), dict(architecture.options)
    if own := [key for key in options if key in OWN_ARGUMENTS]:
        raise ConfigError(f"model.options: {own[0]} is set by udacore, not there")
    timm = import_timm(name)
    if not re.fullmatch(r"[\w.-]+", name) or not timm.is_model(name.partition(".")[0]):
        raise ConfigError(f"model.name: timm has no network {name!r}{near_matches(name.partition('.')[0], timm.list_models())}")
    recipe, info = _find_recipe(Recipe(name=name, options=options))
    strides = [int(row["reduction"]) for row in info]
    if wrong := [index for index in architecture.out_indices if not 0 <= index < len(info)]:
        possible = f"0 to {len(info) - 1}, at strides {list_names(map(str, strides), 8)}"
        raise ConfigError(f"model.out_indices: {TIMM}{name} has no map {wrong[0]}; possible: {possible}")
    return attrs.evolve(recipe, out_indices=architecture.out_indices or _default_maps(strides, architecture.head))


def _find_recipe(plain: Recipe) -> tuple[Recipe, list[Mapping[str, Any]]]:
    """The first form of a recipe that the network takes, and what timm says of its
    maps; nothing is allocated."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        for dynamic in _DYNAMIC[:-1]:
            recipe = attrs.evolve(plain, options={**dynamic, **plain.options})
            try:
                return recipe, recipe.create().feature_info.info
            except TypeError:  # it has no such argument
                continue
            except Exception:  # what else is wrong is told below
                break
        return plain, _try(plain).feature_info.info


def _try(recipe: Recipe) -> Any:
    """The network; ConfigError, one line, for whatever timm finds wrong with its arguments."""
    try:
        net = recipe.create()
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, IndexError, NotImplementedError, AttributeError) as error:
        given = f" with {one_line(str(dict(recipe.options)), 80)}" if recipe.options else ""
        said = one_line(str(error), 150)
        raise ConfigError(f"model.name: timm does not make a backbone of {recipe.name!r}{given}: {said}") from error
    if not hasattr(net, "feature_info"):
        raise ConfigError(f"model.name: timm's {recipe.name!r} gives no feature maps, so no head fits it")
    return net


def _default_maps(strides: list[int], head: str | None) -> tuple[int, ...]:
    """For daformer the maps from stride 4 on, of a transformer of one stride four that are
    spread evenly; else the last."""
    last = len(strides) - 1
    if head != "daformer":
        return (last,)
    if len(set(strides)) == 1:
        return tuple(sorted({max(0, len(strides) * quarter // 4 - 1) for quarter in (1, 2, 3, 4)}))
    return tuple(index for index, stride in enumerate(strides) if stride >= 4)


def use_norm(net: nn.Module, norm: NormFactory) -> None:
    """Put our batch norm in place of a network's, with the same keys; an activation that timm
    joined to it comes after it."""
    for parent in list(net.modules()):
        for name, old in list(parent.named_children()):
            if isinstance(old, nn.BatchNorm2d):
                setattr(parent, name, _like(old, norm))


def _like(old: nn.BatchNorm2d, norm: NormFactory) -> nn.Module:
    """A layer of ours with the settings of one of timm's, and what follows within it."""
    new = norm(old.num_features)
    layers: list[Any] = list(new.modules())
    for layer in layers:
        if hasattr(layer, "eps") and layer.eps:  # a mode without epsilon keeps it so
            layer.eps = old.eps
        if hasattr(layer, "momentum"):
            layer.momentum = old.momentum
    with torch.no_grad():
        for mine in (layer for layer in layers if getattr(layer, "weight", None) is not None):
            mine.weight.copy_(old.weight)  # some blocks begin at 0
            mine.bias.copy_(old.bias)
    after = [child for name, child in old.named_children() if not isinstance(child, nn.Identity)]
    if after:
        new.add_module("after", nn.Sequential(*after))
        new.register_forward_hook(_go_on)
    new._forward_hooks.update(old._forward_hooks)
    return new


def _go_on(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """What timm does within its layer after the normalisation: dropping and the activation."""
    result: Tensor = module.get_submodule("after")(output)
    return result
