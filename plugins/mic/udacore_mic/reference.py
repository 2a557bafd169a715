"""The frozen backbone whose features the network's own are held near to (algorithms/mic 5.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Reference(nn.Module):
    """A backbone as a part that is never trained; called with images N 3 H W it gives its last map."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """Features N A h w."""
        features: Any = self.backbone(image)
        last: Tensor = features[-1] if isinstance(features, list | tuple) else features
        return last
