"""The adversarial option's losses from a discriminator's scores (algorithms/clp 5.9); 1 stands for the
source, 0 for the target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(target_scores: Tensor) -> Tensor:
    """What the segmenter pays where the target is not taken for the source.

    target_scores  of any shape: logits of the discriminator on class probabilities of the target
    """
    return F.softplus(-target_scores).mean()


def discriminator_loss(source_scores: Tensor, target_scores: Tensor) -> Tensor:
    """What the discriminator pays where it takes one domain for the other: one mean over the scores of both.

    source_scores, target_scores  of any shapes: its logits on class probabilities of both
                                  domains, which take no gradient
    """
    return torch.cat([F.softplus(-source_scores).flatten(), F.softplus(target_scores).flatten()]).mean()
