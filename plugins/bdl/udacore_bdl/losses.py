"""The losses as pure functions (algorithms/bdl 6, 7)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.config.schema import PixelConfig

SOURCE, TARGET = 0.0, 1.0
"""What the output discriminator is to answer."""


def domain_loss(score: Tensor, domain: float) -> Tensor:
    """Mean binary cross-entropy of the discriminator's logits (any shape) against one
    domain, 0 source or 1 target."""
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, domain))


def least_squares_loss(score: Tensor, is_real: bool) -> Tensor:
    """Mean of (score - y)^2 with y = 1 for real and 0 for translated images; any shape."""
    return ((score - float(is_real)) ** 2).mean()


def cycle_loss(image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference; no gradient where both are equal."""
    return (image - reference).abs().mean()


def perceptual_loss(logits: Tensor, reference: Tensor) -> Tensor:
    """Mean squared difference of two maps N K h w, each normalised for each image and class over h x w.

    The paper writes an L1 distance of the scores themselves; this is what the authors' program computes.
    """
    return ((_normalize(logits) - _normalize(reference)) ** 2).mean()


def _normalize(logits: Tensor) -> Tensor:
    variance, mean = torch.var_mean(logits, dim=(2, 3), correction=0, keepdim=True)
    return (logits - mean) / (variance + 1e-5).sqrt()


def to_segmenter(image: Tensor, pixels: PixelConfig) -> Tensor:
    """RGB N 3 H W in [-1, 1] as a segmenter with these `pixels` expects it."""
    ordered = image if pixels.order == "rgb" else image.flip(1)
    mean, std = (torch.tensor(each, dtype=image.dtype, device=image.device)[:, None, None] for each in (pixels.mean, pixels.std))
    return ((ordered + 1) * (pixels.scale / 2) - mean) / std


def score_images(network: Callable[[Tensor], Tensor], images: list[Tensor], *, joined: bool) -> list[Tensor]:
    """Logits of several batches N 3 H W: in one forward where they have one size and
    it is wanted, else one each."""
    if joined and len({image.shape[1:] for image in images}) == 1:
        return list(torch.split(network(torch.cat(images)), [len(image) for image in images]))
    return [network(image) for image in images]
