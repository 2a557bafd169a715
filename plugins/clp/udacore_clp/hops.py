"""The two hops of a cycle: where they lead, and their log scores with gradients (algorithms/clp 5.4, 5.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from udacore_clp.similarity import Gradient, Pixels, compare, contrast, product, strips


def find_hops(source: Pixels, target: Pixels) -> tuple[Tensor, Tensor]:
    """The most similar target pixel of each source pixel (L1), and the source pixel to which each
    target pixel returns (L2).

    For `cos` one pass over all similarities finds both. For `kl` a second one asks the target pixels that
    were visited; the others' entries are 0.
    """
    to_target = torch.empty(source.count, dtype=torch.int64, device=source.key.device)
    returns = torch.zeros(target.count, dtype=torch.int64, device=source.key.device)
    best = source.key.new_full((target.count,), -torch.inf)
    for strip in strips(source.count, target):
        _, similarity = compare(source, strip, target)
        to_target[strip] = similarity.argmax(1)
        if source.symmetric:
            value, index = similarity.max(0)
            returns = torch.where(value > best, index + strip.start, returns)
            best = torch.maximum(value, best)
    if not source.symmetric:
        visited = torch.unique(to_target)
        for strip in strips(len(visited), source):
            returns[visited[strip]] = compare(target, visited[strip], source)[1].argmax(1)
    return to_target, returns


def score_hops(
    rows: Pixels, chosen: Tensor, columns: Pixels, goal: Tensor, gradients: tuple[Gradient, Gradient] | None = None, weight: Tensor | None = None
) -> Tensor:
    """Log of the scored similarity of chosen rows to one column each; R of them.

    chosen, goal  R int64: numbers of the rows, all different, and of the column of each
    gradients     of rows and of columns: to them is added the gradient of sum_r weight_r (log score)_r
    weight        R; default: ones
    """
    found = rows.key.new_empty(len(chosen))
    for strip in strips(len(chosen), columns):
        index, place = chosen[strip], (torch.arange(strip.stop - strip.start, device=goal.device), goal[strip])
        query, score = compare(rows, index, columns)
        _, factor = contrast(score)
        normaliser = score.logsumexp(1)
        found[strip] = score[place] - normaliser
        if gradients is None:
            continue
        score.sub_(normaliser[:, None]).exp_().neg_()
        score[place] += 1
        score *= (factor if weight is None else factor * weight[strip])[:, None]
        if columns.scale is not None:
            score *= columns.scale
        gradients[1].key.addmm_(query, score)
        of_query = product(score, columns.summand.T).T
        gradients[0].query[:, index] += of_query if rows.scale is None else of_query * rows.scale[index]
    return found
