"""The pyramid: what a target batch teaches at the levels of pixels, squares, places and whole
images (algorithms/pycda 5).

Letters: N images, K classes, H x W the size of the input, b the side of a square, h x w =
floor(H / b) x floor(W / b).

Everything comes from one visit of the full-size logits (`visit_logits`); what follows it works on small
tensors with torch's own gradients. Sums and counts are those of all ranks (algorithms/pycda 11), so that
several processes compute what one would on the whole batch; every rank must call these functions. Nothing
waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore import ranks
from udacore_pycda.visit import Answers, answer, base_sides, parts_of, visit_logits

ImageTarget = Literal["uniform", "source_histogram"]
EPSILON = 1e-6
"""Within the logarithms of `binary_cross_entropy`."""


@attrs.frozen(kw_only=True)
class Weights:
    """How the levels are weighed; names and values of algorithms/pycda 9.

    pseudo   of the pixels' and of the squares' loss
    balance  of the image level
    spatial  of the squares against the source's prior; 0: not computed
    """

    pseudo: float = 1.0
    balance: float = 1.0
    spatial: float = 0.0


@attrs.define(kw_only=True, slots=False)
class Pyramid:
    """A target batch seen once; each level is computed when it is asked for.

    logits     N K H W float, at the size of the input
    valid      N H W bool or uint8: where the image is, and not padding
    threshold  largest probability above which a pixel or square takes part
    box_sizes  sides of the squares
    """

    logits: Tensor
    valid: Tensor
    threshold: float = 0.5
    box_sizes: Sequence[int] = (4, 8)

    @property
    def sides(self) -> list[int]:
        """The sides in ascending order, each once, without those for which the image is too small."""
        return [side for side in sorted(set(self.box_sizes)) if side <= min(self.logits.shape[2:])]

    @cached_property
    def _visit(self) -> tuple[Tensor, Tensor, Tensor, dict[int, Tensor]]:
        found = visit_logits(self.logits, self.valid != 0, self.threshold, base_sides(self.sides))
        return found.loss, found.count, found.mass, found.pools

    @cached_property
    def pools(self) -> dict[int, Tensor]:
        """Mean logits of the squares, N K h w by side; a square that smaller
        ones fill is the mean of theirs."""
        pools = dict(self._visit[3])
        for side in self.sides:
            if side not in pools:
                part = parts_of(side, self.sides)[-1]
                pools[side] = F.avg_pool2d(pools[part], side // part)
        return pools

    @cached_property
    def answers(self) -> dict[int, Answers]:
        """The network's own answers for the squares, by side."""
        return {side: answer(pool, pool_valid(self.valid, side), self.threshold) for side, pool in self.pools.items()}

    @cached_property
    def _totals(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Over all ranks: loss and number of the pixels, loss and number of the squares."""
        loss, count, _, _ = self._visit
        region = torch.stack([each.loss for each in self.answers.values()]).sum() if self.answers else loss * 0
        number = torch.stack([each.count for each in self.answers.values()]).sum() if self.answers else count * 0
        losses = ranks.all_sum(torch.stack([loss, region]))
        counts = ranks.all_sum(torch.stack([count, number]))
        return losses[0], counts[0], losses[1], counts[1]

    def pixel_loss(self) -> tuple[Tensor, Tensor]:
        """Mean of -log p over the pixels that take part, and their number (algorithms/pycda 5.2)."""
        loss, count, _, _ = self._totals
        return _mean(loss, count), count

    def region_loss(self, merge_pixels: bool = False) -> tuple[Tensor, Tensor]:
        """One mean over the squares of all sides that take part, and their number;
        `merge_pixels`: and over the pixels."""
        pixels, pixel_count, squares, square_count = self._totals
        if merge_pixels:
            squares, square_count = squares + pixels, square_count + pixel_count
        return _mean(squares, square_count), square_count

    def mean_prediction(self) -> Tensor:
        """K: mean probability of each class over the whole batch, padding included."""
        mass = self._visit[2]
        pixels = self.logits.shape[0] * self.logits.shape[2] * self.logits.shape[3]
        return ranks.all_sum(mass) / ranks.all_sum(torch.tensor(float(pixels), device=mass.device))

    def image_loss(self, target: ImageTarget, histogram: Tensor | None = None) -> Tensor:
        """Binary cross-entropy of the mean prediction, mean over the classes (algorithms/pycda 5.3).

        target     uniform: drawn to 1/K each; source_histogram: to `histogram`, K frequencies
        """
        mean = self.mean_prediction()
        if target == "uniform":
            histogram = torch.full_like(mean, 1 / len(mean))
        if histogram is None:
            raise ValueError("image_loss: the target source_histogram needs a histogram")
        return binary_cross_entropy(mean, histogram).mean()

    def spatial_loss(self, prior: Mapping[int, Tensor]) -> Tensor:
        """How far the batch's mean answer at each place is from the source's classes
        there (algorithms/pycda 5.4).

        prior  K h w float32 by side of the squares: class frequencies of the source

        A place counts once for each image that takes part there. The gradient is
        that of the mean answer alone.
        """
        if not self.answers:
            return self._totals[0] * 0
        images = ranks.all_sum(torch.tensor(float(self.logits.shape[0]), device=self.logits.device))
        sums, counts = [], []
        for side, seen in self.answers.items():
            mean = (ranks.all_sum(self.pools[side].sum(0)) / images).softmax(0)
            loss = binary_cross_entropy(mean, prior[side]).mean(0)
            times = ranks.all_sum(seen.selected.sum(0)) * (loss != 0)
            sums.append((loss * times).sum())
            counts.append(times.sum())
        return _mean(torch.stack(sums).sum(), torch.stack(counts).sum())


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """The mean, or a zero with a graph where nothing counts."""
    return total / count.clamp(min=1)


def binary_cross_entropy(p: Tensor, t: Tensor) -> Tensor:
    """-(t log(p + 1e-6) + (1 - t) log(1 - p + 1e-6)), element by element (algorithms/pycda 5.3)."""
    return -(t * (p + EPSILON).log() + (1 - t) * (1 - p + EPSILON).log())


def pool_valid(valid: Tensor, side: int) -> Tensor:
    """N h w bool: squares of which at least one pixel is valid (N H W); a remainder on the
    right or below is dropped."""
    if side == 1:
        return valid != 0
    return F.max_pool2d((valid != 0)[:, None].float(), side)[:, 0] > 0


def pseudo_labels(logits: Tensor, valid: Tensor, threshold: float, box_sizes: Sequence[int]) -> dict[int, Answers]:
    """The network's own answers for pixels (side 1) and squares, by side: labels also
    where they do not take part."""
    seen = Pyramid(logits=logits, valid=valid, threshold=threshold, box_sizes=box_sizes)
    return {1: answer(logits, valid != 0, threshold), **seen.answers}


def target_losses(
    pyramid: Pyramid,
    weights: Weights,
    *,
    merge_pixels: bool = False,
    image_target: ImageTarget = "uniform",
    histogram: Tensor | None = None,
    prior: Mapping[int, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of a target batch; their sum is the loss (algorithms/pycda 5.5).

    prior  with it and `weights.spatial` the variant with the spatial ratio

    Without squares the pixels stand alone, merged or not.
    """
    losses = {"image": weights.balance * pyramid.image_loss(image_target, histogram)}
    if not (merge_pixels and pyramid.box_sizes):
        losses["pixel"] = weights.pseudo * pyramid.pixel_loss()[0]
    if pyramid.box_sizes:
        losses["region"] = weights.pseudo * pyramid.region_loss(merge_pixels)[0]
        if weights.spatial > 0 and prior is not None:
            losses["spatial"] = weights.spatial * pyramid.spatial_loss(prior)
    return losses
