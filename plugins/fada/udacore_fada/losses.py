"""Soft labels, and the losses of the discriminator and of those who deceive it (algorithms/fada 5).

Letters: N images, K classes, h x w the size of the features, H x W that of the image. Logits come at the size
of the features and are enlarged here; half precision is widened to float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.interface import IGNORE
from udacore.losses import segmentation_loss as core_segmentation_loss

_STRIPE = {"cpu": 1 << 18}
"""Elements of one stripe of the enlarged 2K channels: on a CPU what its cache holds ..."""
_STRIPE_ELSEWHERE = 1 << 25
"""... and on other devices enough for few launches."""

_HALF = (torch.bfloat16, torch.float16)


def segmentation_loss(logits: Tensor, label: Tensor, temperature: float = 1.0, *, align_corners: bool = True, empty: float = 0.0) -> Tensor:
    """Cross-entropy of the enlarged logits, divided by the temperature (algorithms/fada 5.1).

    logits  N K h w
    label   N H W int64, 255 = ignore
    empty   value if no pixel is valid; the original's is NaN. The gradient is zero then
    """
    loss = core_segmentation_loss(logits / temperature, label, align_corners)
    return loss if empty == 0 else loss.where((label != IGNORE).any(), empty)


def soft_labels(logits: Tensor, temperature: float = 1.8, clip: float = 0.9) -> Tensor:
    """Class probabilities N K H W of logits of the same shape, softened and clipped,
    detached (algorithms/fada 5.2).

    Where an entry was clipped the sum over the classes is below 1, by at most 1 - clip.
    """
    return (logits.detach() / temperature).softmax(1).clamp_(max=clip)


@attrs.frozen(kw_only=True)
class Encoding:
    """How the answers of a discriminator are compared: what is common to the losses of one domain.

    size           (H, W) of that domain's images, to which both kinds of logits are enlarged
    temperature    divides class logits before their softmax
    clip           no entry of a soft label is larger
    align_corners  corner rule of the enlargement
    """

    size: tuple[int, int]
    temperature: float = 1.8
    clip: float = 0.9
    align_corners: bool = True


def domain_cross_entropy(domain_logits: Tensor, class_logits: Tensor, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the discriminator's answers with both encodings: "source, with these
    classes" and "target, ...".

    domain_logits  N 2K h w, of the discriminator; the first K channels are the source's
    class_logits   N K h w, of the segmenter; they become soft labels and take no gradient

    Returns two scalars, means over all N H W pixels of -sum_k a_k log P(domain, k), softmax over all 2K
    channels. That equals `soft_cross_entropy` with soft labels padded by K zero channels before or after
    (algorithms/fada 5.3 to 5.5), but neither those nor anything else of the image's size is built: rows are
    enlarged, compared and reduced to the gradient at the features' size, some at a time. The backward pass is
    a sum of what was found then, so both losses can be used, one after the other, for hardly more than the
    price of one.
    """
    with torch.autocast(domain_logits.device.type, enabled=False):
        both: Tensor = _DomainCrossEntropy.apply(domain_logits, class_logits, encoding)
    as_source, as_target = both.unbind()
    return as_source, as_target


class _DomainCrossEntropy(torch.autograd.Function):
    """Both losses as a vector of two; what is kept is N 3K h w."""

    @staticmethod
    def forward(context: Any, domain_logits: Tensor, class_logits: Tensor, encoding: Encoding) -> Tensor:
        wide = domain_logits.float() if domain_logits.dtype in _HALF else domain_logits
        found = _compare(wide, class_logits.to(wide.dtype) / encoding.temperature, encoding)
        pixels = domain_logits.shape[0] * encoding.size[0] * encoding.size[1]
        context.pixels, context.dtype = pixels, domain_logits.dtype
        context.save_for_backward(found.expected, found.wanted)
        return found.total / pixels

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        expected, wanted = context.saved_tensors
        share = outer[0] / context.pixels
        halves = torch.cat([share[0] * wanted, share[1] * wanted], 1)
        return (share.sum() * expected - halves).to(context.dtype), None, None


@attrs.frozen
class _Found:
    """Sums over all pixels.

    total     the two losses, not yet divided
    expected  N 2K h w: softmax of the discriminator's logits times the sum of the soft label,
              reduced to the features' size
    wanted    N K h w: the soft labels, reduced alike. (share of both halves) expected - (share of a
              half) wanted is its gradient
    """

    total: Tensor
    expected: Tensor
    wanted: Tensor


def _compare(domain_logits: Tensor, class_logits: Tensor, encoding: Encoding) -> _Found:
    classes = class_logits.shape[1]
    (height, width), small = encoding.size, domain_logits.shape[-2:]
    columns = _weights(small[1], width, encoding.align_corners, domain_logits)
    rows = _weights(small[0], height, encoding.align_corners, domain_logits)
    # First the columns, of all rows; a stripe then needs its few rows only.
    domain_wide, class_wide = domain_logits @ columns.T, class_logits @ columns.T
    expected, wanted = torch.zeros_like(domain_wide), torch.zeros_like(class_wide)
    total = []
    for stripe, near in _stripes(domain_wide, rows, encoding):
        weights = rows[stripe, near]
        soft = (weights @ class_wide[:, :, near]).softmax(1).clamp_(max=encoding.clip)
        surprise = (weights @ domain_wide[:, :, near]).log_softmax(1)
        total.append(torch.stack([-(soft * half).sum() for half in torch.split(surprise, classes, 1)]))
        expected[:, :, near] += weights.T @ surprise.exp_().mul_(soft.sum(1, keepdim=True))
        wanted[:, :, near] += weights.T @ soft
    return _Found(torch.stack(total).sum(0), expected @ columns, wanted @ columns)


def _weights(small: int, large: int, align_corners: bool, like: Tensor) -> Tensor:
    """The matrix `large` x `small` of linear interpolation."""
    identity = torch.eye(small, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=large, mode="linear", align_corners=align_corners)[0].T.contiguous()


def _stripes(wide: Tensor, rows: Tensor, encoding: Encoding) -> Iterator[tuple[slice, slice]]:
    """Rows of the image, and the rows of the features (a few more than needed) that they lie between."""
    large, small = rows.shape
    limit = _STRIPE.get(wide.device.type, _STRIPE_ELSEWHERE)
    step = max(1, limit // (wide.shape[0] * wide.shape[1] * wide.shape[3]))
    for first in range(0, large, step):
        last = min(first + step, large)
        scale = (small - 1) / max(1, large - 1) if encoding.align_corners else small / large
        yield slice(first, last), slice(max(0, int(first * scale) - 1), min(small, int(last * scale) + 2))
