"""Class-wise confidence thresholds: exact quantiles over all pixels of a data set, in constant memory.

For each class, of the confidences x_0 <= ... <= x_{L-1} of the L pixels predicted so, the threshold is
min(x_k, cap) with k = round(L * percent), halves to even, at most L - 1; 0 where L = 0
(algorithms/proca 8, algorithms/bdl 9).

Nothing is sorted: the bits of a float that is not negative, read as an integer, have its order. A first pass
counts by the upper 16 bits; each further pass counts the next 16 bits within the one bucket that holds x_k:
one more pass for float32, three more for float64. All that reaches the cap is one bucket, since there x_k
itself does not matter; further passes are needed only if some class ends below it.
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
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


class ThresholdCounter:
    """Counts confidences over passes over the same images, and gives the thresholds.

    num_classes, percent, cap  see above; percent and cap lie in 0..1, and a cap of 1 caps nothing
    precision                  in which the cap is held and confidences are compared: float32(0.9) is below
                               0.9, so a confidence of just that reaches the threshold in "float32"
                               (algorithms/proca 8) and misses it in "float64" (algorithms/bdl 9)
    device                     where the images are; about 10 MB are held there for 19 classes

    Call `update` for each image, then `next_pass`; as long as that is true, `update` once more for each
    image; then `thresholds`. `find_thresholds` does just that. Counts are summed over ranks, so all ranks
    call `next_pass` and `thresholds` alike, be their share of the images empty or not.
    """

    def __init__(
        self, num_classes: int, percent: float, cap: float = 0.9, precision: Precision = "float32", device: torch.device | str = "cpu"
    ) -> None:
        if not (0 <= percent <= 1 and 0 <= cap <= 1):
            raise ValueError(f"percent {percent} and cap {cap} must lie in 0..1")
        self.num_classes, self.percent, self.device = num_classes, percent, torch.device(device)
        self.dtype = torch.float32 if precision == "float32" else torch.float64
        self.cap = float(np.float32(cap)) if precision == "float32" else cap
        self._kind: torch.dtype | None = None  # of the confidences that are counted, known from the first of them
        self._high: Tensor | None = None
        self._counts: Tensor | None = None  # those of the present pass
        self._summed = False

    @property
    def pixels(self) -> Tensor:
        """Pixels predicted as each class, K int64; over all ranks after `next_pass`."""
        if self._high is None:
            return torch.zeros(self.num_classes, dtype=torch.int64, device=self.device)
        return self._high.sum(1)

    def update(self, confidence: Tensor, prediction: Tensor) -> None:
        """Count pixels; a prediction 255 is left out.

        confidence  float32 or float64, of one dtype in all calls. With precision "float32" float64 is
                    rounded; with "float64" it is not, and takes up to four passes instead of two
        prediction  any integer dtype, of the same shape

        Raises TypeError if, with precision "float64", confidences are now float32 and now float64.
        """
        kind = confidence.dtype if confidence.dtype == self.dtype == torch.float64 else torch.float32
        if kind != (self._kind or kind):
            raise TypeError(f"confidences must be of one dtype: they were {self._kind} first and are {confidence.dtype} now")
        counts = self._begin(kind)
        bits = confidence.detach().to(kind).clamp(min=0).reshape(-1).view(_INTEGERS[kind])
        label = prediction.reshape(-1).long()
        valid = (label >= 0) & (label < self.num_classes)
        if counts is self._high:
            bucket = (bits >> self._shift).where(bits < self._cap_bits, self._buckets - 1)
            self._count(counts, label * self._buckets + bucket, valid)
        else:
            valid &= (bits >> (self._shift + 16)) == self._prefix[label.where(valid, 0)]
            self._count(counts, label * _LOW + ((bits >> self._shift) & (_LOW - 1)), valid)

    def _begin(self, kind: torch.dtype) -> Tensor:
        """The counts of the present pass; those of the first pass are made once the dtype of
        the confidences is known."""
        if self._counts is None:
            reaching = np.float64(self.cap) if kind == torch.float64 else np.float32(self.cap)
            if float(reaching) < self.cap:  # the lowest float that is not below the cap
                reaching = np.nextafter(reaching, np.float32(np.inf))
            self._kind, self._shift = kind, 48 if kind == torch.float64 else 16
            self._cap_bits = int(reaching.view(np.int64 if kind == torch.float64 else np.int32))
            self._buckets = (self._cap_bits >> self._shift) + 2  # the last one: all that reaches the cap
            self._high = self._counts = torch.zeros(self.num_classes, self._buckets, dtype=torch.int64, device=self.device)
        return self._counts

    @staticmethod
    def _count(state: Tensor, place: Tensor, counts: Tensor) -> None:
        # What does not count goes to one more bin, so that nothing need be selected.
        found = place.where(counts, state.numel()).bincount(minlength=state.numel() + 1)
        state += found[:-1].view_as(state)

    def next_pass(self) -> bool:
        """End a pass; whether one more over the same images is needed.

        Raises TypeError if, with precision "float64", some ranks counted float32 and others float64.
        """
        counts = ranks.all_sum(self._begin(self._agreed_kind()))
        if self._counts is self._high:
            self._high, self._rank = counts, self._ranks(counts)
            self._prefix, self._rank = _select(counts, self._rank)
            # A class without pixels, or whose x_k reaches the cap, needs no further pass: -1 is the
            # prefix of no confidence.
            self._prefix = self._prefix.masked_fill((self._prefix == self._buckets - 1) | (self.pixels == 0), -1)
        else:
            low, self._rank = _select(counts, self._rank)
            self._prefix = (self._prefix * _LOW + low).masked_fill(self._prefix < 0, -1)
        self._summed = self._shift == 0 or bool((self._prefix < 0).all())
        if not self._summed:
            self._shift -= 16
            self._counts = torch.zeros(self.num_classes, _LOW, dtype=torch.int64, device=self.device)
        return not self._summed

    def _agreed_kind(self) -> torch.dtype:
        """The dtype of the confidences on all ranks; one that has seen none takes that of the others."""
        if self.dtype == torch.float32:
            return torch.float32
        seen = torch.tensor([self._kind == torch.float32, self._kind == torch.float64], dtype=torch.int64, device=self.device)
        narrow, wide = ranks.all_sum(seen).tolist()
        if narrow and wide:
            raise TypeError("confidences must be of one dtype: some ranks have float32, others float64")
        return torch.float64 if wide else torch.float32

    def _ranks(self, counts: Tensor) -> Tensor:
        """The k of each class, K int64."""
        sizes = counts.sum(1).tolist()
        return torch.tensor([min(round(size * self.percent), max(size - 1, 0)) for size in sizes], device=self.device)

    def thresholds(self) -> Tensor:
        """The thresholds, K, in the dtype that `precision` names; 0 for a class that is never predicted."""
        if not self._summed or self._kind is None:
            raise RuntimeError("thresholds() is called before next_pass() has returned False")
        value = torch.full((self.num_classes,), self.cap, dtype=self.dtype, device=self.device)
        found = self._prefix.clamp(min=0).to(_INTEGERS[self._kind]).view(self._kind).to(self.dtype)
        return torch.where(self._prefix < 0, value, found).where(self.pixels > 0, 0.0)


def _select(counts: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of counts (K B): the bin that holds the element of that rank (K),
    and its rank within the bin."""
    total = counts.cumsum(1)
    # Should a network on CUDA answer the second pass differently, the rank may lie
    # outside what was counted again.
    bucket = (total <= rank[:, None]).sum(1).clamp(max=counts.shape[1] - 1)
    before = total.gather(1, bucket[:, None]) - counts.gather(1, bucket[:, None])
    return bucket, rank - before[:, 0]


def find_thresholds(counter: ThresholdCounter, predictions: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Tensor:
    """Thresholds of what `predictions()` yields each time it is called: pairs of
    confidence and prediction."""
    another = True
    while another:
        for confidence, prediction in predictions():
            counter.update(confidence, prediction)
        another = counter.next_pass()
    return counter.thresholds()


def apply_thresholds(confidence: Tensor, prediction: Tensor, thresholds: Tensor) -> Tensor:
    """The prediction where its confidence reaches the threshold of its class, else 255: uint8, same shape.

    confidence  float32 or float64; compared in the dtype of the thresholds
    prediction  int64 class ids
    thresholds  K
    """
    rejected = confidence.to(thresholds.dtype) < thresholds[prediction]
    return prediction.to(torch.uint8).masked_fill_(rejected, IGNORE)
