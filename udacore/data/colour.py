"""Colour transforms: jitter, grey, normalisation. Pure functions; every random choice is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udacore.config.schema import PixelConfig
from udacore.data.geometry import Array, mean_blur

Change = Literal["brightness", "contrast", "saturation", "hue"]
GREY = 118.0
SPREAD = 60.0


def jitter(image: Array, changes: Sequence[tuple[Change, float]]) -> NDArray[np.uint8]:
    """`image` (H W 3) after torchvision's adjustments in the given order, on 8 bits as with Pillow images.

    changes  (what, factor): factor 1 leaves brightness, contrast, saturation as they are, shift 0 the hue
    """
    from torchvision.transforms import functional  # here: it imports torch's compiler, two seconds in each process

    picture = Image.fromarray(to_uint8(image))
    for what, factor in changes:
        picture = getattr(functional, f"adjust_{what}")(picture, factor)
    return np.asarray(picture)


def grey(image: Array) -> Array:
    """ITU-R 601 luma in all three channels; on 8 bits as Pillow's conversion to `L`."""
    is_bytes = image.dtype == np.uint8
    luma = np.asarray(Image.fromarray(image).convert("L")) if is_bytes else image @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(luma[:, :, None], 3, axis=2)


def to_uint8(image: Array) -> NDArray[np.uint8]:
    """8-bit colours, rounded and cut to 0..255."""
    return image if image.dtype == np.uint8 else np.clip(np.rint(image), 0, 255).astype(np.uint8)


@attrs.frozen(kw_only=True)
class StreetsDraw:
    """The random choices of `streets_jitter` (algorithms/streets 3), in units of x = (rgb - 118) / 60.

    gain, offset  3 numbers, one a channel
    blend         share of grey; above 1 it passes beyond grey
    blur          whether the 3 x 3 mean is taken
    noise         H W 3, to be added
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    blend: float
    blur: bool
    noise: NDArray[np.float32]


def streets_jitter(image: Array, draw: StreetsDraw) -> NDArray[np.float32]:
    """`image` (H W 3) with changed colours, float32 on the scale 0..255 without clipping."""
    x = (image.astype(np.float32) - np.float32(GREY)) / np.float32(SPREAD)
    x = x * draw.gain + draw.offset
    x += np.float32(draw.blend) * (x.mean(axis=2, keepdims=True) - x)
    if draw.blur:
        x = mean_blur(x)
    return (x + draw.noise) * np.float32(SPREAD) + np.float32(GREY)


def normalize(image: Array, pixels: PixelConfig) -> NDArray[np.float32]:
    """From H W C (RGB, uint8 or float32 on 0..255; float32 for other channels) to float32 C H W: (x / 255 * scale - mean) / std
    in the order of `pixels`.

    Mean and standard deviation are given in that order too. 8-bit colours go through a table of 256 entries.
    """
    order = tuple(range(image.shape[2]))[:: 1 if pixels.order == "rgb" else -1]
    result = np.empty((len(order), *image.shape[:2]), np.float32)
    levels = np.arange(256, dtype=np.float32)
    for place, channel in enumerate(order):
        mean, std = np.float32(pixels.mean[place]), np.float32(pixels.std[place])
        x = levels if image.dtype == np.uint8 else image[:, :, channel]
        y = (x / np.float32(255) * np.float32(pixels.scale) - mean) / std
        result[place] = y[image[:, :, channel]] if image.dtype == np.uint8 else y
    return result
