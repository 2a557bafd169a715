"""Pixel cycles: from a source pixel to the most similar target pixel and back (algorithms/clp 5.4, 5.5).

A cycle that ends on the label it began with is trusted, and both of its hops are strengthened against all
their competitors. Cycles are found without gradient, for all pixels; gradients are then gathered for the rows
of trusted hops alone. Similarities are computed in strips of rows, so memory is linear in the number of
pixels.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from udacore.errors import ConfigError
from udacore.interface import IGNORE
from udacore_clp.aggregation import inner_products, mix, mix_backward
from udacore_clp.hops import find_hops, score_hops
from udacore_clp.similarity import Kind, finish_gradient, flatten, make_pixels, start_gradient


@attrs.frozen
class Cycles:
    """Where the cycles of N pairs go; L1 source pixels, L2 target pixels, in raster order.

    to_target  N L1 int64: the target pixel of each source pixel
    back       N L1 int64: the source pixel it comes back to
    score      N L1: product of the scored similarities of both hops, in (0, 1]
    """

    to_target: Tensor
    back: Tensor
    score: Tensor


@attrs.frozen
class Association:
    """The loss of a batch, and the cycles behind it.

    loss              scalar; 0 with zero gradient where no cycle is trusted
    to_target, back   N L1 int64, as in `Cycles`
    trusted           N L1 bool: the pixel has a label, and its cycle comes back to it
    """

    loss: Tensor
    to_target: Tensor
    back: Tensor
    trusted: Tensor


def cycle_associate(source: Tensor, target: Tensor, kind: Kind = "cos") -> Cycles:
    """The cycles of all source pixels, without gradient (algorithms/clp 5.4).

    source, target  N C h w and N C H W: features for `cos`, class probabilities for `kl`

    Where two pixels are equally similar either may be taken.
    """
    pairs = _pairs(source, target, kind)
    found = []
    with torch.no_grad(), torch.autocast(source.device.type, enabled=False):
        for each in zip(*pairs, strict=True):
            x, y = (make_pixels(one, kind) for one in each)
            to_target, returns = find_hops(x, y)
            visited, place = torch.unique(to_target, return_inverse=True)
            first = score_hops(x, torch.arange(x.count, device=to_target.device), y, to_target)
            second = score_hops(y, visited, x, returns[visited])
            found.append((to_target, returns[to_target], (first + second[place]).exp()))
    return Cycles(*(torch.stack(each) for each in zip(*found, strict=True)))


def association_loss(source: Tensor, target: Tensor, label: Tensor, *, kind: Kind, alpha: float | None = 0.5, ignore: int = IGNORE) -> Association:
    """Minus the mean log score of the trusted cycles of the whole batch (algorithms/clp 5.5).

    source, target  N C h w and N C H W: features for `cos`, class probabilities for `kl`; pixel maps of two
                    pixels or more, of any two sizes. Sample i of one is paired with sample i of the other.
                    Both take gradients
    label           N h w int64: labels of the source pixels; `ignore` begins no trusted cycle,
                    though it may be a competitor
    alpha           share of the average in the spatial aggregation of the target
                    (algorithms/clp 5.2); None: no aggregation

    The original floors a log score at -100; both hops are the largest of their rows, so no score is below
    1 / (L1 L2) and the floor is never met. The gradient is found along with the value and kept, as large as
    the maps, for the backward pass. On a CUDA device each pair waits for the device: how many rows there are
    depends on the values.
    """
    if alpha is not None and not 0 < alpha < 1:
        raise ConfigError(f"alpha is the share of the average in the mixture: between 0 and 1, not {alpha:g}")
    if label.shape != (source.shape[0], *source.shape[2:]):
        raise ConfigError(f"labels of {tuple(label.shape)} do not belong to source maps of {tuple(source.shape)}")
    x, y = _pairs(source, target, kind)
    with torch.autocast(source.device.type, enabled=False):
        return Association(*_Associate.apply(x, y, label.flatten(1), kind, alpha, ignore))


def _pairs(source: Tensor, target: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Both batches as N C L; raises ConfigError if they cannot be paired."""
    if source.shape[:2] != target.shape[:2]:
        given = " and ".join(f"{each.shape[0]} of {each.shape[1]} channels" for each in (source, target))
        raise ConfigError(f"cycles run between pairs of a source and a target map of the same network; given {given} (choose equal batches)")
    return flatten(source, kind), flatten(target, kind)


class _Associate(torch.autograd.Function):
    """The loss with its gradient found on the way, not yet divided by the number of trusted cycles."""

    @staticmethod
    def forward(context: Any, *inputs: Any) -> tuple[Tensor, ...]:
        source, target, label, kind, alpha, ignore = inputs
        wanted = any(context.needs_input_grad)
        gradients = [torch.empty_like(each) for each in (source, target)] if wanted else []
        found = []
        for number, (x, y, y_label) in enumerate(zip(source, target, label, strict=True)):
            into = tuple(each[number] for each in gradients) if wanted else None
            found.append(_associate_pair((x, y), y_label, (kind, alpha, ignore), into))
        totals, *cycles = (torch.stack(each) for each in zip(*found, strict=True))
        count = cycles[-1].sum().clamp(min=1)
        context.save_for_backward(*gradients, count)
        context.mark_non_differentiable(*cycles)
        return -totals.sum() / count, *cycles

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        *gradients, count = context.saved_tensors
        factor = -outer[0] / count
        needed = zip(gradients, context.needs_input_grad, strict=False)
        return *(gradient * factor if needs else None for gradient, needs in needed), None, None, None, None


def _associate_pair(
    maps: tuple[Tensor, Tensor], label: Tensor, how: tuple[Kind, float | None, int], into: tuple[Tensor, ...] | None
) -> tuple[Tensor, ...]:
    """Sum of the log scores of one pair's trusted cycles, `to_target`, `back`, `trusted`; its
    gradients are written to `into`.

    maps   source C L1, target C L2
    label  L1
    how    kind, alpha, ignored label
    into   like the maps, not yet written; None if no gradient is wanted
    """
    (x, raw), (kind, alpha, ignore) = maps, how
    y, rows = raw, None
    if alpha is not None:
        y = torch.empty_like(raw)
        rows = mix(raw, kind, alpha, y)
    source, target = make_pixels(x, kind), make_pixels(y, kind)
    to_target, returns = find_hops(source, target)
    back = returns[to_target]
    trusted = (label != ignore) & (label == label[back])
    starts = trusted.nonzero()[:, 0]
    visited, times = torch.unique(to_target[starts], return_counts=True)
    there = back_again = None
    if into is not None:
        of_y = into[1] if rows is None else torch.empty_like(y)
        there = start_gradient(source, into[0]), start_gradient(target, of_y)
        back_again = there[::-1]
    total = score_hops(source, starts, target, to_target[starts], there).sum()
    total += (times * score_hops(target, visited, source, returns[visited], back_again, times)).sum()
    if into is not None and there is not None:
        finish_gradient(x, source, there[0])
        finish_gradient(y, target, there[1])
        if rows is not None and alpha is not None:
            inner = inner_products(raw, y, of_y, alpha)
            del y, source, target
            mix_backward(raw, (*rows, inner), of_y, (kind, alpha), into[1])
    return total, to_target, back, trusted
