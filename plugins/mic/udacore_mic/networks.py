"""The networks of the three methods: an encoder and a head, at one scale or at two (algorithms/mic 4, 6).

Hooks call a network as `network(image, domain="source", box=box)`, where `box = network.draw_box(size,
generator)` is None at one scale, and get an `Output` with `logits`, `features` (the encoder's last map; of
the context where there are two scales) and, at two scales, `heads["context"]` and `heads["detail"]`, the
logits of each scale alone. Without a box, as a teacher and in evaluation, the detail slides over the whole
image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore.config.schema import TIMM, ModelConfig
from udacore.errors import ConfigError, near_matches
from udacore.interface import Output
from udacore.models import (
    BUILDERS,
    DeepLabHead,
    NormFactory,
    ResNet,
    ResNetSettings,
    build_segmenter,
    fit_input,
    make_batch_norm,
    use_domain,
)
from udacore.models.timm_backbones import TimmBackbone, choose_maps
from udacore_mic.detail import (
    DIVISIBLE,
    Box,
    Size,
    crop_box,
    cut,
    draw_by,
    fuse,
    halve,
    merge_windows,
    slide_boxes,
)
from udacore_mic.heads import DILATIONS, DAFormerHead, attention_beside
from udacore_mic.transformer import ENCODERS, MiT, MiTSettings

V1C = "resnet101_v1c"
RESNET101_V1C = ResNetSettings(stem="v1c")
"""The authors' ResNet-101 (algorithms/mic 4.4)."""


@attrs.frozen(kw_only=True)
class Detail:
    """HRDA's second scale.

    window     (height, width) of the detail window, in pixels of the image at full size
    attention  channels of the attention's head
    at_once    windows that evaluation takes through the network at a time, however large and many the images
               are; one of each image at least
    """

    window: Size = (512, 512)
    attention: int = 256
    at_once: int = 9


class Network(nn.Module):
    """One scale: `classifier(backbone(image))`.

    backbone    gives one map N A h w, or a tuple of maps of which the last is the deepest
    classifier  what the backbone gives to logits N K h w
    """

    align_corners = False
    detail: Detail | None = None

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, *, num_classes: int, feature_channels: int
    ) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier
        self.num_classes, self.feature_channels = num_classes, feature_channels

    def forward(self, image: Tensor, domain: str | None = None, box: Box | None = None) -> Output:
        """Logits N K h w and features N A h' w' (the last map) of images N 3 H W.

        domain  'source' or 'target': layers of domain-specific batch norm
        box     what `draw_box` gave; with one scale there is none
        """
        with nullcontext() if domain is None else use_domain(self, domain):
            maps = self.backbone(image)
            return Output(logits=self.classifier(maps), features=last_of(maps))

    def draw_box(self, size: Size, generator: torch.Generator) -> Box | None:
        """Where the detail of a training pass over images of `size` (height, width) lies; None: nowhere."""
        return None

    def context(self, image: Tensor) -> Tensor:
        """What the features are those of: the images N 3 H W, with two scales at half size."""
        return image

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        head = [
            key.removeprefix(f"{prefix}classifier.")
            for key in state_dict
            if key.startswith(f"{prefix}classifier.")
        ]
        here, there = self.detail is not None, any(key.startswith("scale_attention.") for key in head)
        if head and there != here:
            kinds = {True: "two scales (HRDA, MIC)", False: "one scale (DAFormer)"}
            # What torch itself raises for weights that do not fit: udacore says then which file it was.
            raise RuntimeError(f"they are of a network of {kinds[there]}, and this round's has {kinds[here]}")
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class ScaleHeads(nn.Module):
    """The head of both scales, and the one of the attention between them."""

    def __init__(self, head: nn.Module, scale_attention: nn.Module) -> None:
        super().__init__()
        self.head, self.scale_attention = head, scale_attention


