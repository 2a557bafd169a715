"""VGG-16 as a feature extractor at output stride 8 (algorithms/proca 4.2)."""

from __future__ import annotations

from torch import nn

_POOL = 0
# Output channels and dilation of each convolution; torchvision's fourth and fifth pool are left out.
_LAYERS: tuple[tuple[int, int], ...] = (
    *((64, 1), (64, 1), (_POOL, 0), (128, 1), (128, 1), (_POOL, 0), (256, 1), (256, 1), (256, 1), (_POOL, 0)),
    *((512, 1), (512, 1), (512, 1), (512, 2), (512, 2), (512, 2), (1024, 4), (1024, 4)),
)
_CLASSIFIER = 29
"""Index from which convolutions stand for the classifier's fc6 and fc7; ImageNet
weights do not reach them."""


class VGG16(nn.Sequential):
    """N 3 H W to N 1024 h w, h = floor(floor(floor(H/2)/2)/2). Keys: `<index>.weight`,
    `<index>.bias` in one sequence.

    Convolutions 0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 23, 25, 27 are VGG's own; 29 and 31 take
    the place of fc6 and fc7.
    """

    channels = (1024,)

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, dilation in _LAYERS:
            if outputs == _POOL:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
            if len(layers) < _CLASSIFIER:
                # torchvision's start; torch's default lets the signal die out over thirteen
                # layers without batch norm.
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.ReLU(inplace=True)]
            inputs = outputs
        super().__init__(*layers)
