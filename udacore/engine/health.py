"""Detection of non-finite losses and gradients on the device, read when the device is waited for anyway."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from udacore import ranks
from udacore.errors import UdaError, list_names


class Health:
    """First bad step of each term, as tensors on the device; and which images each
    step saw, since the last look."""

    def __init__(self) -> None:
        self._first_bad: dict[str, Tensor] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    def see(self, term: str, value: Tensor, step: int) -> None:
        """Note whether `value` (a scalar) is finite, without waiting for the device."""
        first = self._first_bad.get(term)
        if first is None:
            first = torch.full((), -1, dtype=torch.int64, device=value.device)
        self._first_bad[term] = torch.where((first < 0) & ~torch.isfinite(value.detach()), step, first)

    def see_names(self, names: Iterable[str], step: int) -> None:
        """Remember which images a step used."""
        self._names[step] = (*self._names.get(step, ()), *names)

    def check(self, round_name: str, last_good: str) -> None:
        """Stop the run on all ranks if anything was not finite since the last look; waits for the device."""
        found = [
            [int(first), term, list(self._names.get(int(first), ()))] for term, first in self._first_bad.items() if int(first) >= 0
        ]
        everywhere = sorted(row for rank in ranks.all_gather_object(found) for row in rank)
        self._names.clear()
        if everywhere:
            step, term, _ = everywhere[0]
            terms = sorted({row[1] for row in everywhere if row[0] == step}, key=lambda name: name.startswith("gradient"))
            names = sorted({name for row in everywhere if row[0] == step for name in row[2]})
            images = list_names(names, most=8)
            raise UdaError(
                f"round {round_name!r}, step {step}: not finite: {list_names(terms, most=8) or term}; "
                f"images: {images or 'none'}; last good checkpoint: {last_good}"
            )
