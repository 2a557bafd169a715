"""Geometric transforms of an image and its label: resize, crop, flip. Pure functions; every
random choice is an argument.

Images are uint8 or float32 H W 3 (RGB, 0..255), labels uint8 H W, sizes (width, height), all in pixels. A
label whose size differs from its image's (an overlay) is brought to a new size straight from its own.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]
Array = NDArray[Any]
Filter = Literal["bicubic", "bilinear"]
"""Pillow's filters."""
Interpolation = Literal["bicubic", "bilinear", "opencv"]
"""How an image is resized: by a filter of Pillow, or as OpenCV does unless told otherwise."""
Padding = Literal["both", "end", "centre"]

IGNORE = 255
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def size_of(array: Array) -> Size:
    """(width, height) of an image or a label."""
    return array.shape[1], array.shape[0]


def resize_image(image: Array, size: Size, interpolation: Interpolation = "bicubic") -> Array:
    """The image at `size` by Pillow, which widens the kernel when shrinking; uint8 is
    rounded, float32 is not.

    opencv  bilinear between the four nearest pixels, also when shrinking: no antialiasing
    """
    if size_of(image) == size:
        return image
    if interpolation == "opencv":
        resized = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_LINEAR)
        return resized.reshape(size[1], size[0], -1)  # OpenCV drops a single channel
    if image.dtype == np.uint8:  # RGB
        return np.asarray(Image.fromarray(image).resize(size, FILTERS[interpolation]))
    channels = [Image.fromarray(np.ascontiguousarray(image[:, :, c])).resize(size, FILTERS[interpolation]) for c in range(image.shape[2])]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def resize_label(label: Array, size: Size, interpolation: Interpolation = "bicubic") -> Array:
    """The label (uint8 or bool; or float32 numbers) at `size` by the nearest rule that goes with the image's
    `interpolation`, to the pixel as the published programs have it.

    Pixel x of the new size is floor((x + 0.5) * old / new) by Pillow's rule, floor(x * old / new) by OpenCV's.
    """
    if size_of(label) == size:
        return label
    if interpolation == "opencv":
        plane = np.ascontiguousarray(label if label.dtype == np.float32 else label.astype(np.uint8, copy=False))
        return cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST).astype(label.dtype, copy=False)
    resized = _as_picture(label).resize(size, FILTERS["nearest"])
    return np.asarray(resized).astype(label.dtype, copy=False)


def _as_picture(label: Array) -> Image.Image:
    return Image.fromarray(label if label.dtype == np.float32 else label.astype(np.uint8))


def resize(image: Array, label: Array | None, size: Size, interpolation: Interpolation = "bicubic") -> tuple[Array, Array | None]:
    """Image and label at `size`, each straight from its own size (algorithms/proca 6.4)."""
    return resize_image(image, size, interpolation), None if label is None else resize_label(label, size, interpolation)


def scaled_size(image: Array, factor: float) -> Size:
    """(width, height) of the image times `factor`, cut to whole pixels, at least 1
    (algorithms/fada 7.2, algorithms/proca 6.4)."""
    width, height = size_of(image)
    return max(int(width * factor), 1), max(int(height * factor), 1)


def short_side_size(image: Array, length: int) -> Size:
    """(width, height) whose shorter side is `length`, the aspect kept and the longer side cut to whole
    pixels (algorithms/clp 8.2)."""
    width, height = size_of(image)
    if width < height:
        return length, int(length * height / width)
    return int(length * width / height), length


def size_within(have: Size, bound: Size) -> Size:
    """(width, height) `have` enlarged or made smaller, the aspect kept, until its longer side meets the
    longer of `bound` or its shorter side the shorter one; sides are rounded, at least 1.

    >>> size_within((1914, 1052), (1280, 720)), size_within((1052, 1914), (1280, 720))
    ((1280, 704), (704, 1280))
    """
    factor = min(max(bound) / max(have), min(bound) / min(have))
    return max(int(have[0] * factor + 0.5), 1), max(int(have[1] * factor + 0.5), 1)


