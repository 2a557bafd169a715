"""The terms of PLCA's objective, not yet weighed but for Lovasz (algorithms/clp 5.7, 5.8)."""

from __future__ import annotations

from torch import Tensor

from udacore.losses import cross_entropy, gather_pool, lovasz_softmax, upsample
from udacore_clp.association import Association, association_loss
from udacore_clp.regularizer import smoothness_loss
from udacore_clp.sampling import Maps


def source_losses(logits: Tensor, label: Tensor, lovasz_weight: float = 3.0, *, align_corners: bool = False) -> dict[str, Tensor]:
    """`cross_entropy` and, unless its weight is 0, `lovasz` of the enlarged logits; the loss is their
    sum (algorithms/clp 5.7).

    logits         N K h w
    label          N H W int64, 255 = ignore
    lovasz_weight  effective: the original's lambda times its processes times its
                   accumulation steps, 0.75 * 2 * 2

    The Lovasz-Softmax pools the pixels of all ranks' micro-batches, so all ranks call this
    together with equal shapes.
    """
    height, width = label.shape[-2:]
    enlarged = upsample(logits, (height, width), align_corners)
    losses = {"cross_entropy": cross_entropy(enlarged, label)}
    if lovasz_weight > 0:
        probability = enlarged.softmax(1)
        losses["lovasz"] = lovasz_weight * lovasz_softmax(probability, label, pool=gather_pool(probability, label))
    return losses


def association_losses(source: Maps, target: Maps, label: Tensor, *, alpha: float | None = 0.5, multi_level: bool = True) -> dict[str, Association]:
    """The association of `features` by cosine and, with `multi_level`, that of `probability` by KL
    divergence (algorithms/clp 5.8).

    label  N h w, at the size of the source maps
    alpha  of the target's spatial aggregation; None: no aggregation
    """
    found = {"features": association_loss(source.features, target.features, label, kind="cos", alpha=alpha)}
    if multi_level:
        x, y = ((each.logits.float() if each.logits.itemsize < 4 else each.logits).softmax(1) for each in (source, target))
        found["probability"] = association_loss(x, y, label, kind="kl", alpha=alpha)
    return found


def smoothness_losses(source: Tensor, target: Tensor, threshold: float = 10.0) -> dict[str, Tensor]:
    """The regulariser on the logits (N K h w, whole maps) of each domain: `source` and
    `target` (algorithms/clp 5.6)."""
    return {"source": smoothness_loss(source, threshold), "target": smoothness_loss(target, threshold)}
