"""One vector for each class: the running mean of its pixels' features (algorithms/proca 5.3).

Letters: P pixels, C classes, A channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore import ranks
from udacore.losses import prototype_sums


def flatten_pixels(x: Tensor) -> Tensor:
    """N A h w to P A, pixel p = (n h + i) w + j; a view for one image or in channels-last memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def downsample_labels(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (N H W) at the resolution of the features: row floor(i H / h), column floor(j W / w).

    This is torch's "nearest", neither "nearest-exact" nor Pillow's rule; ids up to 2^24 survive unchanged.
    """
    return F.interpolate(label[:, None].float(), size=size, mode="nearest")[:, 0].to(label.dtype)


def update_running_mean(mean: Tensor, count: Tensor, sums: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The means and counts after further pixels: each pixel ever seen weighs the same.

    mean    C A float, the means so far
    count   C int64, the pixels behind them
    sums    C A float, sums of the new pixels' features by class
    pixels  C int64, how many they are; a class without pixels keeps its mean

    Returns new C A and C. Counts are integers, because float32 stops counting at
    2^24 and GTA5 has 3.6e8 pixels.
    """
    total = count + pixels
    weight = pixels.to(mean.dtype) / total.clamp(min=1)
    return torch.lerp(mean, _class_means(sums, pixels), weight[:, None]), total


def update_with_momentum(mean: Tensor, count: Tensor, sums: Tensor, pixels: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """As `update_running_mean`, but the new mean of each class present weighs `momentum`,
    the old one 1 - `momentum`.

    The counts grow by the class's own pixels and play no part in the means.
    """
    weight = momentum * (pixels > 0).to(mean.dtype)[:, None]
    return torch.lerp(mean, _class_means(sums, pixels), weight), count + pixels


def _class_means(sums: Tensor, pixels: Tensor) -> Tensor:
    return sums / pixels.clamp(min=1)[:, None]


class Estimator(nn.Module):
    """The prototypes of one level: buffers `mean` (C A float32) and `count` (C int64), both zero at first."""

    mean: Tensor
    count: Tensor

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_classes, channels))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def update(self, x: Tensor, label: Tensor, *, momentum: float | None = None, synchronised: bool = True) -> None:
        """Move the means, in place, by the pixels `x` (P A) with `label` (P, 255 = ignore).

        momentum      None: the running mean
        synchronised  sum over all ranks first, so that the means are the same everywhere
        """
        self.add(*prototype_sums(x.detach(), label, len(self.count)), momentum=momentum, synchronised=synchronised)

    @torch.no_grad()
    def add(self, sums: Tensor, pixels: Tensor, *, momentum: float | None = None, synchronised: bool = True) -> None:
        """As `update`, from sums of features (C A, any floating dtype) and numbers of pixels (C int64)."""
        if synchronised:
            sums, pixels = ranks.all_sum(sums), ranks.all_sum(pixels)
        sums = sums.to(self.mean.dtype)
        if momentum is None:
            mean, count = update_running_mean(self.mean, self.count, sums, pixels)
        else:
            mean, count = update_with_momentum(self.mean, self.count, sums, pixels, momentum)
        self.mean.copy_(mean)
        self.count.copy_(count)

class Prototypes(nn.Module):
    """Both levels: `feature` of the backbone's features (C A), `output` of the logits (C C)."""

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.feature = Estimator(num_classes, channels)
        self.output = Estimator(num_classes, num_classes)

    @torch.no_grad()
    def initialise(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Start anew from labelled images: one running-mean update for each batch (algorithms/proca 3.2).

        batches  features N A h w, logits N C h w and labels N H W of this rank's images, in any grouping

        Each rank goes through its own images, of which there may be fewer than another's;
        then the means are pooled.
        """
        own = Prototypes(*self.feature.mean.shape).to(self.feature.mean.device)
        for features, logits, label in batches:
            height, width = features.shape[-2:]
            small = downsample_labels(label, (height, width)).flatten()
            own.feature.update(flatten_pixels(features), small, synchronised=False)
            own.output.update(flatten_pixels(logits), small, synchronised=False)
        for mine, pooled in ((own.feature, self.feature), (own.output, self.output)):
            pooled.mean.zero_()
            pooled.count.zero_()
            pooled.add(mine.mean * mine.count[:, None], mine.count)