def padding(have: Size, want: Size, pad: Padding) -> tuple[int, int, int, int]:
    """Pixels to add (top, bottom, left, right) so that no side of `have` is below `want`.

    both    the whole deficit on each of the two sides (FADA, ProCA)
    end     at the bottom and the right
    centre  half on each side, the odd pixel at the end
    """
    right, bottom = max(want[0] - have[0], 0), max(want[1] - have[1], 0)
    if pad == "both":
        return bottom, bottom, right, right
    if pad == "end":
        return 0, bottom, 0, right
    return bottom // 2, bottom - bottom // 2, right // 2, right - right // 2


def padded_size(have: Size, want: Size, pad: Padding) -> Size:
    """(width, height) after the padding."""
    top, bottom, left, right = padding(have, want, pad)
    return have[0] + left + right, have[1] + top + bottom


def pad_and_crop(
    array: Array, size: Size, top: int, left: int, *, pad: Padding = "both", fill: tuple[int, int, int] | int = (0, 0, 0)
) -> Array:
    """The window of `size` at (`top`, `left`) of the padded image, label or mask.

    array  H W 3 with `fill` an RGB colour, or H W with `fill` a number (255 for labels, 0 for masks)
    top, left  offsets in the padded image
    """
    above, below, before, after = padding(size_of(array), size, pad)
    if above or below or before or after:
        height, width = array.shape[:2]
        padded = np.empty((above + height + below, before + width + after, *array.shape[2:]), array.dtype)
        padded[...] = _for_channels(array, fill)
        padded[above : above + height, before : before + width] = array
        array = padded
    return array[top : top + size[1], left : left + size[0]]


def rotate_image(image: Array, angle: float, interpolation: Filter = "bilinear", fill: tuple[int, int, int] = (0, 0, 0)) -> Array:
    """The image turned by `angle` degrees counter-clockwise about its centre by Pillow, at its own size,
    with `fill` in the corners.

    A corner is what turning a full mask by the nearest rule leaves empty (algorithms/pycda 6.4).
    """
    if image.dtype == np.uint8:
        turned = np.array(Image.fromarray(image).rotate(angle, FILTERS[interpolation]))
    else:
        channels = [Image.fromarray(np.ascontiguousarray(image[:, :, c])).rotate(angle, FILTERS[interpolation]) for c in range(image.shape[2])]
        turned = np.stack([np.asarray(channel) for channel in channels], axis=2)
    turned[rotate_label(np.ones(image.shape[:2], np.bool_), angle, 0) == 0] = _for_channels(turned, fill)
    return turned


def _for_channels(array: Array, fill: tuple[int, int, int] | int) -> Any:
    """A colour for an array of other than three channels: its numbers in turn."""
    if isinstance(fill, int) or array.ndim == 2 or array.shape[2] == len(fill):
        return fill
    return [fill[channel % len(fill)] for channel in range(array.shape[2])]


def rotate_label(label: Array, angle: float, fill: int = IGNORE) -> Array:
    """The label (uint8 or bool; or float32 numbers) turned as `rotate_image` turns an image, by the
    nearest rule, with `fill` in the corners."""
    turned = _as_picture(label).rotate(angle, FILTERS["nearest"], fillcolor=fill)
    return np.asarray(turned).astype(label.dtype, copy=False)


def flip(array: Array) -> Array:
    """Left and right exchanged."""
    return array[:, ::-1]


def gaussian_blur(image: Array, sigma: float) -> Array:
    """A 3 x 3 Gaussian of `sigma` pixels with reflected borders; uint8 is rounded (algorithms/proca 6.4)."""
    weights = np.exp(-0.5 * (np.array([-1.0, 0.0, 1.0]) / sigma) ** 2)
    return _filter(image, (weights / weights.sum()).astype(np.float32))


def mean_blur(image: Array) -> Array:
    """A 3 x 3 mean with reflected borders."""
    return _filter(image, np.full(3, 1 / 3, np.float32))


def _filter(image: Array, weights: NDArray[np.float32]) -> Array:
    # In float32: OpenCV's own uint8 path works in fixed point and differs by a grey level.
    blurred: Array = cv2.sepFilter2D(image.astype(np.float32, copy=False), -1, weights, weights, borderType=cv2.BORDER_REFLECT_101)
    return np.rint(blurred).astype(np.uint8) if image.dtype == np.uint8 else blurred
