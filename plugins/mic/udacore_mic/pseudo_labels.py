"""What the teacher says of target images, and how much it counts (algorithms/mic 5.3)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from udacore import ranks


@attrs.frozen
class PseudoLabels:
    """Labels of the target, without graph.

    label    N H W int64: a class for every pixel
    weight   N H W float32: how much each pixel counts
    quality  scalar: the share of sure pixels, of all images of all ranks
    """

    label: Tensor
    weight: Tensor
    quality: Tensor


@torch.no_grad()
def label_pixels(
    logits: Tensor, threshold: float | None, *, valid: Tensor | None = None, trust: Tensor | None = None,
    ignore_top: int = 0, ignore_bottom: int = 0,
) -> PseudoLabels:  # fmt: skip
    """The most probable class of every pixel (of equals the lowest); its weight is the share
    of sure pixels.

    logits         N K H W, at the size of the image
    threshold      from which probability a pixel is sure; None: all are
    valid          N H W bool: False where padding shows, which counts nowhere; default: all valid
    trust          N H W factors of the weight, such as 0 in margins where a camera shows no street.
                   Pixels of these still count in the share
    ignore_top, ignore_bottom  first and last rows whose weight is 0
    """
    confidence, label = logits.float().softmax(1).max(1)
    quality = _share_of_sure(confidence, threshold, valid)
    weight = quality.expand_as(confidence)
    if ignore_top or ignore_bottom:
        height = logits.shape[2]
        row = torch.arange(height, device=logits.device)[:, None]
        weight = weight * ((row >= ignore_top) & (row < height - ignore_bottom))
    for factor in (valid, trust):
        if factor is not None:
            weight = weight * factor
    return PseudoLabels(label, weight, quality)


def _share_of_sure(confidence: Tensor, threshold: float | None, valid: Tensor | None) -> Tensor:
    """Scalar float32, over all ranks; 0 without any valid pixel."""
    if threshold is None:
        return confidence.new_ones(())
    sure = confidence >= threshold
    counted = torch.ones_like(sure) if valid is None else valid
    # Whole numbers: float32 would round counts above 2**24, which a batch of large crops has.
    counts = ranks.all_sum(torch.stack([(sure & counted).sum(), counted.sum()]))
    return (counts[0].double() / counts[1].clamp(min=1).double()).float()
