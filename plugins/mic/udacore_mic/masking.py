"""Pictures of which most is hidden, block by block (algorithms/mic 5.7)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from udacore import ConfigError
from udacore_mic.mixing import Labelled

Masked = Literal["target", "both", "source"]
"""Which images are masked: the target's; the first half of each domain's; the source's."""


def masked_batch(which: Masked, source: Labelled, target: Labelled) -> Labelled:
    """The images to be masked, with their labels and weights, each one that of a whole image.

    ConfigError for halves of an odd number.
    """
    if which == "target":
        return target
    weight = torch.ones_like(source.label, dtype=torch.float32) if source.weight is None else source.weight
    if which == "source":
        return Labelled(source.image, source.label, weight)
    count = len(source.image)
    if count % 2 or target.weight is None:
        each = f"each process needs an even number of them, not {count}; change batch or accumulation"
        raise ConfigError(f"masked: both hides half of the images of each domain, so {each}")
    pairs = ((source.image, target.image), (source.label, target.label), (weight, target.weight))
    return Labelled(*(torch.cat([first[: count // 2], second[: count // 2]]) for first, second in pairs))


def grid_size(size: tuple[int, int], block: int) -> tuple[int, int]:
    """Rows and columns of blocks of an image of (height, width); half a block is rounded to the even number.

    ConfigError if an axis has none.
    """
    rows, columns = round(size[0] / block), round(size[1] / block)
    if not rows or not columns:
        raise ConfigError(f"images of {size[1]} x {size[0]} have no block of {block} x {block} to hide; possible: at most {2 * min(size) - 1}")
    return rows, columns


def block_mask(noise: Tensor, ratio: float, size: tuple[int, int]) -> Tensor:
    """Which pixels are shown (N 1 H W float32, 1 = shown), `size` = (H, W).

    noise  N 1 rows columns numbers from 0 to 1, one a block: it is shown where its number is above `ratio`
    """
    row, column = (
        torch.arange(pixels, device=noise.device) * blocks // pixels
        for pixels, blocks in zip(size, noise.shape[-2:], strict=True)
    )
    return (noise > ratio).float()[..., row[:, None], column]


def hide(image: Tensor, noise: Tensor, ratio: float) -> Tensor:
    """Normalised images (N C H W) whose hidden pixels are 0, the mean colour."""
    height, width = image.shape[-2:]
    return image * block_mask(noise, ratio, (height, width))