class DetailNetwork(Network):
    """Two scales: the whole image at half size and a window of it at full size, through the same encoder
    and head, fused by an attention for each class and place."""

    classifier: ScaleHeads

    def __init__(
        self,
        backbone: nn.Module,
        classifier: ScaleHeads,
        *,
        num_classes: int,
        feature_channels: int,
        detail: Detail,
    ) -> None:
        super().__init__(backbone, classifier, num_classes=num_classes, feature_channels=feature_channels)
        self.detail = detail

    def forward(self, image: Tensor, domain: str | None = None, box: Box | None = None) -> Output:
        """Fused logits N K h w and the context's features of images N 3 H W.

        domain  'source' or 'target': layers of domain-specific batch norm
        box     where the detail lies, the same in all images; None: windows slide over the whole, as one
                batch in training mode, where batch norm sees them together, else `at_once` at a time

        `heads["context"]` are the context's logits, `heads["detail"]` the detail's: of the box, or of all.
        ConfigError for images whose sides are no multiples of 8, and what `output_stride` raises.
        """
        height, width = image.shape[-2:]
        if height % DIVISIBLE or width % DIVISIBLE:
            near = [max(1, round(side / DIVISIBLE)) * DIVISIBLE for side in (width, height)]
            said = f"images of {width} x {height} at two scales: their sides must be multiples of {DIVISIBLE}"
            raise ConfigError(f"{said}; possible: {near[0]} x {near[1]}")
        with nullcontext() if domain is None else use_domain(self, domain):
            maps = self.backbone(self.context(image))
            context = self.classifier.head(maps)
            detail = self._slide(image) if box is None else self._infer(cut(image, box))
            fused, _ = fuse(context, detail, self.classifier.scale_attention(maps), box)
        return Output(logits=fused, features=last_of(maps), heads={"context": context, "detail": detail})

    def context(self, image: Tensor) -> Tensor:
        """What the features are those of: the images N 3 H W at half size."""
        return halve(image)

    def _slide(self, image: Tensor) -> Tensor:
        """Detail logits N K H/s W/s of whole images."""
        assert self.detail is not None
        boxes = slide_boxes((image.shape[2], image.shape[3]), self.detail.window)
        count = len(boxes) if self.training else max(1, self.detail.at_once // len(image))
        groups = (boxes[first : first + count] for first in range(0, len(boxes), count))
        logits = (self._infer(torch.cat([cut(image, box) for box in group])) for group in groups)
        return merge_windows((part for some in logits for part in torch.split(some, len(image))), boxes)

    def _infer(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier.head(self.backbone(image))
        return logits

    def draw_box(self, size: Size, generator: torch.Generator) -> Box | None:
        """Where the detail of a training pass over images of `size` (height, width) lies.

        generator  on the CPU
        ConfigError for images that are smaller than the window.
        """
        assert self.detail is not None
        return crop_box(size, self.detail.window, draw_by(generator))


def last_of(maps: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The deepest of a backbone's maps."""
    return maps if isinstance(maps, Tensor) else maps[-1]


class TimmMaps(TimmBackbone):
    """A network of timm whose maps go to a head as they are."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Image N 3 H W to maps N A_i h_i w_i."""
        return self.maps(image)


def build_network(
    encoder: str | MiTSettings,
    num_classes: int,
    *,
    architecture: ModelConfig | None = None,
    detail: Detail | None = None,
    norm: NormFactory | None = None,
    width: int = 256,
    dropout: float = 0.1,
    dilations: Sequence[int] = DILATIONS,
) -> Network:
    """A network with random weights drawn from torch's generator.

    encoder       mit_b0 to mit_b5 or mit_tiny with DAFormer's head; resnet101_v1c with DeepLab-V2's; else a
                  name of the core's networks, `timm:NAME` among them, with its own head. Or the numbers of a
                  transformer
    architecture  what the configuration says of any network, channels of its input and batch norm, and of the
                  core's, such as options and head of timm's
    detail        HRDA's second scale; None: one scale
    norm          makes the layers of batch norm; default: those of `architecture.batch_norm`
    width         channels of DAFormer's head
    dropout       share of its channels that are dropped in training
    dilations     of the branches of the head on resnet101_v1c

    Keys of the state_dict: `backbone.*` and `classifier.*`, at two scales `classifier.head.*` and
    `classifier.scale_attention.*`. Raises ConfigError for an encoder that is not there.
    """
    architecture = architecture or ModelConfig()
    norm = norm or make_batch_norm(architecture.batch_norm)
    if encoder == V1C:
        resnet = ResNet(RESNET101_V1C, norm)
        fit_input(resnet, architecture.channels)
        backbone: nn.Module = resnet
        channels = resnet.channels[-1]
        head: nn.Module = DeepLabHead(channels, num_classes, dilations)
    else:
        backbone, head, channels = _build_parts(encoder, num_classes, architecture, norm, width, dropout)
    if detail is None:
        return Network(backbone, head, num_classes=num_classes, feature_channels=channels)
    attention = attention_beside(head, channels, num_classes, norm, width=detail.attention)
    both = ScaleHeads(head, attention)
    return DetailNetwork(backbone, both, num_classes=num_classes, feature_channels=channels, detail=detail)


def _build_parts(
    encoder: str | MiTSettings,
    num_classes: int,
    architecture: ModelConfig,
    norm: NormFactory,
    width: int,
    dropout: float,
) -> tuple[nn.Module, nn.Module, int]:
    """Backbone, head, and channels of the last map: a transformer, or a network of the core or of timm."""
    if isinstance(encoder, MiTSettings) or encoder in ENCODERS:
        mit = MiT(encoder if isinstance(encoder, MiTSettings) else ENCODERS[encoder])
        fit_input(mit, architecture.channels)
        head = DAFormerHead(mit.channels, num_classes, norm, width=width, dropout=dropout)
        return mit, head, mit.channels[-1]
    if encoder not in BUILDERS and not encoder.startswith(TIMM):
        names = (*ENCODERS, V1C, *BUILDERS, f"{TIMM}NAME")
        raise ConfigError(f"encoder: {encoder!r}{near_matches(encoder, names)}")
    architecture = attrs.evolve(architecture, name=encoder)
    if encoder.startswith(TIMM) and architecture.head == "daformer":
        plain = attrs.evolve(architecture, head="linear", out_indices=choose_maps(architecture).out_indices)
        built = build_segmenter(plain, num_classes, norm=norm).backbone
        assert isinstance(built, TimmBackbone)
        counts = [int(count) for count in built.net.feature_info.channels()]
        head = DAFormerHead(counts, num_classes, norm, width=architecture.width, dropout=dropout)
        return TimmMaps(built.recipe, built.net, built.neck), head, counts[-1]
    segmenter = build_segmenter(architecture, num_classes, norm=norm)
    return segmenter.backbone, segmenter.classifier, segmenter.feature_channels
