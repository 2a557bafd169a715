"""Class-wise thresholds of confidence: the exact quantile over all pixels of a data set, in constant memory.

For each class, of the confidences x_0 <= ... <= x_{L-1} of the L pixels predicted so, the threshold is
min(x_k, cap) with k = round(L * percent), halves to even, at most L - 1; 0 where L = 0 (spec proca 8, bdl 9).

Nothing is sorted: the bits of a float32 that is not negative, read as an integer, have its order. A first pass counts
by the upper 16 bits, a second one by the lower 16 bits within the one bucket that holds x_k. All that reaches the cap
is one bucket, since there x_k itself does not matter; the second pass is needed only if some class ends below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from udacore import ranks
from udacore.interface import IGNORE

Precision = Literal["float32", "float64"]
_LOW = 1 << 16


class ThresholdCounter:
    """Counts confidences over one or two passes over the same pictures, and gives the thresholds.

    num_classes, percent, cap  see above; percent and cap lie in 0..1, and a cap of 1 caps nothing
    precision                  in which the cap is held and confidences are compared: float32(0.9) is below 0.9, so a
                               confidence of just that reaches the threshold in "float32" (spec proca 8) and misses it
                               in "float64" (spec bdl 9)
    device                     where the pictures are; about 10 MB are held there for 19 classes

    Call `update` for each picture, then `next_pass`; if that is true, `update` once more for each picture; then
    `thresholds`. `find_thresholds` does just that. Counts are summed over ranks, so all ranks call `next_pass` and
    `thresholds` alike, be their share of the pictures empty or not.
    """

    def __init__(
        self, num_classes: int, percent: float, cap: float = 0.9, precision: Precision = "float32", device: torch.device | str = "cpu"
    ) -> None:
        if not (0 <= percent <= 1 and 0 <= cap <= 1):
            raise ValueError(f"percent {percent} and cap {cap} must lie in 0..1")
        self.num_classes, self.percent = num_classes, percent
        self.dtype = torch.float32 if precision == "float32" else torch.float64
        self.cap = float(np.float32(cap)) if precision == "float32" else cap
        reaching = np.float32(self.cap)  # the lowest float32 that is not below the cap
        if float(reaching) < self.cap:
            reaching = np.nextafter(reaching, np.float32(np.inf))
        self._cap_bits = int(reaching.view(np.int32))
        self._buckets = (self._cap_bits >> 16) + 2  # the last one: all that reaches the cap
        self._high = torch.zeros(num_classes, self._buckets, dtype=torch.int64, device=device)
        self._low: Tensor | None = None
        self._summed = False

    @property
    def pixels(self) -> Tensor:
        """Pixels predicted as each class, K int64; over all ranks after `next_pass`."""
        return self._high.sum(1)

    def update(self, confidence: Tensor, prediction: Tensor) -> None:
        """Count pixels: confidence float32 and prediction (any integer dtype) of one shape; a prediction 255 is left out."""
        bits = confidence.detach().float().clamp(min=0).reshape(-1).view(torch.int32)
        label = prediction.reshape(-1).long()
        bucket = (bits >> 16).where(bits < self._cap_bits, self._buckets - 1)
        counts = (label >= 0) & (label < self.num_classes)
        if self._low is None:
            self._count(self._high, label * self._buckets + bucket, counts)
        else:
            counts &= bucket == self._bucket[label.where(counts, 0)]
            self._count(self._low, label * _LOW + (bits & (_LOW - 1)), counts)

    @staticmethod
    def _count(state: Tensor, place: Tensor, counts: Tensor) -> None:
        # What does not count goes to one more bin, so that nothing need be selected.
        found = place.where(counts, state.numel()).bincount(minlength=state.numel() + 1)
        state += found[:-1].view_as(state)

    def next_pass(self) -> bool:
        """End a pass; whether one more over the same pictures is needed."""
        if self._low is not None:
            self._low = ranks.all_sum(self._low)
            self._summed = True
            return False
        self._high = ranks.all_sum(self._high)
        self._bucket, self._rank = _select(self._high, self._ranks())
        if bool(((self._bucket < self._buckets - 1) & (self.pixels > 0)).any()):
            self._low = torch.zeros(self.num_classes, _LOW, dtype=torch.int64, device=self._high.device)
            return True
        self._summed = True
        return False

    def _ranks(self) -> Tensor:
        """The k of each class, K int64."""
        sizes = self.pixels.tolist()
        return torch.tensor([min(round(size * self.percent), max(size - 1, 0)) for size in sizes], device=self._high.device)

    def thresholds(self) -> Tensor:
        """The thresholds, K, in the dtype that `precision` names; 0 for a class that is never predicted."""
        if not self._summed:
            raise RuntimeError("thresholds() is called before next_pass() has returned False")
        value = torch.full((self.num_classes,), self.cap, dtype=self.dtype, device=self._high.device)
        if self._low is not None:
            low, _ = _select(self._low, self._rank)
            bits = (self._bucket * _LOW + low).to(torch.int32)
            value = torch.where(self._bucket < self._buckets - 1, bits.view(torch.float32).to(self.dtype), value)
        return value.where(self.pixels > 0, 0.0)


def _select(counts: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of counts (K B): the bin that holds the element of that rank (K), and its rank within the bin."""
    total = counts.cumsum(1)
    # Should a network on CUDA answer the second pass differently, the rank may lie outside what was counted again.
    bucket = (total <= rank[:, None]).sum(1).clamp(max=counts.shape[1] - 1)
    before = total.gather(1, bucket[:, None]) - counts.gather(1, bucket[:, None])
    return bucket, rank - before[:, 0]


def find_thresholds(counter: ThresholdCounter, predictions: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Tensor:
    """Thresholds of what `predictions()` yields each time it is called: pairs of confidence and prediction."""
    another = True
    while another:
        for confidence, prediction in predictions():
            counter.update(confidence, prediction)
        another = counter.next_pass()
    return counter.thresholds()


def apply_thresholds(confidence: Tensor, prediction: Tensor, thresholds: Tensor) -> Tensor:
    """The prediction where its confidence reaches the threshold of its class, else 255: uint8, same shape.

    confidence  float32; compared in the dtype of the thresholds
    prediction  int64 class ids
    thresholds  K
    """
    rejected = confidence.to(thresholds.dtype) < thresholds[prediction]
    return prediction.to(torch.uint8).masked_fill_(rejected, IGNORE)
