"""Colour jitter and blur of a batch at once, each image with its own numbers (algorithms/mic 5.5).

What is drawn is an argument, made by `draws.py`, and lies on the host: so orders and widths of kernels are
known there, the numbers travel to the device in one piece, and nothing waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.interface import Pixels

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The changes of colour, by their numbers in an order."""
KERNEL_SHARE = 0.1
"""Of an image's side: about how long the blur's kernel is."""
REACH = math.sqrt(2 * 30 * math.log(2))
"""In standard deviations: weights farther away are below 2**-30 of the middle one, too
small for float32 to add."""


@attrs.frozen(kw_only=True)
class Jitter:
    """Changes of colour, on the host.

    factors  N 4 float32: brightness, contrast and saturation, where 1 changes nothing, and
             the shift of the hue as a share of the circle
    order    N 4 int64: for each image the changes in the order in which they are made
    """

    factors: Tensor
    order: Tensor


@attrs.frozen(kw_only=True)
class Augmentation:
    """What becomes of a batch: `jitter` first, then a blur with the N standard deviations
    `sigma`, in pixels. None leaves either out."""

    jitter: Jitter | None = None
    sigma: Sequence[float] | None = None


def augment(image: Tensor, augmentation: Augmentation, pixels: Pixels) -> Tensor:
    """Normalised images (N 3 H W) jittered and blurred."""
    if augmentation.jitter is not None:
        image = jitter_colours(image, augmentation.jitter, pixels)
    if augmentation.sigma is not None:
        image = gaussian_blur(image, augmentation.sigma)
    return image


def jitter_colours(image: Tensor, jitter: Jitter, pixels: Pixels) -> Tensor:
    """Normalised images (N 3 H W) with other colours.

    Brightness is added, contrast multiplied about 0, saturation multiplied and hue turned as HSV; all but
    hue are clipped. Each place of the orders is one pass over the batch for changes of red, green and blue,
    and one for those of HSV, of which an image takes the one that is its turn.
    """
    colours = pixels.colours(image)
    numbers = _turns(jitter).to(image.device, non_blocking=True)
    for place, now in enumerate(jitter.order.T):
        is_plain = now <= CONTRAST
        shift, scale, saturation, hue, plain = numbers[place, ..., None, None]  # each N 1 1
        if is_plain.any():
            changed = (colours * scale[:, None] + shift[:, None]).clamp(0, 1)
            colours = changed if is_plain.all() else torch.where(plain[:, None] > 0, changed, colours)
        if not is_plain.all():
            changed = _change_hsv(colours, saturation, hue)
            colours = torch.where(plain[:, None] > 0, colours, changed) if is_plain.any() else changed
    return pixels.image(colours)


def _turns(jitter: Jitter) -> Tensor:
    """For each place of the orders, 5 N numbers: what is added to the colours, their factor, that of the
    saturation, the shift of the hue in sixths of the circle, and 1 where one of the first two is changed."""
    turn = torch.nn.functional.one_hot(jitter.order, 4).bool()  # N place change
    factors = jitter.factors[:, None].where(turn, torch.tensor([1.0, 1.0, 1.0, 0.0])).movedim(0, 2)  # place change N
    plain = (jitter.order <= CONTRAST).T.float()[:, None]
    idle = factors - torch.tensor([1.0, 0.0, 0.0, 0.0])[:, None]
    return torch.cat([idle * torch.tensor([1.0, 1.0, 1.0, 6.0])[:, None], plain], 1)


def _change_hsv(colours: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Colours (N 3 H W, from 0 to 1) with the saturation times `saturation` and the hue
    `hue` sixths of the circle on (each N 1 1)."""
    value, first = colours.max(1)
    spread = value - colours.amin(1)
    below = value[:, None] - colours
    ratio = (spread / (value + 1e-6) * saturation).clamp(0, 1)
    # Red, green, blue: how far the hue is from the colour that is the largest, in sixths; grey has hue 0.
    angle = (below.roll(-2, 1) - below.roll(-1, 1)).gather(1, first[:, None])[:, 0]
    angle = angle / spread.masked_fill(spread == 0, 1) + 2 * first + hue
    offset = torch.arange(5, 0, -2, device=colours.device)[:, None, None]  # 5, 3, 1
    place = (angle[:, None] + offset).remainder(6)
    return value[:, None] * (1 - ratio[:, None] * torch.minimum(place, 4 - place).clamp(0, 1))


def gaussian_blur(image: Tensor, sigma: Sequence[float]) -> Tensor:
    """Images (N C H W) under Gaussians of N standard deviations in pixels.

    The kernel's size along an axis is the largest odd number up to ceil(0.1 x its size); weights that
    float32 cannot add are left out. The image goes on beyond its edges as its mirror image, without the edge
    itself. Rows and columns are blurred one after the other, all images and channels as one grouped convolution.
    """
    images, channels, height, width = image.shape
    reach = math.ceil(REACH * max(sigma))
    rows, columns = (min(_radius(size), reach) for size in (height, width))
    with torch.autocast(image.device.type, enabled=False):
        x = F.pad(image.float().reshape(1, images * channels, height, width), (columns, columns, rows, rows), mode="reflect")
        for radius, shape in ((rows, (-1, 1)), (columns, (1, -1))):
            weights = _weights(sigma, radius).repeat_interleave(channels, 0).to(image.device, non_blocking=True)
            x = F.conv2d(x, weights.view(images * channels, 1, *shape), groups=images * channels)
    return x.view_as(image).to(image.dtype)


def _radius(size: int) -> int:
    """Half of the kernel on an axis of `size` pixels, without its middle."""
    return (math.ceil(KERNEL_SHARE * size) - 1) // 2


def _weights(sigma: Sequence[float], radius: int) -> Tensor:
    """N 2 radius + 1 float32, each row with the sum 1."""
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = (-0.5 * (place / torch.tensor(sigma, dtype=torch.float64)[:, None]) ** 2).exp()
    return (weights / weights.sum(1, keepdim=True)).float()
