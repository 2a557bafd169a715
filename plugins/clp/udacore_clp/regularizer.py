"""The smoothness regulariser (algorithms/clp 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor


def smoothness_loss(logits: Tensor, threshold: float = 10.0) -> Tensor:
    """Pull the smoothness of each pixel towards a threshold, from both sides (algorithms/clp 5.6).

    logits     N K h w; all pixels count
    threshold  nats. With l = -(1/K) sum_c log p_c the value is the mean of (l / threshold - 1) l, the first
               factor a constant: its gradient is that of mean((l - threshold)^2) / (2 threshold). 0 or less:
               the mean of l

    Smoothness is least, ln K, where all classes are equally probable.
    """
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    smoothness = logits.logsumexp(1) - logits.mean(1)
    if threshold <= 0:
        return smoothness.mean()
    return ((smoothness.detach() / threshold - 1) * smoothness).mean()
