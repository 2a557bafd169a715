"""Losses and sums that several methods share: pure functions of tensors, for any number of classes.

Letters: N images, K classes, A channels, P pixels, H x W the size of the label, h x w that of the logits. No
function waits for the device, and a mean over no valid pixel is a zero that still has a graph.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore import ranks
from udacore.interface import IGNORE

_SORTED_AT_ONCE = 1 << 25
"""Elements of a batched sort on a device: with its values, indices and counts about 1 GB."""


def upsample(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Resize `x` (N C h w) bilinearly to `size` = (H, W); half precision is widened to float32 first."""
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def match_features(features: Tensor, logits: Tensor, align_corners: bool) -> Tensor:
    """Features (N A h w) at the size of the logits (N K h' w'), for losses that need both of a pixel; as
    they are where sizes agree.

    The networks of the core give both at one size. One whose head works at a higher resolution
    than its features does not.
    """
    if features.shape[-2:] == logits.shape[-2:]:
        return features
    height, width = logits.shape[-2:]
    return upsample(features, (height, width), align_corners)


def _mean(loss: Tensor, valid: Tensor) -> Tensor:
    """Mean of `loss` where `valid`; the caller has put zeros elsewhere."""
    return loss.sum() / valid.sum().clamp(min=1)


def cross_entropy(logits: Tensor, label: Tensor, *, weight: Tensor | None = None, ignore: int = IGNORE) -> Tensor:
    """Cross-entropy, a mean over the valid pixels of the whole batch
    (algorithms/proca 5.1, algorithms/fada 5.1).

    logits  N K H W
    label   N H W int64; `ignore` and negative values count nowhere
    weight  N H W factors of the pixels; the mean is still over the number of valid pixels
    """
    valid = (label != ignore) & (label >= 0)
    # Reduced here and not by torch, whose reduction of 2-d labels has no deterministic form on CUDA.
    loss = F.cross_entropy(logits, label.where(valid, ignore), ignore_index=ignore, reduction="none")
    return _mean(loss if weight is None else loss * weight, valid)


def segmentation_loss(logits: Tensor, label: Tensor, align_corners: bool) -> Tensor:
    """Cross-entropy of the logits (N K h w), enlarged to the size of the label (N H W)."""
    height, width = label.shape[-2:]
    return cross_entropy(upsample(logits, (height, width), align_corners), label)


def soft_cross_entropy(logits: Tensor, soft: Tensor, pixel_weight: Tensor | None = None, first: int = 0) -> Tensor:
    """Mean over all N H W pixels of sum_c -soft_c log softmax(logits)_c (algorithms/fada 5.3).

    logits        N J H W
    soft          N K H W, K <= J, of any dtype, not negative; need not sum to 1
    pixel_weight  N H W factors; the mean is still over all pixels
    first         channel of the logits that belongs to the first of `soft`; the others count as zeros of
                  `soft`, but are part of the softmax, so that a half that is all zero need not be built
    """
    loss: Tensor = _SoftCrossEntropy.apply(logits, soft.to(logits.dtype), first)
    return loss.mean() if pixel_weight is None else (loss * pixel_weight).mean()


class _SoftCrossEntropy(torch.autograd.Function):
    """The loss of each pixel; autograd's own backward would build two more tensors as large as the logits."""

    @staticmethod
    def forward(context: Any, logits: Tensor, soft: Tensor, first: int) -> Tensor:
        log_probability = logits.log_softmax(1)
        context.channels = slice(first, first + soft.shape[1])
        context.save_for_backward(log_probability, soft)
        return (soft * log_probability[:, context.channels]).sum(1).neg_()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        log_probability, soft = context.saved_tensors
        factor = outer[0][:, None]
        of_logits = of_soft = None
        if context.needs_input_grad[0]:
            of_logits = log_probability.exp().mul_(soft.sum(1, keepdim=True) * factor)
            of_logits[:, context.channels] -= soft * factor
        if context.needs_input_grad[1]:
            of_soft = -factor * log_probability[:, context.channels]
        return of_logits, of_soft, None


