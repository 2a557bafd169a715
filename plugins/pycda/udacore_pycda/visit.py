"""The one visit that the full-size logits get: pixel loss, class mass and pooled logits, with one gradient.

Written plainly, each level makes its own softmax, its masks and their gradients: some ten tensors of the
logits' size. Here rows are read a few at a time, while they are in the cache: forward keeps three maps of N H
W, and backward writes the gradient once, whatever asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

_VALUES_AT_ONCE = 1 << 17
"""Logits of a visit's block on the CPU (half a megabyte); elsewhere the whole batch is one block."""


@attrs.frozen(kw_only=True)
class Answers:
    """What the network says of pixels or squares, N h w each.

    label     int64, the most probable class (the lowest of equals)
    selected  bool: takes part, that is valid and surer than the threshold
    loss      sum of -log p[label] over those that take part
    count     how many have a loss that is not exactly 0; only those enter a mean (algorithms/pycda 5.2)
    """

    label: Tensor
    selected: Tensor
    loss: Tensor
    count: Tensor


def answer(logits: Tensor, valid: Tensor, threshold: float) -> Answers:
    """The answers of pooled logits N K h w, with torch's own gradients.

    valid  N h w bool
    """
    highest, label = logits.max(1)
    total = sum_classes((logits - highest[:, None]).exp())  # 1 / total is the largest probability, log total its -log
    selected = valid & (1 / total.detach() > threshold)
    loss = total.log()
    count = (selected & (loss.detach() != 0)).sum()
    return Answers(label=label, selected=selected, loss=(loss * selected).sum(), count=count)


def sum_classes(x: Tensor) -> Tensor:
    """N h w, the sum of N K h w over the classes; on the CPU one class after the other.

    That is the order of torch's own softmax there. It decides which sums near 1 are 1 exactly,
    and so who enters a mean.
    """
    return reduce(torch.add, x.unbind(1)) if x.device.type == "cpu" else x.sum(1)


@attrs.frozen(kw_only=True)
class Visit:
    """What a visit brings; all but `count` differentiable.

    loss   sum of -log p[label] over the pixels that take part
    count  int64, how many of them have a loss that is not exactly 0
    mass   K: sum of the probabilities over all pixels
    pools  mean logits N K h w of the squares, by side
    """

    loss: Tensor
    count: Tensor
    mass: Tensor
    pools: dict[int, Tensor]


def base_sides(box_sizes: Sequence[int]) -> tuple[int, ...]:
    """The sides whose squares are made of pixels; those of the others are made of
    smaller ones' (`parts_of`)."""
    return tuple(side for side in sorted(set(box_sizes)) if not parts_of(side, box_sizes))


def parts_of(side: int, box_sizes: Sequence[int]) -> list[int]:
    """The smaller sides whose squares fill one of `side`, ascending: powers of two alone, a mean over which
    loses no bit in its division.

    So logits that are equal on the whole square stay equal, and the label stays the lowest class among them.
    """
    return [other for other in sorted(set(box_sizes)) if other < side and side % other == 0 and other & (other - 1) == 0]


