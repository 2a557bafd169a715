"""ClassMix: the pixels of some classes of a source image pasted into a target image (algorithms/mic 5.4).

A value of a label is a class, or 255, which is drawn like one: its pixels show the source and count nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from udacore import ranks


class Labelled(NamedTuple):
    """Images with what the network is to say of them.

    image   N 3 H W, normalised
    label   N H W int64; 255 = ignore
    weight  N H W factors of the pixels' losses; None: 1
    """

    image: Tensor
    label: Tensor
    weight: Tensor | None


def values_present(label: Tensor, num_classes: int) -> Tensor:
    """Which values (K + 1 bool, 255 last) the labels N H W of all images of all ranks hold."""
    index = label.clamp(max=num_classes).flatten()
    present = torch.zeros(num_classes + 1, dtype=torch.bool, device=label.device).index_fill(0, index, True)
    return ranks.all_sum(present.long()) > 0


def choose_values(present: Tensor, chance: Tensor) -> Tensor:
    """Half of the values that are present, rounded up, for each image (N K+1 bool): those of the largest numbers.

    present  K + 1 bool
    chance   N K + 1 numbers from 0 to 1, at random
    """
    rank = chance.masked_fill(~present, -1).argsort(dim=1, descending=True, stable=True).argsort(1)
    return present & (rank < (present.sum() + 1) // 2)


def paste_mask(label: Tensor, chosen: Tensor) -> Tensor:
    """Pixels (N H W bool) of each label N H W whose value is among the image's `chosen` (N K+1 bool)."""
    index = label.clamp(max=chosen.shape[1] - 1)
    return chosen.gather(1, index.flatten(1)).view_as(label)


def class_mix(mask: Tensor, source: Labelled, target: Labelled) -> Labelled:
    """The source where the mask (N H W bool) is set, with weight 1, and the target elsewhere."""
    weight = torch.ones_like(mask, dtype=torch.float32) if target.weight is None else target.weight.masked_fill(mask, 1)
    image = torch.where(mask[:, None], source.image, target.image)
    return Labelled(image, torch.where(mask, source.label, target.label), weight)
