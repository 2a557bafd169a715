"""DAFormer's head, and the head of HRDA's attention between two scales (algorithms/mic 4.3, 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from udacore.models import DeepLabHead, NormFactory
from udacore.models.heads import ContextFusion, PixelClassifier

DILATIONS = (6, 12)
"""Of DeepLab-V2's head in the authors' variants: the first two branches alone (algorithms/mic 4.4)."""


class DAFormerHead(ContextFusion):
    """Maps of all stages to logits: the context-aware fusion, dropout of whole channels, a 1x1 convolution.

    channels  of the maps, from the largest map to the smallest
    width     of each embedding and of the fused map
    fusion    `pyramid` for logits, `1x1` for HRDA's attention

    Keys are those of the released checkpoints below `decode_head.`: `embed_layers`, `fuse_layer`, `conv_seg`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        norm: NormFactory,
        *,
        width: int = 256,
        dropout: float = 0.1,
        fusion: Literal["pyramid", "1x1"] = "pyramid",
    ) -> None:
        super().__init__(channels, width, norm, fusion=fusion)
        self.before = tuple(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = PixelClassifier(width, num_classes).conv_seg

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps N A_i h_i w_i to logits N K h_1 w_1."""
        logits: Tensor = self.conv_seg(self.dropout(super().forward(maps)))
        return logits


def attention_beside(
    head: nn.Module, channels: int, num_classes: int, norm: NormFactory, width: int = 256
) -> nn.Module:
    """A head for the attention of the same maps as `head` gets: DAFormer's with a plain fusion, for the
    others one of the same kind.

    channels  of the only map, where the head gets one
    width     of DAFormer's attention
    """
    if isinstance(head, DAFormerHead):
        return DAFormerHead(head.before, num_classes, norm, width=width, dropout=head.dropout.p, fusion="1x1")
    if isinstance(head, DeepLabHead):
        convolutions = (conv for conv in head.conv2d_list if isinstance(conv, nn.Conv2d))
        return DeepLabHead(channels, num_classes, [conv.dilation[0] for conv in convolutions])
    return PixelClassifier(channels, num_classes)