def visit_logits(logits: Tensor, valid: Tensor, threshold: float, sides: Sequence[int] = ()) -> Visit:
    """Read the logits (N K H W) once; `valid` is N H W bool, `sides` those of squares
    whose mean logits are wanted."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    with torch.autocast(logits.device.type, enabled=False):  # else the sums over all pixels would be made in half precision
        loss, count, mass, *pools = _Visit.apply(logits, valid, threshold, tuple(sides))
    return Visit(loss=loss, count=count, mass=mass, pools=dict(zip(sides, pools, strict=True)))


class _Visit(torch.autograd.Function):
    """See `visit_logits`. With x = exp(z - max z) and s = sum x over classes: p = x / s, -log
    p[label] = log s, both exact."""

    @staticmethod
    def forward(context: Any, logits: Tensor, valid: Tensor, threshold: float, sides: tuple[int, ...]) -> tuple[Tensor, ...]:
        context.set_materialize_grads(False)
        images, classes, height, width = logits.shape
        highest, total = logits.new_empty(images, height, width), logits.new_empty(images, height, width)
        label = torch.empty(images, height, width, dtype=torch.int64, device=logits.device)
        pools = [logits.new_empty(images, classes, height // side, width // side) for side in sides]
        mass = logits.new_zeros(classes)
        for rows in _blocks(logits, sides):
            block = logits[rows]
            torch.max(block, 1, out=(highest[_flat(rows)], label[_flat(rows)]))
            x = (block - highest[_flat(rows)][:, None]).exp_()
            s = total[_flat(rows)].copy_(sum_classes(x))
            mass += torch.bmm(x.flatten(2), s.reciprocal().flatten(1)[..., None])[..., 0].sum(0)
            for side, pool in zip(sides, pools, strict=True):
                _pool_into(pool, block, rows, side)
        loss = total.log()
        selected = (valid != 0) & (total.reciprocal() > threshold)
        count = (selected & (loss != 0)).sum()
        context.sides = sides
        context.save_for_backward(logits, highest, total, label, selected)
        context.mark_non_differentiable(count)
        return (loss * selected).sum(), count, mass, *pools

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor | None) -> tuple[Tensor, None, None, None]:
        of_loss, _, of_mass, *of_pools = outer
        logits, highest, total, label, selected = context.saved_tensors
        spread = [(side, of_pool / side**2) for side, of_pool in zip(context.sides, of_pools, strict=True) if of_pool is not None]
        gradient = torch.empty_like(logits)
        pulled = None if of_loss is None else selected * of_loss  # N H W: weight of p - onehot
        for rows in _blocks(logits, context.sides):
            x = torch.sub(logits[rows], highest[_flat(rows)][:, None], out=gradient[rows])
            _to_gradient(x.exp_(), total[_flat(rows)], None if pulled is None else pulled[_flat(rows)], of_mass)
            if pulled is not None:
                x.scatter_add_(1, label[_flat(rows)][:, None], -pulled[_flat(rows)][:, None])
            for side, of_pool in spread:
                _add_spread(x, of_pool, rows, side)
        return gradient, None, None, None


def _to_gradient(x: Tensor, total: Tensor, pulled: Tensor | None, of_mass: Tensor | None) -> None:
    """Turn x = s p, in place, into p (pulled + g - sum g p), where g is the gradient of the mass; the
    one-hot part comes later."""
    share = total.reciprocal()
    if of_mass is None:
        x *= (share * (0 if pulled is None else pulled))[:, None]
        return
    mean = torch.einsum("k,nkhw->nhw", of_mass, x) * share
    factor = of_mass[:, None, None] - mean[:, None]
    if pulled is not None:
        factor += pulled[:, None]  # last: where one class has all, `of_mass` is large and cancels
    x *= factor.mul_(share[:, None])


Rows = tuple[slice, slice, slice]
"""Images, classes (all) and rows of a block."""


def _flat(rows: Rows) -> tuple[slice, slice]:
    """The same block of a map without classes."""
    return rows[0], rows[2]


def _blocks(logits: Tensor, sides: Sequence[int]) -> Iterator[Rows]:
    """Blocks whose rows are whole squares of every side; on the CPU as small as that
    allows, elsewhere one for all."""
    images, classes, height, width = logits.shape
    everything = slice(None)
    if logits.device.type != "cpu":
        yield everything, everything, everything
        return
    unit = math.lcm(*sides) if sides else 1
    step = max(unit, _VALUES_AT_ONCE // (classes * width) // unit * unit)
    for image in range(images):
        for row in range(0, height, step):
            yield slice(image, image + 1), everything, slice(row, row + step)


def _squares(rows: Rows, pool: Tensor, side: int) -> Rows:
    """The squares of a block: a place in `pool` (N K h w)."""
    first = (rows[2].start or 0) // side
    last = pool.shape[2] if rows[2].stop is None else min(pool.shape[2], rows[2].stop // side)
    return rows[0], rows[1], slice(first, max(first, last))


def _pool_into(pool: Tensor, block: Tensor, rows: Rows, side: int) -> None:
    place = _squares(rows, pool, side)
    if place[2].stop > place[2].start:
        pool[place] = F.avg_pool2d(block, side)


def _add_spread(gradient: Tensor, of_pool: Tensor, rows: Rows, side: int) -> None:
    """Add to each pixel of a block what its square got."""
    part = of_pool[_squares(rows, of_pool, side)].repeat_interleave(side, 3)
    images, classes, height, width = part.shape
    gradient[:, :, : height * side, :width].view(images, classes, height, side, width).add_(part[:, :, :, None])