def entropy(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over pixels of the entropy of softmax(logits) in nats, 0 to ln K.

    logits  N K H W
    valid   N H W bool: pixels that count; default: all
    """
    log_probability = logits.log_softmax(1)
    each = -(log_probability.exp() * log_probability).sum(1)
    return each.mean() if valid is None else _mean(each * valid, valid)


@attrs.frozen(kw_only=True)
class Pool:
    """What all ranks have predicted, for a loss that their pixels make up together.

    probability  R N K H W of R ranks in their order, without gradient
    label        R N H W
    rank         whose loss is wanted
    present      over which classes the mean is taken: those that any rank's label holds,
                 or those of the rank's own
    """

    probability: Tensor
    label: Tensor
    rank: int
    present: Literal["any", "own"] = "any"


def gather_pool(probability: Tensor, label: Tensor) -> Pool | None:
    """The pool of this rank's `probability` (N K H W) and `label` (N H W) with all others', of equal
    shapes; None with one process.

    Called by all ranks or by none.
    """
    if ranks.size() == 1:
        return None
    return Pool(probability=ranks.all_gather(probability), label=ranks.all_gather(label.int()).long(), rank=ranks.rank())


def lovasz_softmax(probability: Tensor, label: Tensor, ignore: int = IGNORE, *, pool: Pool | None = None) -> Tensor:
    """Lovasz-Softmax over the batch as one, the mean over the classes that the label
    holds (algorithms/proca 5.2).

    The surrogate of 1 - IoU by Berman et al., CVPR 2018. The value pools the pixels of this rank's
    batch, or of all ranks'.

    probability  N K H W, rows of a softmax
    label        N H W int64; `ignore` and what is no class count nowhere
    pool         of all ranks, this one's probability and label among them (`gather_pool`). The result is then
                 the share of this rank's pixels, times the number of ranks: its mean over ranks is the loss
                 of the pool, and so are the gradients that the core averages (algorithms/clp 5.7)
    """
    if probability.dtype in (torch.bfloat16, torch.float16):
        probability = probability.float()
    loss: Tensor = _Lovasz.apply(probability, label, ignore, pool)
    return loss


class _Lovasz(torch.autograd.Function):
    """The loss with its gradient found on the way: one tensor is kept for the backward
    pass, the size of the input."""

    @staticmethod
    def forward(context: Any, probability: Tensor, label: Tensor, ignore: int, pool: Pool | None) -> Tensor:
        num_classes, pixels = probability.shape[1], label.numel()
        everyone, all_labels, rank = (probability[None], label[None], 0) if pool is None else (pool.probability, pool.label, pool.rank)
        scores = everyone.detach().to(probability.dtype).movedim(2, 0).reshape(num_classes, -1)  # K P, the ranks side by side
        labels, own = all_labels.reshape(-1), slice(rank * pixels, (rank + 1) * pixels)
        valid = (labels != ignore) & (labels >= 0) & (labels < num_classes)
        classes = torch.arange(num_classes, device=labels.device)
        labels = labels.where(valid, num_classes)
        sizes = _class_sizes(labels, num_classes)
        present = (sizes if pool is None or pool.present == "any" else _class_sizes(labels[own], num_classes)) > 0
        share = len(everyone) * present.to(scores.dtype) / present.sum().clamp(min=1)  # of each class in the mean
        if labels.device.type == "cpu":  # a look at the sizes costs nothing here and saves the sorts of absent classes
            classes = classes[present]
        gradient = scores.new_zeros(num_classes, pixels)
        loss = scores.new_zeros(())
        for some in torch.split(classes, _classes_at_once(scores)):
            is_class = labels == some[:, None]
            weight, error = (each[:, own] for each in _lovasz_weights(scores[some], is_class, valid, sizes[some]))
            weight *= share[some, None]
            loss += (weight * error).sum()
            gradient[some] = torch.where(is_class[:, own], -weight, weight)
        shape = probability.transpose(0, 1).shape
        context.save_for_backward(gradient.reshape(shape).transpose(0, 1))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = context.saved_tensors
        return outer[0] * gradient, None, None, None


def _class_sizes(labels: Tensor, num_classes: int) -> Tensor:
    """Pixels (K int64) of each class among `labels` (P, up to K)."""
    return labels.new_zeros(num_classes + 1).index_add_(0, labels, torch.ones_like(labels))[:-1]


def _classes_at_once(scores: Tensor) -> int:
    """How many rows of `scores` (K P) are sorted together: one on the CPU, what memory allows elsewhere."""
    return 1 if scores.device.type == "cpu" else max(1, _SORTED_AT_ONCE // max(1, scores.shape[1]))


def _lovasz_weights(scores: Tensor, is_class: Tensor, valid: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """For C classes: the weight w and the error e of each pixel, both C P, such that the
    class's loss is sum w e.

    scores, is_class  C P: probability of the class, whether the pixel is labelled so
    valid, size       P, C: pixels that count, number of pixels of the class

    With I_k and U_k after k pixels in descending order of the error, the increments J_k - J_{k-1} of J = 1 -
    I/U are 1 / U_k where the pixel is of the class and I_k / (U_k (U_k - 1)) where not; written so, nothing
    cancels.
    """
    error = torch.where(valid, (is_class.to(scores.dtype) - scores).abs(), -1.0)  # those that do not count come last
    order = _descending(error)
    found = is_class.gather(1, order)
    hits = found.cumsum(1, dtype=torch.int32)
    size = size[:, None]
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    union = (size + place - hits).to(scores.dtype)
    missed = (size - hits).to(scores.dtype)
    ranked = torch.where(found, 1 / union, missed / union / (union - 1).clamp(min=1))
    weight = torch.empty_like(ranked).scatter_(1, order, ranked)
    return weight * valid, error


def _descending(values: Tensor) -> Tensor:
    """Places that put each row of `values` (C P) into descending order."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.argsort(1, descending=True)
    # NumPy sorts integers many times faster than torch sorts numbers along with their places, and the bits of
    # a float32 that is not negative have its order (the -1 of what does not count ends up below all of them).
    keys = -values.view(torch.int32).long() * 2**32 + torch.arange(values.shape[1])
    keys.numpy().sort(axis=1)
    return keys & (2**32 - 1)


def prototype_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sum of the features of each class, and how many they are: what running means are
    made of (algorithms/proca 5.3).

    features  P A; the sums are differentiable in them
    labels    P int64; what is no class (255) counts nowhere

    Returns K A in the dtype of the features (float32 for half precision), and K int64. To pool over ranks,
    pass both through `ranks.all_sum`.
    """
    if features.dtype in (torch.bfloat16, torch.float16):
        features = features.float()
    belongs = labels[:, None] == torch.arange(num_classes, device=labels.device)  # P K
    # A product with the one-hot matrix: P K extra memory, and unlike index_add the same
    # order of sums in every run.
    with torch.autocast(features.device.type, enabled=False):
        sums = belongs.to(features.dtype).T @ features
    return sums, belongs.sum(0)
