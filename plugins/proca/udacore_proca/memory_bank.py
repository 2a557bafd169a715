"""The variant with a memory bank in place of prototypes (algorithms/proca 10), its defects mended.

Letters: P pixels, C classes, A channels, D channels of an embedding, M rows of a queue for each class. A
random choice among the pixels of a group is given as `order`, a number for each pixel: those with the lowest
numbers are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore import ranks
from udacore.interface import IGNORE
from udacore.losses import prototype_sums


class ProjectionHead(nn.Module):
    """Features N A h w to embeddings N D h w of unit length (keys `proj.*`).

    form  `convmlp`: 1x1 convolution A -> A, batch norm, ReLU, 1x1 convolution A -> D;
          `linear`: one 1x1 convolution
    """

    def __init__(
        self,
        channels: int,
        embedding: int,
        form: Literal["convmlp", "linear"] = "convmlp",
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        last = nn.Conv2d(channels, embedding, 1)
        self.proj: nn.Module = last
        if form == "convmlp":
            self.proj = nn.Sequential(nn.Conv2d(channels, channels, 1), norm(channels), nn.ReLU(inplace=True), last)

    def forward(self, features: Tensor) -> Tensor:
        """The embedding of each pixel, of length 1 over the channels."""
        return F.normalize(self.proj(features), dim=1)


def first_of_each_group(group: Tensor, order: Tensor, num_groups: int, size: int) -> tuple[Tensor, Tensor]:
    """The pixels of each group with the lowest `order`.

    group  P int64; what is not in 0 .. num_groups - 1 is in no group
    order  P: numbers to sort by

    Returns places (num_groups x size int64: indices of pixels, 0 where a group is smaller) and the size of
    each group (num_groups int64, not limited).
    """
    group = group.where((group >= 0) & (group < num_groups), num_groups)
    counts = (group[:, None] == torch.arange(num_groups, device=group.device)).sum(0)
    by_order = order.argsort(stable=True)
    by_group = by_order[group[by_order].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    column = torch.arange(size, device=group.device)
    inside = column < counts[:, None]
    places = by_group[(starts[:, None] + column).where(inside, 0)] if len(by_group) else torch.zeros_like(inside, dtype=torch.int64)
    return places.where(inside, 0), counts


@attrs.frozen(kw_only=True)
class Candidates:
    """What one batch offers to the bank.

    means   C D: mean embedding of each class, not normalised again
    pixels  C K D: the chosen pixels, `counts` of them valid
    counts  C int64: number of the class's chosen pixels, at most K; 0: the class is absent
    """

    means: Tensor
    pixels: Tensor
    counts: Tensor


def choose_candidates(x: Tensor, label: Tensor, order: Tensor, num_classes: int, per_class: int) -> Candidates:
    """Class means of the embeddings `x` (P D) with `label` (P, 255 = ignore), and up to
    `per_class` pixels of each."""
    sums, counts = prototype_sums(x, label, num_classes)
    places, _ = first_of_each_group(label, order, num_classes, per_class)
    return Candidates(means=sums / counts.clamp(min=1)[:, None], pixels=x[places], counts=counts.clamp(max=per_class))


def advance_prototype_queue(queue: Tensor, pointer: Tensor, new: Candidates) -> tuple[Tensor, Tensor]:
    """One row for each class present: `queue` (C M D) and `pointer` (C int64) afterwards."""
    size = queue.shape[1]
    present = new.counts > 0
    here = (torch.arange(size, device=queue.device) == pointer[:, None]) & present[:, None]
    return torch.where(here[..., None], new.means[:, None].to(queue.dtype), queue), (pointer + present) % size


def advance_pixel_queue(queue: Tensor, pointer: Tensor, new: Candidates, *, pointer_by_one: bool = False) -> tuple[Tensor, Tensor]:
    """The chosen pixels written at the pointers: `queue` (C M D) and `pointer` (C int64) afterwards.

    Pixels that do not fit before the end are written to the last rows, and the pointer returns to 0.

    pointer_by_one  the original's slip: the pointer moves by 1 however many pixels were written
    """
    size = queue.shape[1]
    present = new.counts > 0
    wraps = pointer + new.counts > size
    start = torch.where(wraps, size - new.counts, pointer)
    column = torch.arange(size, device=queue.device) - start[:, None]
    here = (column >= 0) & (column < new.counts[:, None])
    pixels = new.pixels.to(queue.dtype)
    index = column.clamp(0, pixels.shape[1] - 1)[..., None].expand(-1, -1, pixels.shape[2])
    moved = (pointer + (1 if pointer_by_one else new.counts)) % size
    return torch.where(here[..., None], pixels.gather(1, index), queue), torch.where(present, moved.where(~wraps, 0), pointer)


def sample_anchors(
    x: Tensor, label: Tensor, prediction: Tensor, order: Tensor, *, max_samples: int = 1024, min_samples: int = 10
) -> tuple[Tensor, Tensor]:
    """Pixels of each class, half of them wrongly predicted where there are so many.

    x           P A, all images of the batch together; label, prediction  P int64, 255 = ignore
    order       P numbers: the random choice within the hard and within the easy pixels of a class
    max_samples anchors in all; min_samples: anchors of a class at most, and a class
    needs more pixels than this

    Returns anchors (n v A, hard ones first; a copy with graph) and their classes (n int64, ascending); n is 0
    if no class has enough pixels. Their number depends on the data, so the device is waited for.
    """
    num_classes = int(label.where(label != IGNORE, -1).max()) + 1 if label.numel() else 0
    counts = (label[:, None] == torch.arange(num_classes, device=label.device)).sum(0)
    classes = (counts > min_samples).nonzero().flatten()
    if len(classes) == 0:
        return x.new_zeros(0, 0, x.shape[1]) + 0 * x.sum(), classes
    size = min(max_samples // len(classes), min_samples)
    group = torch.where(label == IGNORE, -1, 2 * label + (label == prediction))  # hard even, easy odd
    places, sizes = first_of_each_group(group, order, 2 * num_classes, size)
    hard, easy = sizes.view(-1, 2)[classes].unbind(1)
    half = size // 2
    kept = torch.where(hard < half, hard, torch.where(easy >= size - half, half, size - easy))  # of the hard ones
    column = torch.arange(size, device=label.device)
    is_hard = column < kept[:, None]
    rows = places.view(num_classes, 2, size)[classes]
    chosen = torch.where(is_hard, rows[:, 0], rows[:, 1].gather(1, (column - kept[:, None]).clamp(min=0)))
    return x[chosen], classes


def bank_contrast_loss(anchors: Tensor, classes: Tensor, queue: Tensor, temperature: float, *, drop_diagonal: bool = False) -> Tensor:
    """Supervised contrast of anchors with the rows of a queue, the mean over anchors.

    anchors  n v D and their classes n; queue  Q M D, whose block q carries the label q
    drop_diagonal  the original's slip: row r of the anchors, in the order of views, does
                   not count column r of the
        queue as its positive

    For each anchor the mean over its positives of -ln(e^s / (e^s + sum over negatives of e^s)),
    s = product / temperature.
    """
    num_groups, views, channels = anchors.shape
    if num_groups == 0:
        return anchors.sum()
    rows = anchors.transpose(0, 1).reshape(views * num_groups, channels)
    rows = rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows
    label = classes.repeat(views)
    with torch.autocast(rows.device.type, enabled=False):
        score = rows @ queue.flatten(0, 1).to(rows.dtype).T / temperature
    column_label = torch.arange(queue.shape[0], device=queue.device).repeat_interleave(queue.shape[1])
    same = label[:, None] == column_label
    positive = same
    if drop_diagonal:
        positive = same.clone()
        positive.diagonal().fill_(False)
    negatives = score.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    surprise = torch.logaddexp(score, negatives) - score
    return (surprise.where(positive, 0).sum(1) / positive.sum(1).clamp(min=1)).mean()


class MemoryBank(nn.Module):
    """Queues of embeddings for each class: buffers C M D, filled with random unit vectors at first.

    The queues are joined along the memory, so that a row of either is a positive of its class.
    """

    pixel_queue: Tensor
    prototype_queue: Tensor
    pixel_pointer: Tensor
    prototype_pointer: Tensor

    def __init__(self, num_classes: int, rows: int, embedding: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name in ("pixel", "prototype"):
            vectors = torch.randn(num_classes, rows, embedding, generator=generator)
            self.register_buffer(f"{name}_queue", F.normalize(vectors, dim=2))
            self.register_buffer(f"{name}_pointer", torch.zeros(num_classes, dtype=torch.int64))

    @property
    def queue(self) -> Tensor:
        """Both queues as one: C 2M D."""
        return torch.cat([self.pixel_queue, self.prototype_queue], dim=1)

    @torch.no_grad()
    def update(self, x: Tensor, label: Tensor, order: Tensor, per_class: int) -> None:
        """Write, in place, up to `per_class` pixels of `x` (P D, any label 255
        ignored) and each class's mean.

        With several processes the candidates of all are written in rank order, so that the queues stay equal.
        """
        num_classes, rows, _ = self.pixel_queue.shape
        own = choose_candidates(x.detach(), label, order, num_classes, min(per_class, rows))
        everybody = (ranks.all_gather(own.means), ranks.all_gather(own.pixels), ranks.all_gather(own.counts))
        for means, pixels, counts in zip(*everybody, strict=True):
            new = Candidates(means=means, pixels=pixels, counts=counts)
            queue, pointer = advance_prototype_queue(self.prototype_queue, self.prototype_pointer, new)
            self.prototype_queue.copy_(queue)
            self.prototype_pointer.copy_(pointer)
            queue, pointer = advance_pixel_queue(self.pixel_queue, self.pixel_pointer, new)
            self.pixel_queue.copy_(queue)
            self.pixel_pointer.copy_(pointer)
