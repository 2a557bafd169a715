"""Spatial aggregation: every pixel of a map is mixed with the average of all pixels, weighted by
similarity (algorithms/clp 5.2).

It is attention whose matrix A, of L pixels by L, is never held whole: rows are computed in strips, and
computed anew in the backward pass. For `cos`, where similarity is symmetric, that pass computes it for half
of the pairs and uses it for both directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from udacore.errors import ConfigError
from udacore_clp.similarity import EPSILON, Kind, Pixels, compare, contrast, dot, flatten, make_pixels, product, strips


def aggregate(x: Tensor, kind: Kind, alpha: float = 0.5) -> Tensor:
    """(1 - alpha) x + alpha A x, for each map of `x` (N C h w) by itself; differentiable
    (algorithms/clp 5.2, 9.1).

    kind   `cos`: A are the scored similarities of algorithms/clp 5.3, whose mean and deviation are constants;
           `kl`: x are probabilities and A is the softmax of -KL(x_i || x_j)
    alpha  share of the average, between 0 and 1

    Returns N C h w, float32 (float64 for float64). Beyond the result and, if a gradient is wanted, one like
    it, memory is linear in the number of pixels.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is the share of the average in the mixture: between 0 and 1, not {alpha:g}")
    flat = flatten(x, kind)
    with torch.autocast(x.device.type, enabled=False):
        mixed: Tensor = _Aggregate.apply(flat, kind, alpha)
    return mixed.reshape(x.shape)


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, kind: Kind, alpha: float) -> Tensor:
        mixed = torch.empty_like(x)
        rows = [mix(each, kind, alpha, into) for each, into in zip(x, mixed, strict=True)]
        context.kind, context.alpha = kind, alpha
        context.save_for_backward(x, mixed, *(torch.stack(each) for each in zip(*rows, strict=True)))
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        gradient = torch.empty_like(context.saved_tensors[0])
        with torch.autocast(gradient.device.type, enabled=False):
            for x, mixed, offset, factor, of_mixed, into in zip(*context.saved_tensors, outer[0], gradient, strict=True):
                inner = inner_products(x, mixed, of_mixed, context.alpha)
                mix_backward(x, (offset, factor, inner), of_mixed, (context.kind, context.alpha), into)
        return gradient, None, None


Rows = tuple[Tensor, Tensor, Tensor]
"""Of each row of A (L each): offset and factor, where A_ij = exp((S_ij - offset_i) factor_i), and the
scalar product of the pixel's average with the gradient of the mixture at that pixel."""


def mix(x: Tensor, kind: Kind, alpha: float, into: Tensor) -> tuple[Tensor, Tensor]:
    """Write the mixture of one map `x` (C L) to `into` (C L); returns the first two of `Rows`."""
    pixels = make_pixels(x, kind)
    offset, factor = x.new_empty(pixels.count), x.new_ones(pixels.count)
    for strip in strips(pixels.count, pixels):
        _, weight = compare(pixels, strip, pixels)
        mean: Tensor | float = 0.0
        if kind == "cos":
            mean, factor[strip] = contrast(weight)
        normaliser = weight.logsumexp(1)
        offset[strip] = mean + normaliser / factor[strip]
        weight.sub_(normaliser[:, None]).exp_()
        into[:, strip] = ((1 - alpha) * x[:, strip]).add_(product(weight, x.T).T, alpha=alpha)
    return offset, factor


def inner_products(x: Tensor, mixed: Tensor, of_mixed: Tensor, alpha: float) -> Tensor:
    """The last of `Rows`, of a map, its mixture and the gradient there (all C L)."""
    return (dot(of_mixed, mixed) - (1 - alpha) * dot(of_mixed, x)) / alpha


def mix_backward(x: Tensor, rows: Rows, of_mixed: Tensor, how: tuple[Kind, float], into: Tensor) -> None:
    """Write to `into` (C L) the gradient with respect to `x`, given that with respect to its
    mixture; `how`: kind and alpha."""
    kind, alpha = how
    torch.mul(of_mixed, 1 - alpha, out=into)
    backward = _symmetric_backward if kind == "cos" else _plain_backward
    backward(make_pixels(x, kind), rows, of_mixed, alpha, into)


def _plain_backward(pixels: Pixels, rows: Rows, of_mixed: Tensor, alpha: float, into: Tensor) -> None:
    """The `kl` form: five products of a strip."""
    of_key = torch.zeros_like(pixels.key)
    for strip in strips(pixels.count, pixels):
        query, similarity = compare(pixels, strip, pixels)
        down = [each[strip, None] for each in rows]
        weight = _weigh(similarity, down)
        into.addmm_(of_mixed[:, strip], weight, alpha=alpha)
        of_similarity = _through_softmax(of_mixed[:, strip].T @ pixels.query, weight, down)
        into[:, strip].add_(pixels.key @ of_similarity.T, alpha=alpha)
        of_key.addmm_(query, of_similarity, alpha=alpha)
    into.addcdiv_(of_key, pixels.query + EPSILON)  # the key is log(x + 1e-10), but for a number of each class


def _symmetric_backward(pixels: Pixels, rows: Rows, of_mixed: Tensor, alpha: float, into: Tensor) -> None:
    """The `cos` form. A strip of rows i meets the columns j of itself and all later ones, and
    so does both (i, j) and (j, i).

    H gathers the gradients with respect to S_ij and S_ji; with r the scales, S_ij = r_i r_j x_i . x_j gives
    x_i's gradient sum_j H_ij (r_i r_j x_j - S_ij r_i^2 x_i).
    """
    assert pixels.scale is not None
    x, scale = pixels.query, pixels.scale
    along = torch.zeros_like(scale)  # sum_j H_ij S_ij
    for strip in strips(pixels.count, pixels):
        right, later, width = slice(strip.start, None), slice(strip.stop, None), strip.stop - strip.start
        query = x[:, strip] * scale[strip]
        similarity = product(query.T, pixels.key[:, right]).mul_(scale[right])

        down = [each[strip, None] for each in rows]
        weight = _weigh(similarity.clone(), down)  # A_ij
        into[:, right].addmm_(of_mixed[:, strip], weight, alpha=alpha)
        both = _through_softmax(product(of_mixed[:, strip].T, pixels.key[:, right]), weight, down)
        del weight

        across = [each[later] for each in rows]
        weight = _weigh(similarity[:, width:].clone(), across)  # A_ji
        into[:, strip].add_(product(weight, of_mixed[:, later].T).T, alpha=alpha)
        both[:, width:] += _through_softmax(product(x[:, strip].T, of_mixed[:, later]), weight, across)
        del weight

        similarity *= both
        along[right] += similarity.sum(0)
        along[strip] += similarity.sum(1)
        both *= scale[right]
        into[:, strip].add_(product(both, x[:, right].T).T * scale[strip], alpha=alpha)
        into[:, right].addmm_(query, both, alpha=alpha)
    into.addcmul_(x, scale.square() * along, value=-alpha)


def _weigh(similarity: Tensor, rows: list[Tensor]) -> Tensor:
    """The weights A in the place of similarities; `rows`: those of `Rows` as they are to be spread."""
    offset, factor, _ = rows
    return similarity.sub_(offset).mul_(factor).exp_()


def _through_softmax(of_weight: Tensor, weight: Tensor, rows: list[Tensor]) -> Tensor:
    """The gradient with respect to similarities in the place of that with respect to
    weights; `rows` as above."""
    _, factor, inner = rows
    return of_weight.sub_(inner).mul_(weight).mul_(factor)
