"""Inference: class probabilities or labels at any size from a normalised image.

Sizes are (height, width). The model is used in the mode it is in (evaluation mode is the caller's choice), no
gradient is kept, and `model(image)` gives an `Output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.errors import ConfigError, near_matches
from udacore.interface import Output
from udacore.losses import upsample as enlarge

Size = tuple[int, int]
Enlarged = Literal["logits", "probability"]


@torch.no_grad()
def predict_probability(
    model: Callable[[Tensor], Output],
    image: Tensor,
    size: Size,
    *,
    align_corners: bool | None = None,
    upsample: Enlarged = "logits",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: Size | None = None,
    stride: Size | None = None,
    window_batch: int = 1,
    head: str | None = None,
) -> Tensor:
    """Class probabilities N K H W float32 at `size`, for images N 3 H W of any other size.

    align_corners  corner rule of the enlargement to `size`; default: `model.align_corners`
    upsample       what is enlarged: the logits, with softmax after it (algorithms/proca 9,
                   algorithms/fada 9.1), or the probability, with softmax before it (algorithms/bdl 10)
    scales, flip   the image is resized to int(H s) x int(W s) with align_corners=True; probabilities of all
                   scales and, with `flip`, of the mirrored images (in the same forward as the plain ones) are
                   averaged
    window         size of a window that slides over the resized image, in its pixels; what the windows give
                   is enlarged to their size, averaged where they overlap, then enlarged to `size` like a
                   whole image's
    stride         step of the window; default: two thirds of it. ConfigError for one that leaves gaps
    window_batch   windows that go through the model together
    head           name of the output of `heads` to be used; default: the logits. ConfigError if there is none
                   such. One of the model's `head_names` is run by the same forward, as `model(image,
                   head=...)`
    """
    return _average(_Forward(model, align_corners, upsample, window, stride, window_batch, head), image, size, scales, flip)


@torch.no_grad()
def predict_label(
    model: Callable[[Tensor], Output],
    image: Tensor,
    size: Size,
    *,
    align_corners: bool | None = None,
    upsample: Enlarged = "logits",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: Size | None = None,
    stride: Size | None = None,
    window_batch: int = 1,
    head: str | None = None,
) -> Tensor:
    """The most probable class of each pixel, N H W int64, the lowest id among equals; arguments
    as `predict_probability`.

    Where one forward decides there is no softmax after the enlargement: it would not change the order.
    """
    forward = _Forward(model, align_corners, upsample, window, stride, window_batch, head)
    if tuple(scales) == (1.0,) and not flip:
        return forward(image, size).argmax(1)
    return _average(forward, image, size, scales, flip).argmax(1)


def _average(forward: _Forward, image: Tensor, size: Size, scales: Sequence[float], flip: bool) -> Tensor:
    """Mean probability N K H W at `size` over all scales, plain and mirrored."""
    total: Tensor | None = None
    for view in _views(image, scales, flip):
        probability = forward(view, size)
        if forward.upsample == "logits":
            probability = probability.softmax(1)
        plain = probability[: len(image)]
        total = plain if total is None else total.add_(plain)
        if flip:
            total += probability[len(image) :].flip(-1)
    if total is None:
        raise ValueError("scales is empty")
    return total.div_(len(scales) * (2 if flip else 1))


def _views(image: Tensor, scales: Sequence[float], flip: bool) -> Iterator[Tensor]:
    """The images at each scale, followed in the batch by their mirror images if asked for."""
    height, width = image.shape[-2:]
    for scale in scales:
        at = (max(1, int(height * scale)), max(1, int(width * scale)))
        view = image if at == (height, width) else F.interpolate(image, at, mode="bilinear", align_corners=True)
        yield torch.cat([view, view.flip(-1)]) if flip else view


@attrs.frozen
class _Forward:
    """One forward of the model: from images to what is to be enlarged (logits or
    probability), at a given size."""

    model: Any
    align_corners: bool | None
    upsample: Enlarged
    window: Size | None
    stride: Size | None
    window_batch: int
    head: str | None

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        corners = bool(self.model.align_corners) if self.align_corners is None else self.align_corners
        if self.window is None:
            return enlarge(self._run(image), size, corners)
        stride = self.stride or (max(1, 2 * self.window[0] // 3), max(1, 2 * self.window[1] // 3))
        whole = slide(self._run, image, self.window, stride, align_corners=corners, batch=self.window_batch)
        return enlarge(whole, size, corners)

    def _run(self, image: Tensor) -> Tensor:
        # A head that the model runs on demand is asked for; what `heads` always holds (or
        # lacks) is seen afterwards.
        on_demand = tuple(getattr(self.model, "head_names", ()))
        is_on_demand = self.head is not None and self.head in on_demand
        output: Output = self.model(image, head=self.head) if is_on_demand else self.model(image)
        if self.head is None or self.head == "logits":
            logits = output.logits
        elif self.head in output.heads:
            logits = output.heads[self.head]
        else:
            raise ConfigError(f"the model has no output {self.head!r}{near_matches(self.head, dict.fromkeys(['logits', *output.heads, *on_demand]))}")
        return logits.float() if self.upsample == "logits" else logits.float().softmax(1)


def slide(
    run: Callable[[Tensor], Tensor], image: Tensor, window: Size, stride: Size, *, align_corners: bool, batch: int = 1
) -> Tensor:
    """What `run` gives for each window of images N 3 H W, enlarged to the window and averaged where windows
    overlap: N K H W, float32.

    run     windows M 3 h w -> maps M K h' w'; called with at most `batch` windows of all N images, one window
            after the other, row by row
    window  (height, width); a side that is longer than the images' is cut to it
    stride  steps down and across; the last window of each row and column ends with the image

    Beside the result no more is held than the maps of `batch` windows. ConfigError for a stride that leaves gaps.
    """
    height, width = image.shape[-2:]
    side = (min(window[0], height), min(window[1], width))
    if (stride[0] > side[0] < height) or (stride[1] > side[1] < width):
        raise ConfigError(f"stride: {stride[1]} x {stride[0]} leaves gaps between windows of {window[1]} x {window[0]}")
    places = [
        (slice(top, top + side[0]), slice(left, left + side[1]))
        for top, left in product(window_starts(height, side[0], stride[0]), window_starts(width, side[1], stride[1]))
    ]
    total: Tensor | None = None
    times = image.new_zeros(height, width, dtype=torch.float32)
    for first in range(0, len(places), batch):
        group = places[first : first + batch]
        views = [image[..., rows, columns] for rows, columns in group]
        parts = enlarge(run(views[0] if len(views) == 1 else torch.cat(views)), side, align_corners)
        if total is None:
            total = parts.new_zeros(len(image), parts.shape[1], height, width)
        # One after the other: the sum is the same to the last bit however many go together.
        for number, (rows, columns) in enumerate(group):
            total[..., rows, columns] += parts[number * len(image) : (number + 1) * len(image)]
            times[rows, columns] += 1
    assert total is not None  # there is at least one window
    return total.div_(times)


def window_starts(length: int, side: int, step: int) -> list[int]:
    """Where windows begin along one side; the last one ends with the image.

    >>> window_starts(300, 128, 64), window_starts(128, 128, 64)
    ([0, 64, 128, 172], [0])
    """
    return [*range(0, length - side, step), length - side]
