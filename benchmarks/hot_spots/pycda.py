"""PyCDA's hot spot: the losses of a target batch at all levels, with their gradient (algorithms/pycda 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from udacore_pycda.pyramid import Pyramid, Weights, target_losses

from hot_spots.inputs import K, Pair, Place, case, with_gradients

THRESHOLD, SIDES = 0.5, (4, 8)


def selected_terms(logits: Tensor, valid: Tensor) -> Tensor:
    """A level as published: a softmax for the mask, a cross-entropy with its
    own, and the terms picked out."""
    confidence, label = logits.detach().softmax(1).max(1)
    mask = (confidence > THRESHOLD).to(logits.dtype) * valid
    terms = F.cross_entropy(logits, label, reduction="none") * mask
    return terms[terms != 0]


def bce(p: Tensor, t: Tensor) -> Tensor:
    return -(t * (p + 1e-6).log() + (1 - t) * (1 - p + 1e-6).log())


def plain(logits: Tensor) -> Tensor:
    """Three softmaxes of the full size: pixels' mask and cross-entropy, and the mean
    prediction; a pool for each side."""
    valid = torch.ones_like(logits[:, 0])
    pixel = selected_terms(logits, valid).mean()
    squares = [selected_terms(F.avg_pool2d(logits, side), F.max_pool2d(valid, side)) for side in SIDES]
    mean = logits.softmax(1).mean((0, 2, 3))
    return bce(mean, torch.full_like(mean, 1 / K)).mean() + pixel + torch.cat([terms.flatten() for terms in squares]).mean()


@case("PyCDA's losses of a target batch + gradient")
def losses(place: Place) -> Pair:
    images, (height, width) = place.pick((8, (480, 560)), (2, (32, 40)))
    logits = torch.cat([place.logits(height, width, seed=2 * image) for image in range(images)])
    valid = torch.ones(images, height, width, dtype=torch.bool, device=place.device)

    def ours(logits: Tensor) -> Tensor:
        seen = Pyramid(logits=logits, valid=valid, threshold=THRESHOLD, box_sizes=SIDES)
        return torch.stack(list(target_losses(seen, Weights()).values())).sum()

    return Pair(size=f"{images} x {K} x {height} x {width}", plain=lambda: with_gradients(plain, logits), ours=lambda: with_gradients(ours, logits))
