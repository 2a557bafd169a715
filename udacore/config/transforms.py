"""Settings of the transforms; `data/transforms.py` applies them in the given order."""

from __future__ import annotations

from typing import Literal

import attrs

from udacore.options import option

Size = tuple[int, int]
Interpolation = Literal["bicubic", "bilinear", "opencv"]
Range = tuple[float, float]
LONGEST_SIDE = 2**15
"""Pixels of the longest side that a size may have; an image of this size alone takes 3
GiB, its float input 13 GiB."""


def _check_order(name: str, ends: tuple[float, float]) -> None:
    """ValueError for a range whose end lies before its beginning."""
    if ends[0] > ends[1]:
        raise ValueError(f"{name}: the smallest comes first, got {list(ends)}; write {list(ends[::-1])}")


@attrs.frozen(kw_only=True)
class Resize:
    """Image and label to one size (labels nearest)."""

    size: Size = option(help="width and height", at_least=1, at_most=LONGEST_SIDE)
    interpolation: Interpolation = option(
        "bicubic", "for the image; Pillow widens the kernel when shrinking; opencv: bilinear without that, and labels by OpenCV's nearest rule"
    )


@attrs.frozen(kw_only=True)
class ResizeWithin:
    """Image and label to the largest size within a bound, the aspect kept (labels nearest)."""

    size: Size = option(help="most pixels of the longer and of the shorter side, in any order", at_least=1, at_most=LONGEST_SIDE)
    interpolation: Interpolation = option("opencv", "for the image, as in resize")


@attrs.frozen(kw_only=True)
class ResizeShortSide:
    """The shorter side to a random length, the aspect kept (PLCA)."""

    range: tuple[int, int] = option(help="smallest and largest length, both possible", at_least=1, at_most=LONGEST_SIDE)
    interpolation: Interpolation = option("bilinear", "for the image")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a range that is the wrong way round."""
        _check_order("range", self.range)


@attrs.frozen(kw_only=True)
class Scale:
    """The image's own size times a random factor (FADA, ProCA)."""

    range: Range = option((0.5, 1.5), "smallest and largest factor", above=0, at_most=100)
    interpolation: Interpolation = option("bicubic", "for the image")

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a range that is the wrong way round."""
        _check_order("range", self.range)


@attrs.frozen(kw_only=True)
class Crop:
    """A random window; what is too small is padded first (image with `fill`, label with 255)."""

    size: Size = option(help="width and height", at_least=1, at_most=LONGEST_SIDE)
    pad: Literal["both", "end", "centre"] = option(
        "both", "both: the whole deficit on each side, as FADA and ProCA do; end: right and below; centre: half on each side"
    )
    fill: tuple[int, int, int] = option((0, 0, 0), "RGB colour of the padding", at_least=0, at_most=255)
    max_share: float | None = option(
        None, "share of its labelled pixels that one class must stay below; other windows are drawn again, up to 10 times", above=0, at_most=1
    )


@attrs.frozen(kw_only=True)
class Rotate:
    """Turn about the centre by a random angle, the size kept; corners that come in get
    `fill`, labels 255 (PyCDA)."""

    range: Range = option((-10.0, 10.0), "smallest and largest angle, in degrees, counter-clockwise", at_least=-180, at_most=180)
    interpolation: Literal["bicubic", "bilinear"] = option("bilinear", "for the image")
    fill: tuple[int, int, int] = option((0, 0, 0), "RGB colour of the corners", at_least=0, at_most=255)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a range that is the wrong way round."""
        _check_order("range", self.range)


@attrs.frozen(kw_only=True)
class Flip:
    """Mirror left and right."""

    probability: float = option(0.5, "how often", at_least=0, at_most=1)


@attrs.frozen(kw_only=True)
class Jitter:
    """Colour jitter as torchvision's: factors from [1 - x, 1 + x], hue from [-hue, hue], in random order."""

    brightness: float = option(0.5, "0: off", at_least=0, at_most=100)
    contrast: float = option(0.5, "0: off", at_least=0, at_most=100)
    saturation: float = option(0.5, "0: off", at_least=0, at_most=100)
    hue: float = option(0.2, "0: off", at_least=0, at_most=0.5)
    probability: float = option(1.0, "how often", at_least=0, at_most=1)


@attrs.frozen(kw_only=True)
class Grey:
    """ITU-R 601 luma in all three channels."""

    probability: float = option(0.2, "how often", at_least=0, at_most=1)


@attrs.frozen(kw_only=True)
class Blur:
    """3 x 3 Gaussian with one random sigma (pixels)."""

    sigma: Range = option((0.1, 2.0), "smallest and largest", above=0, at_most=1000)
    probability: float = option(1.0, "how often", at_least=0, at_most=1)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a range that is the wrong way round."""
        _check_order("sigma", self.sigma)


@attrs.frozen(kw_only=True)
class Zoom:
    """A random window enlarged, or the image made smaller on grey; output keeps
    the input's size (streets)."""

    range: Range = option((0.75, 1.6), "smallest and largest factor, drawn log-uniformly", above=0, at_most=100)
    fill: int = option(118, "grey value outside the image; labels get 255", at_least=0, at_most=255)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a range that is the wrong way round."""
        _check_order("range", self.range)


@attrs.frozen(kw_only=True)
class StreetsJitter:
    """Colour gain and offset a channel, blend to grey, mean blur and noise (algorithms/streets 3)."""

    strength: float = option(0.7, "a of the formulas; 0: off", at_least=0, at_most=100)
    blur_probability: float = option(0.4, "how often the 3 x 3 mean is taken", at_least=0, at_most=1)


TRANSFORMS: dict[str, type] = {
    "resize": Resize,
    "resize_within": ResizeWithin,
    "resize_short_side": ResizeShortSide,
    "scale": Scale,
    "rotate": Rotate,
    "crop": Crop,
    "flip": Flip,
    "jitter": Jitter,
    "grey": Grey,
    "blur": Blur,
    "zoom": Zoom,
    "streets_jitter": StreetsJitter,
}
