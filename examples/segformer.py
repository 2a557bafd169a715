"""SegFormer as the library transformers has it: `uda run --plugin ./segformer.py streets-adapt`, after
`pip install transformers`.

The core's losses train it; with `from udacore_clp import Settings, source_loss, target_loss` in a file of
yours, those of a method. The weights of its authors are under a licence that forbids commercial use: read it
before you name a `checkpoint`.
"""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor, nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from udacore import MethodSettings, Output, hookimpl, option
from udacore.interface import RoundInfo
from udacore.models import SyncBatchNorm2d


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Size of the network; the defaults are those of the smallest published one, B0."""

    checkpoint: str | None = option(None, "what from_pretrained takes, a name or a folder, which decides the size too; null: random weights")
    widths: tuple[int, int, int, int] = option((32, 64, 160, 256), "channels of the stages", at_least=1)
    depths: tuple[int, int, int, int] = option((2, 2, 2, 2), "blocks of the stages", at_least=1)
    head: int = option(256, "channels of the decoder", at_least=1)


class SegFormer(nn.Module):
    """The network under the names that udacore asks for; features are the last stage's, at stride 32."""

    align_corners = False

    def __init__(self, net: Any, num_classes: int) -> None:
        super().__init__()
        self.net, self.num_classes = net, num_classes
        self.feature_channels = net.config.hidden_sizes[-1]
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):  # statistics of all processes, as everywhere in udacore
                    own = SyncBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
                    own.load_state_dict(child.state_dict())
                    setattr(parent, name, own)

    def forward(self, image: Tensor) -> Output:
        """Image N 3 H W to logits N K H/4 W/4."""
        found = self.net(pixel_values=image, output_hidden_states=True)
        return Output(logits=found.logits, features=found.hidden_states[-1])


@hookimpl
def build_model(settings: Settings, round: RoundInfo) -> SegFormer:
    """A network of that size, whose weights the core replaces in every round that goes on from another."""
    classes = len(round.classes)
    if settings.checkpoint is not None:
        net = SegformerForSemanticSegmentation.from_pretrained(settings.checkpoint, num_labels=classes, ignore_mismatched_sizes=True)
        return SegFormer(net, classes)
    config = SegformerConfig(
        num_labels=classes, hidden_sizes=list(settings.widths), depths=list(settings.depths), decoder_hidden_size=settings.head
    )
    return SegFormer(SegformerForSemanticSegmentation(config), classes)
