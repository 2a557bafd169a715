"""Spatial aggregation: every pixel of a map is mixed with the average of all pixels, weighted by similarity (spec clp 5.2).

It is attention whose matrix A, of L pixels by L, is never held whole: rows are computed in strips, and computed anew in
the backward pass. For `cos`, where similarity is symmetric, that pass computes it for half of the pairs and uses it for
both directions.
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from udacore.errors import ConfigError
from udacore_clp.similarity import Kind, Pixels, compare, contrast, dot, flatten, make_pixels, strips


def aggregate(x: Tensor, kind: Kind, alpha: float = 0.5) -> Tensor:
    """(1 - alpha) x + alpha A x, for each map of `x` (N C h w) by itself; differentiable (spec clp 5.2, 9.1).

    kind   `cos`: A are the scored similarities of 5.3, whose mean and deviation are constants; `kl`: x are probabilities
           and A is the softmax of -KL(x_i || x_j)
    alpha  share of the average, between 0 and 1

    Returns N C h w, float32 (float64 for float64). Beyond the result and, if a gradient is wanted, one like it, memory is
    linear in the number of pixels.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is the share of the average in the mixture: between 0 and 1, not {alpha:g}")
    flat = flatten(x, kind)
    with torch.autocast(x.device.type, enabled=False):
        mixed: Tensor = _Aggregate.apply(flat, kind, alpha)
    return mixed.unflatten(2, x.shape[2:])


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, kind: Kind, alpha: float) -> Tensor:
        mixed = torch.empty_like(x)
        rows = [mix(each, kind, alpha, into) for each, into in zip(x, mixed, strict=True)]
        context.kind, context.alpha = kind, alpha
        context.save_for_backward(x, mixed, torch.stack([each.offset for each in rows]), torch.stack([each.factor for each in rows]))
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        gradient = torch.empty_like(context.saved_tensors[0])
        with torch.autocast(gradient.device.type, enabled=False):
            for x, mixed, offset, factor, of_mixed, into in zip(*context.saved_tensors, outer[0], gradient, strict=True):
                inner = inner_products(x, mixed, of_mixed, context.alpha)
                mix_backward(x, Attention(offset, factor, inner), of_mixed, (context.kind, context.alpha), into)
        return gradient, None, None


@attrs.frozen
class Attention:
    """What is kept of the rows of A: A_ij = exp((S_ij - offset_i) factor_i).

    offset, factor  L
    inner           L: product of each pixel's average with the gradient of the mixture at that pixel; known later
    """

    offset: Tensor
    factor: Tensor
    inner: Tensor | None = None


def mix(x: Tensor, kind: Kind, alpha: float, into: Tensor) -> Attention:
    """Write the mixture of one map `x` (C L) to `into` (C L); returns what its backward pass needs."""
    pixels = make_pixels(x, kind)
    offset, factor = x.new_empty(pixels.count), x.new_ones(pixels.count)
    for strip in strips(pixels.count, pixels.count):
        _, weight = compare(pixels, strip, pixels)
        mean: Tensor | float = 0.0
        if kind == "cos":
            mean, factor[strip] = contrast(weight)
        normaliser = weight.logsumexp(1)
        offset[strip] = mean + normaliser / factor[strip]
        weight.sub_(normaliser[:, None]).exp_()
        torch.add((1 - alpha) * x[:, strip], x @ weight.T, alpha=alpha, out=into[:, strip])
    return Attention(offset, factor)


def inner_products(x: Tensor, mixed: Tensor, of_mixed: Tensor, alpha: float) -> Tensor:
    """`Attention.inner` of a map, its mixture and the gradient there (all C L)."""
    return (dot(of_mixed, mixed) - (1 - alpha) * dot(of_mixed, x)) / alpha


def mix_backward(x: Tensor, rows: Attention, of_mixed: Tensor, how: tuple[Kind, float], into: Tensor) -> None:
    """Write to `into` (C L) the gradient with respect to `x`, given that with respect to its mixture; `how`: kind and alpha."""
    kind, alpha = how
    torch.mul(of_mixed, 1 - alpha, out=into)
    backward = _symmetric_backward if kind == "cos" else _plain_backward
    backward(make_pixels(x, kind), rows, of_mixed, alpha, into)


def _plain_backward(pixels: Pixels, rows: Attention, of_mixed: Tensor, alpha: float, into: Tensor) -> None:
    """The `kl` form: five products of a strip."""
    of_key = torch.zeros_like(pixels.key)
    for strip in strips(pixels.count, pixels.count):
        query, weight = compare(pixels, strip, pixels)
        _exponentiate(weight, rows, strip)
        into.addmm_(of_mixed[:, strip], weight, alpha=alpha)
        of_similarity = _through_softmax(weight, of_mixed[:, strip].T @ pixels.query, rows, strip)
        into[:, strip] += alpha * (pixels.key @ of_similarity.T)
        of_key.addmm_(query, of_similarity, alpha=alpha)
    into += of_key * (-pixels.key).exp()  # the key is log(x + 1e-10)


def _symmetric_backward(pixels: Pixels, rows: Attention, of_mixed: Tensor, alpha: float, into: Tensor) -> None:
    """The `cos` form. A strip of rows i meets the columns j of itself and all later ones, and so does both (i, j) and (j, i).

    H gathers the gradients with respect to S_ij and S_ji; with r the scales, S_ij = r_i r_j x_i . x_j gives
    x_i's gradient sum_j H_ij (r_i r_j x_j - S_ij r_i^2 x_i).
    """
    assert pixels.scale is not None
    x, scale = pixels.query, pixels.scale
    along = torch.zeros_like(scale)  # sum_j H_ij S_ij
    for strip in strips(pixels.count, pixels.count):
        right, later = slice(strip.start, None), slice(strip.stop, None)
        width = strip.stop - strip.start
        query = x[:, strip] * scale[strip]
        similarity = (query.T @ x[:, right]).mul_(scale[right])

        weight = _exponentiate(similarity.clone(), rows, strip)
        into[:, right].addmm_(of_mixed[:, strip], weight, alpha=alpha)
        both = _through_softmax(weight, of_mixed[:, strip].T @ x[:, right], rows, strip)

        weight = _exponentiate(similarity[:, width:].T.contiguous(), rows, later)
        into[:, strip].addmm_(of_mixed[:, later], weight, alpha=alpha)
        both[:, width:] += _through_softmax(weight, of_mixed[:, later].T @ x[:, strip], rows, later).T

        similarity *= both
        along[right] += similarity.sum(0)
        along[strip] += similarity.sum(1)
        both *= scale[right]
        into[:, strip].add_(x[:, right] @ both.T * scale[strip], alpha=alpha)
        into[:, right].addmm_(query, both, alpha=alpha)
    into.addcmul_(x, scale.square() * along, value=-alpha)


def _exponentiate(similarity: Tensor, rows: Attention, chosen: slice) -> Tensor:
    """The weights A of chosen rows, in the place of their similarities (R columns)."""
    return similarity.sub_(rows.offset[chosen, None]).mul_(rows.factor[chosen, None]).exp_()


def _through_softmax(weight: Tensor, of_weight: Tensor, rows: Attention, chosen: slice) -> Tensor:
    """The gradient with respect to the similarities of chosen rows, in the place of that with respect to their weights."""
    assert rows.inner is not None
    return of_weight.sub_(rows.inner[chosen, None]).mul_(weight).mul_(rows.factor[chosen, None])
