"""Settings of the segmenter, and of the numbers that it gets: networks, heads, normalisation."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from udacore.options import option


@attrs.frozen(kw_only=True)
class PixelConfig:
    """From colours to the numbers a network expects: (x * scale / 255 - mean) / std
    in the given order, where x is on 0..255."""

    order: Literal["rgb", "bgr"] = option("rgb", "order of the channels; mean and std follow it")
    scale: float = option(1.0, "value of full brightness: 1 or 255", above=0)
    mean: tuple[float, ...] = option((0.485, 0.456, 0.406), "subtracted from each channel")
    std: tuple[float, ...] = option((0.229, 0.224, 0.225), "divides each channel", above=0)
    bits: Literal[8, 16] = option(8, "what is read of images of 16 bits: the high byte, or all")


TIMM = "timm:"
"""Begins the names of networks that the library timm makes."""

NETWORKS = ("deeplab-resnet101", "deeplab-vgg16", "small", f"{TIMM}NAME")
"""What `model.name` may be."""


@attrs.frozen(kw_only=True)
class ModelConfig:
    """The segmenter, where the method does not build its own."""

    name: str = option("deeplab-resnet101", "network; timm:NAME is any of timm's that gives feature maps", choices=lambda: NETWORKS)
    channels: int = option(3, "channels of the images; weights of RGB networks are repeated or cut", at_least=1, at_most=256)
    head: Literal["aspp", "daformer", "linear"] | None = option(
        None, "timm only: DeepLab-V2's (the default), DAFormer's fusion of all maps, or one 1x1 convolution"
    )
    width: int = option(256, "timm only: channels of the map that daformer makes", at_least=1, at_most=2**14)
    out_indices: tuple[int, ...] = option((), "timm only: which maps the head gets; default: for daformer those from stride 4 on, else the last")
    options: dict[str, Any] = option(factory=dict, help="timm only: further arguments of timm.create_model, such as drop_path_rate")
    batch_norm: Literal["train", "eval", "frozen", "frozen-no-epsilon", "live", "domain"] = option(
        "train",
        "train: batch statistics, synchronised over processes; eval: stored statistics, affine trained; frozen: nothing "
        "trained; frozen-no-epsilon: as in FADA's code; live: batch statistics, affine frozen; domain: own layers a domain",
    )
