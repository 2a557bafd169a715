"""The losses of a step as pure functions (algorithms/mic 5.1, 5.2, 6.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from udacore import ConfigError, ranks
from udacore.interface import IGNORE
from udacore.losses import upsample
from udacore_mic.detail import Box, cut


def segmentation_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None, align_corners: bool = False) -> Tensor:
    """Cross-entropy of the enlarged logits, a mean over all pixels: those without a label are zeros of it.

    logits         N K h w; enlarged bilinearly to the label
    label          N H W int64; 255 = ignore
    weight         N H W factors of the pixels; default: 1
    align_corners  how the logits are enlarged, as the model states it

    A batch without labels gives a zero that still has a graph.
    """
    height, width = label.shape[-2:]
    # Reduced here and not by torch, whose mean leaves out ignored pixels, also in the denominator.
    loss = F.cross_entropy(upsample(logits, (height, width), align_corners), label, ignore_index=IGNORE, reduction="none")
    return (loss if weight is None else loss * weight).mean()


def detail_losses(
    fused: Tensor, detail: Tensor, box: Box, label: Tensor, weight: Tensor | None, share: float
) -> tuple[Tensor, Tensor]:
    """The loss of the fused logits and that of the detail logits, 1 - `share` and `share` of the whole
    (algorithms/mic 6.2).

    fused, detail  N K h w logits of the image and of the box
    label, weight  N H W, of the image; the second loss is a mean over the pixels of the box
    """
    inside = None if weight is None else cut(weight, box)
    whole = segmentation_loss(fused, label, weight)
    return (1 - share) * whole, share * segmentation_loss(detail, cut(label, box), inside)


def downscale_label(label: Tensor, factor: int, min_ratio: float, num_classes: int) -> Tensor:
    """The most frequent class of each cell of `factor` x `factor` pixels (N h w int64), 255 where its share
    is below `min_ratio`.

    label  N H W int64; 255 counts as a class of its own, which makes its cell 255. Of equally frequent
           classes the lowest; rows and columns beyond a multiple of `factor` are dropped

    ConfigError for images that are smaller than a cell.
    """
    images, height, width = len(label), label.shape[1] // factor, label.shape[2] // factor
    if not height or not width:
        raise ConfigError(f"labels of {label.shape[2]} x {label.shape[1]} have no cell of {factor} x {factor}; use larger crops of the source")
    cells = label[:, : height * factor, : width * factor].reshape(images, height, factor, width, factor)
    index = cells.transpose(2, 3).reshape(images, height, width, factor * factor).clamp(max=num_classes)
    counts = index.new_zeros(images, height, width, num_classes + 1)
    counts.scatter_add_(3, index, torch.ones_like(index))
    most, winner = counts.max(3)
    # The quotient in float32 against the ratio in float32, so that a share of exactly the ratio counts.
    is_unsure = most.float() / factor**2 < torch.tensor(min_ratio, dtype=torch.float32)
    return winner.masked_fill(is_unsure | (winner == num_classes), IGNORE)


def counting_cells(label: Tensor, width: int, classes: Sequence[int], min_ratio: float, num_classes: int) -> Tensor:
    """Cells of the features (N h w bool) that are of one of the `classes`.

    label  N H W int64; `width` is that of the features

    ConfigError for features that are wider than the label.
    """
    if width > label.shape[2]:
        raise ConfigError(f"the features are {width} wide and the labels {label.shape[2]}, so no cell has a pixel; use larger crops of the source")
    cells = downscale_label(label, label.shape[2] // width, min_ratio, num_classes)
    wanted = torch.zeros(IGNORE + 1, dtype=torch.bool)
    wanted[list(classes)] = True
    return wanted.to(label.device, non_blocking=True)[cells]


def feature_distance(feature: Tensor, reference: Tensor, counts: Tensor, empty: float = 0.0) -> Tensor:
    """Mean over the cells that count of the Euclidean distance of their features.

    feature, reference  N A h w; the reference gets no gradient
    counts              N h w bool
    empty               value where no cell counts; its gradient is zero

    The mean is over the cells of all ranks, and the result the share of this rank's, times
    the number of ranks, since gradients are averaged over them.
    """
    if counts.shape != feature[:, 0].shape:
        raise ValueError(f"features of {tuple(feature.shape[-2:])} rows and columns, cells of {tuple(counts.shape[-2:])}")
    distance = torch.linalg.vector_norm(feature.float() - reference.detach().float(), dim=1)
    number = ranks.all_sum(counts.sum().float())
    loss: Tensor = (distance * counts).sum() * (ranks.size() / number.clamp(min=1))
    return loss if empty == 0 else torch.where(number > 0, loss, loss * 0 + empty)
