"""The losses of ProCA as pure functions (algorithms/proca 5). A mean over no valid pixel is
a zero that still has a graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.interface import IGNORE
from udacore.losses import cross_entropy, lovasz_softmax, upsample


def supervised_loss(logits: Tensor, label: Tensor, lovasz_weight: float, *, align_corners: bool = True) -> dict[str, Tensor]:
    """Cross-entropy and weighted Lovasz-Softmax of the enlarged logits
    (algorithms/proca 5.2); the loss is their sum.

    logits  N C h w; label  N H W int64, 255 = ignore

    Returns `cross_entropy` and, unless its weight is 0, `lovasz`. The latter pools the pixels
    of this process's batch.
    """
    height, width = label.shape[-2:]
    enlarged = upsample(logits, (height, width), align_corners)
    losses = {"cross_entropy": cross_entropy(enlarged, label)}
    if lovasz_weight > 0:
        losses["lovasz"] = lovasz_weight * lovasz_softmax(enlarged.softmax(1), label)
    return losses


def mask_confident(logits: Tensor, delta: float) -> Tensor:
    """The class of each pixel (N h w int64) whose largest raw logit reaches `delta`, else 255
    (algorithms/proca 5.3, step 4).

    logits  N C h w, raw: not probabilities. The lowest class wins a tie, and `delta` is compared in float32.
    """
    value, label = logits.detach().float().max(1)
    return label.where(value >= delta, IGNORE)


def prototype_contrast_loss(prototype: Tensor, x: Tensor, label: Tensor, tau: float) -> Tensor:
    """Cross-entropy over cosine similarities to all prototypes, divided by `tau` (algorithms/proca 5.3).

    prototype  C A, taken as constants; one of zero length is a negative of similarity 0
    x          P A: features or logits; gradients reach these
    label      P int64, 255 = ignore
    tau        temperature: the cosines are divided by it

    The mean over this call's valid pixels. A pixel of zero length has similarity 0 and no gradient.
    """
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    with torch.autocast(x.device.type, enabled=False):  # similarities of 1 / tau drown in half precision
        towards = x @ F.normalize(prototype.detach().to(x.dtype), dim=1).T
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        similarity = torch.where(length > 0, towards / length.clamp(min=1e-12), 0.0) / tau
    return cross_entropy(similarity, label)
