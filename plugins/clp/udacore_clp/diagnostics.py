"""Numbers that show how the association fares; they train nothing (algorithms/clp 5.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from udacore.interface import IGNORE
from udacore_clp.association import Association


def association_statistics(
    association: Association, label: Tensor, target_pixels: int, target_label: Tensor | None = None, ignore: int = IGNORE
) -> dict[str, Tensor]:
    """Shares in [0, 1] by name; what is undefined has no entry. Waits for the device.

    label          N h w int64: the source labels that the association was given
    target_pixels  pixels of a target map
    target_label   N H W int64 at the size of the target maps, for who has them; training never does

    `pos_ratio`      trusted cycles by labelled source pixels, of the batch
    `cover_ratio`    of the first pair: different target pixels visited, by all target pixels
    `correct_ratio`  with target labels, if any cycle is trusted: of the first pair's trusted cycles that
                     visit a labelled target pixel, those where the labels are equal; -1 if there is none
    """
    trusted, visited = association.trusted, association.to_target[0]
    # On the host, where a float64 is possible whatever the device.
    statistics = {"cover_ratio": torch.tensor(len(torch.unique(visited)) / target_pixels, dtype=torch.float64)}
    labelled = (label != ignore).sum()
    if labelled:
        statistics["pos_ratio"] = trusted.sum() / labelled
    if target_label is not None and trusted.any():
        there = target_label[0].flatten()[visited]
        counted = trusted[0] & (there != ignore)
        correct = (counted & (there == label[0].flatten())).sum() / counted.sum()
        statistics["correct_ratio"] = correct.where(counted.any(), -1.0)
    return statistics
