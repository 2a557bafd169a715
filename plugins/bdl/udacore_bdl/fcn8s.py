"""FCN-8s on VGG-16 (algorithms/bdl 5.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.interface import Output

_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_BORDER = 100
"""Padding of the first convolution: so much that any image leaves something for fc6."""
_CROPS = {"pool4": 5, "pool3": 9, "output": 31}


def bilinear_kernel(channels: int, size: int) -> Tensor:
    """Weight (channels channels size size, float32) of a transposed convolution that
    enlarges each channel bilinearly."""
    factor = (size + 1) // 2
    center = factor - 0.5 if size % 2 == 0 else factor - 1
    line = 1 - (torch.arange(size) - center).abs() / factor
    weight = torch.zeros(channels, channels, size, size)
    weight[range(channels), range(channels)] = torch.outer(line, line)
    return weight


class VGG16Features(nn.Module):
    """VGG-16 with fc6 and fc7 as convolutions: an image N 3 H W to pool3, pool4 and fc7
    (256, 512 and 4096 channels).

    Keys: `conv1_1` ... `conv5_3`, `fc6`, `fc7`.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for group, widths in enumerate(_GROUPS, start=1):
            for number, width in enumerate(widths, start=1):
                padding = _BORDER if inputs == 3 else 1
                self.add_module(f"conv{group}_{number}", nn.Conv2d(inputs, width, 3, padding=padding))
                inputs = width
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        for module in self.children():
            assert isinstance(module, nn.Conv2d)
            assert module.bias is not None
            # A start that can learn; the original's is zero throughout, and cannot.
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the third and fourth pool, and of fc7 after its dropout (in training)."""
        x, pools = image, []
        for group, widths in enumerate(_GROUPS, start=1):
            for number in range(1, len(widths) + 1):
                x = F.relu(self.get_submodule(f"conv{group}_{number}")(x), inplace=True)
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
        for layer in (self.fc6, self.fc7):
            x = F.dropout2d(F.relu(layer(x), inplace=True), 0.5, self.training)
        return pools[2], pools[3], x


class FCN8sHead(nn.Module):
    """Scores at three resolutions, enlarged and added. Keys: `score_fr`, `score_pool3|4`, `upscore2`,
    `upscore8`, `upscore_pool4`.

    The transposed convolutions are to stay bilinear: the presets give them the rate 0, as the
    original leaves them out.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name, channels in (("score_fr", 4096), ("score_pool3", 256), ("score_pool4", 512)):
            layer = nn.Conv2d(channels, num_classes, 1)
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            self.add_module(name, layer)
        for name, size, stride in (("upscore2", 4, 2), ("upscore8", 16, 8), ("upscore_pool4", 4, 2)):
            enlarging = nn.ConvTranspose2d(num_classes, num_classes, size, stride, bias=False)
            with torch.no_grad():
                enlarging.weight.copy_(bilinear_kernel(num_classes, size))
            self.add_module(name, enlarging)

    def forward(self, pool3: Tensor, pool4: Tensor, fc7: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits N K H W at `size` = (H, W)."""
        run = self.get_submodule
        x: Tensor = run("upscore2")(run("score_fr")(fc7))
        x = x + _crop(run("score_pool4")(0.01 * pool4), _CROPS["pool4"], x.shape)
        x = run("upscore_pool4")(x)
        x = x + _crop(run("score_pool3")(0.0001 * pool3), _CROPS["pool3"], x.shape)
        return _crop(run("upscore8")(x), _CROPS["output"], size)


def _crop(x: Tensor, offset: int, size: tuple[int, ...]) -> Tensor:
    height, width = size[-2:]
    return x[..., offset : offset + height, offset : offset + width]


class FCN8s(nn.Module):
    """The segmenter: as `udacore.models.Segmenter`, but its logits always have the image's size."""

    align_corners = True

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = VGG16Features()
        self.classifier = FCN8sHead(num_classes)
        self.num_classes = num_classes
        self.feature_channels = 4096

    def forward(self, image: Tensor, domain: str | None = None, head: str | None = None) -> Output:
        """Logits N K H W and features (fc7) of images N 3 H W; `domain` and `head` choose nothing here."""
        pool3, pool4, fc7 = self.backbone(image)
        height, width = image.shape[-2:]
        return Output(logits=self.classifier(pool3, pool4, fc7, (height, width)), features=fc7)
