"""Two scales of one image: where detail windows lie, and how logits are fused (algorithms/mic 6.1 to 6.3).

A box is (y1, y2, x1, x2) in pixels of the whole image. s is the output stride of the network: how many
pixels wide a place of its logits is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.errors import ConfigError
from udacore.inference import window_starts

Box = tuple[int, int, int, int]
Size = tuple[int, int]
DIVISIBLE = 8
"""Offsets of a detail crop are multiples of it, and the sides of a whole image are."""


def crop_box(size: Size, crop: Size, draw: Callable[[int], int], divisible: int = DIVISIBLE) -> Box:
    """The box of a detail crop.

    size, crop  (height, width) of the images and of the crop
    draw        gives a whole number from 0 to its argument - 1; asked for the row, then for the column. The
                last offset that would fit is never drawn, as in the original, and an axis with too little to
                spare has offset 0

    ConfigError for a crop that is larger than the image.
    """
    if crop[0] > size[0] or crop[1] > size[1]:
        said = f"a detail window of {crop[1]} x {crop[0]} does not fit into images of {size[1]} x {size[0]}"
        raise ConfigError(f"{said}; make it smaller, or the crops of source and target larger")
    if size == crop:
        return (0, size[0], 0, size[1])
    places = [(whole - part + 1) // divisible for whole, part in zip(size, crop, strict=True)]
    top, left = (draw(count) * divisible if count else 0 for count in places)
    return (top, top + crop[0], left, left + crop[1])


def slide_boxes(size: Size, window: Size, stride: Size | None = None) -> list[Box]:
    """Windows that cover an image, row by row; one that would stick out is moved back.

    size, window, stride  (height, width); default of the stride: half of the window, so that windows overlap
    """
    step = stride or (max(1, window[0] // 2), max(1, window[1] // 2))
    axes = []
    for whole, part, gap in zip(size, window, step, strict=True):
        side = min(part, whole)
        axes.append([(start, start + side) for start in window_starts(whole, side, gap)])
    return [(y1, y2, x1, x2) for (y1, y2), (x1, x2) in product(*axes)]


def cut(image: Tensor, box: Box) -> Tensor:
    """The box of images or labels (... H W), a view."""
    y1, y2, x1, x2 = box
    return image[..., y1:y2, x1:x2]


def merge_windows(logits: Iterable[Tensor], boxes: Sequence[Box]) -> Tensor:
    """The logits of windows on the grid of the whole image, their mean where windows overlap.

    logits  N K h w for each of the boxes, taken one after the other
    boxes   windows that cover the image

    Gives N K H/s W/s. Raises what `output_stride` raises.
    """
    total: Tensor | None = None
    for box, part in zip(boxes, logits, strict=True):
        if total is None:
            stride = output_stride(box, part)
            height, width = max(y2 for _, y2, _, _ in boxes), max(x2 for *_, x2 in boxes)
            kind = torch.promote_types(part.dtype, torch.float32)
            total = part.new_zeros(*part.shape[:2], height // stride, width // stride, dtype=kind)
            times = total.new_zeros(height // stride, width // stride)
        y1, y2, x1, x2 = _cells(box, stride)
        total[..., y1:y2, x1:x2] += part
        times[y1:y2, x1:x2] += 1
    if total is None:
        raise ValueError("no window")
    return total / times


def fuse(context: Tensor, detail: Tensor, attention: Tensor, box: Box | None) -> tuple[Tensor, Tensor]:
    """The logits of both scales as one map, and the context's share of it before it is enlarged.

    context    N K h w: logits of the whole image at half size
    detail     N K h' w': logits of the box at full size; without a box of the whole image
    attention  N K h w before the sigmoid: how much the detail counts; outside of the box it does not. This
               is cut off before it is enlarged, so that its edge is soft
    box        None: the whole image

    Gives N K 2h 2w (without a box N K h' w') and N K h w. Raises what `output_stride` raises.
    """
    share = attention.sigmoid()
    if box is None:
        size = (detail.shape[2], detail.shape[3])
    else:
        stride = output_stride(box, detail)
        inside = _cells(box, 2 * stride)
        share = _on_grid(cut(share, inside), inside, (share.shape[2], share.shape[3]))
        size = (2 * context.shape[2], 2 * context.shape[3])
        detail = _on_grid(detail, _cells(box, stride), size)
    weighted = (1 - share) * context
    return _enlarge(share, size) * detail + _enlarge(weighted, size), weighted


def _cells(box: Box, stride: int) -> Box:
    """The box in places of a map."""
    y1, y2, x1, x2 = box
    return (y1 // stride, y2 // stride, x1 // stride, x2 // stride)


def _on_grid(part: Tensor, cells: Box, size: Size) -> Tensor:
    """A part of a map with zeros around it, at the size of the whole."""
    y1, y2, x1, x2 = cells
    return F.pad(part, (x1, size[1] - x2, y1, size[0] - y2))


def _enlarge(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def halve(image: Tensor) -> Tensor:
    """Images N 3 H W at half size, bilinear: with even sides the mean of 2 x 2 pixels."""
    return F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)


def output_stride(box: Box, logits: Tensor) -> int:
    """s of a network that gave these logits (N K h w) for a box. ConfigError where it is no whole number, the
    same along both axes."""
    y1, y2, x1, x2 = box
    rows, columns = logits.shape[-2:]
    stride = (y2 - y1) // rows
    if (y2 - y1, x2 - x1) != (stride * rows, stride * columns):
        said = f"a detail window of {x2 - x1} x {y2 - y1} gives logits of {columns} x {rows}"
        raise ConfigError(f"{said}: its sides must be multiples of the network's stride")
    return stride


def draw_by(generator: torch.Generator) -> Callable[[int], int]:
    """Whole numbers for `crop_box` from a generator on the CPU."""
    return lambda count: int(torch.randint(count, (), generator=generator))
