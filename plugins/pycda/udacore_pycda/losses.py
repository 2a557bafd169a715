"""The loss on labelled images (algorithms/pycda 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from udacore.losses import segmentation_loss


def source_loss(logits: Tensor, label: Tensor, align_corners: bool, replicas: int = 1) -> Tensor:
    """Cross-entropy of the enlarged logits, a mean over the labelled pixels of each part of the
    batch, then over the parts.

    logits    N K h w
    label     N H W int64, 255 = ignore
    replicas  number of equal consecutive parts; processes that average their gradients need 1

    A part without a labelled pixel counts as 0.
    """
    parts = zip(logits.chunk(replicas), label.chunk(replicas), strict=True)
    return torch.stack([segmentation_loss(one, of_one, align_corners) for one, of_one in parts]).mean()
