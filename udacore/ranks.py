"""Collectives for methods that train in several processes; with one process each is the identity.

Gradients are averaged over ranks by the core. A loss that is pooled over all ranks (its value is the same
everywhere, through `all_sum`) must therefore be multiplied by `size()` on each rank.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 for the main one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process writes the files that exist once."""
    return rank() == 0


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # Each rank holds a copy of the sum, so the gradient of one rank's x is the sum over the copies.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def all_sum(x: Tensor) -> Tensor:
    """Sum of `x` (same shape everywhere) over ranks; differentiable. Called by all ranks or by none."""
    if size() == 1:
        return x
    result: Tensor = _AllSum.apply(x)
    return result


def all_gather(x: Tensor) -> Tensor:
    """The `x` of all ranks joined along a new first dimension, in rank order; without gradient."""
    if size() == 1:
        return x.detach()[None]
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(size())]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.stack(parts)


def all_gather_object(value: Any) -> list[Any]:
    """Plain data (numbers, strings, lists) of all ranks, in rank order; travels as JSON through the host."""
    if size() == 1:
        return [value]
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    lengths = all_gather(torch.tensor(len(text)))
    padded = torch.zeros(int(lengths.max()), dtype=torch.uint8)
    padded[: len(text)] = text
    rows = all_gather(padded)
    return [json.loads(bytes(row[:length].tolist())) for row, length in zip(rows, lengths.tolist(), strict=True)]


def barrier() -> None:
    """Wait until all ranks are here."""
    if size() > 1:
        all_gather_object(None)
