"""DeepLab-V2's head, and the segmenter: a feature extractor and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from torch import Tensor, nn

from udacore.errors import ConfigError, near_matches
from udacore.interface import Output
from udacore.models.normalization import use_domain


class DeepLabHead(nn.Module):
    """Parallel dilated 3x3 convolutions, summed (keys `conv2d_list.{i}.weight|bias`; algorithms/proca 4.3).

    dilations  one branch each
    bias       whether branches have a bias
    std        standard deviation of the initial weights; None: torch's default for convolutions
    summed     how many branches, from the first, count; None: all. Weights exist for all (algorithms/bdl 5.1)
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        dilations: Sequence[int] = (6, 12, 18, 24),
        *,
        bias: bool = True,
        std: float | None = 0.01,
        summed: int | None = None,
    ) -> None:
        super().__init__()
        self.summed = len(dilations) if summed is None else summed
        if not 1 <= self.summed <= len(dilations):
            raise ConfigError(f"a head of {len(dilations)} branches cannot sum {self.summed} of them; possible: 1 to {len(dilations)}")
        self.conv2d_list = nn.ModuleList(nn.Conv2d(channels, num_classes, 3, padding=d, dilation=d, bias=bias) for d in dilations)
        if std is not None:
            for conv in self.conv2d_list:
                nn.init.normal_(conv.weight, 0.0, std)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Features N A h w to logits N K h w."""
        logits: Tensor = self.conv2d_list[0](features)
        for conv in self.conv2d_list[1 : self.summed]:
            logits = logits + conv(features)
        return logits


class Segmenter(nn.Module):
    """A segmentation network: `classifier(backbone(image))`, and further heads on the same features.

    backbone          image N 3 H W to features N A h w
    classifier        features to logits N K h w
    heads             further outputs by name; each is a direct child, so it may be a part of its own
    num_classes       K
    feature_channels  A
    align_corners     corner rule under which logits are to be enlarged
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        *,
        num_classes: int,
        feature_channels: int,
        align_corners: bool = True,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.num_classes = num_classes
        self.feature_channels = feature_channels
        self.align_corners = align_corners
        self.head_names = tuple(heads or ())
        for name, head in (heads or {}).items():
            self.add_module(name, head)

    def forward(self, image: Tensor, domain: str | None = None, head: str | None = None) -> Output:
        """Logits and features of an image N 3 H W, at the network's own resolution.

        domain  'source' or 'target': which layers of domain-specific batch norm; None: as set
                around the call, else 'source'
        head    a further head to run; its output is `heads[head]`

        Raises ConfigError for a head that the model does not have.
        """
        if head is not None and head not in self.head_names:
            raise ConfigError(f"head {head!r}: this model's further heads are {list(self.head_names)}{near_matches(head, self.head_names)}")
        with nullcontext() if domain is None else use_domain(self, domain):
            features = self.backbone(image)
            logits = self.classifier(features)
            heads = {} if head is None else {head: self.get_submodule(head)(features)}
        return Output(logits=logits, features=features, heads=heads)
