"""The transforms from a file to the network's input, in the order of the configuration.

`apply_transforms` draws the random choices; what is done with them stands in `geometry` and `colour`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config import transforms as settings
from udacore.data import colour, geometry
from udacore.data.colour import normalize
from udacore.data.geometry import IGNORE, Array, Size, resize_image
from udacore.data.randomness import redraw

__all__ = [
    "Sample", "apply_transforms", "crop_offsets", "find_label_setting", "fixed_resize", "fixed_size", "image_interpolation", "is_mixed",
    "normalize", "pass_size", "resize_image", "split_fixed", "zoom",
]  # fmt: skip

Generator = np.random.Generator


@attrs.frozen(kw_only=True)
class Sample:
    """An image on its way.

    image  H W 3 RGB, uint8; float32 on 0..255 after `streets_jitter`
    label  uint8 H W train ids, 255 = ignore, or None; may have a size of its own until
           the first geometric step
    valid  bool H W, False where padding shows; None while there is none
    extra  further maps by name: float32 H W, uint8 H W, bool H W, or RGB uint8 H W 3; their sizes as the label's
    """

    image: Array
    label: Array | None = None
    valid: NDArray[np.bool_] | None = None
    extra: Mapping[str, Array] = attrs.field(factory=dict)


def apply_transforms(sample: Sample, steps: Mapping[str, Any], rng: Generator) -> Sample:
    """`sample` after all `steps` (name -> settings of `udacore.config.transforms`), in the mapping's order.

    All random choices come from `rng`. A label that still has its own size at the
    end is brought to the image's.
    """
    for step in steps.values():
        sample = _apply(step, sample, rng)
    return _matched(sample)


def fixed_resize(steps: Mapping[str, Any]) -> settings.Resize | settings.ResizeWithin | None:
    """The (last) resize step, which passes without random transform use too; None if there is none."""
    found = [step for step in steps.values() if isinstance(step, settings.Resize | settings.ResizeWithin)]
    return found[-1] if found else None


def fixed_size(steps: Mapping[str, Any]) -> Size | None:
    """(width, height) of the resize step, or None; None too where it depends on the image."""
    step = fixed_resize(steps)
    return step.size if isinstance(step, settings.Resize) else None


def split_fixed(steps: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leading steps that draw nothing, and the others."""
    names = list(steps)
    first = next((place for place, name in enumerate(names) if not isinstance(steps[name], settings.Resize | settings.ResizeWithin)), len(names))
    return {name: steps[name] for name in names[:first]}, {name: steps[name] for name in names[first:]}


def pass_size(steps: Mapping[str, Any], have: Size) -> Size:
    """(width, height) that the resize step gives an image of size `have`, which is its own without one."""
    step = fixed_resize(steps)
    if isinstance(step, settings.ResizeWithin):
        return geometry.size_within(have, step.size)
    return step.size if step else have


def image_interpolation(steps: Mapping[str, Any]) -> geometry.Interpolation:
    """The filter with which these steps bring an image to a size; bicubic if none does."""
    for step in (fixed_resize(steps), *steps.values()):
        if isinstance(step, settings.Resize | settings.ResizeWithin | settings.Scale | settings.ResizeShortSide):
            return step.interpolation
    return "bicubic"


def crop_offsets(have: Size, want: Size, rng: Generator) -> tuple[int, int]:
    """(top, left) of a random window, every position alike; nothing is drawn if the sizes are equal."""
    if have == want:
        return 0, 0
    top = int(rng.integers(0, have[1] - want[1], endpoint=True))
    return top, int(rng.integers(0, have[0] - want[0], endpoint=True))


def is_mixed(label: NDArray[np.uint8], share: float) -> bool:
    """Whether a label holds several classes, of which the largest has less than `share` of the pixels;
    those that are ignored (255) do not count."""
    counts = np.bincount(label.reshape(-1), minlength=256)[:IGNORE]
    return int((counts > 0).sum()) > 1 and int(counts.max()) / int(counts.sum()) < share


def find_label_setting(steps: Mapping[str, Any]) -> str:
    """Name of a step's setting that looks at labels; empty if there is none."""
    found = (f"{name}.max_share" for name, step in steps.items() if isinstance(step, settings.Crop) and step.max_share is not None)
    return next(found, "")


@singledispatch
def _apply(step: object, sample: Sample, rng: Generator) -> Sample:
    raise TypeError(f"no transform for settings of type {type(step).__name__}")


@_apply.register
def _(step: settings.Resize, sample: Sample, rng: Generator) -> Sample:
    return _resized(sample, step.size, step.interpolation)


@_apply.register
def _(step: settings.ResizeWithin, sample: Sample, rng: Generator) -> Sample:
    return _resized(sample, geometry.size_within(geometry.size_of(sample.image), step.size), step.interpolation)


@_apply.register
def _(step: settings.ResizeShortSide, sample: Sample, rng: Generator) -> Sample:
    length = int(rng.integers(step.range[0], step.range[1], endpoint=True))
    return _resized(sample, geometry.short_side_size(sample.image, length), step.interpolation)


@_apply.register
def _(step: settings.Scale, sample: Sample, rng: Generator) -> Sample:
    low, high = step.range
    factor = low + (high - low) * rng.random()
    return _resized(sample, geometry.scaled_size(sample.image, factor), step.interpolation)


@_apply.register
def _(step: settings.Rotate, sample: Sample, rng: Generator) -> Sample:
    low, high = step.range
    angle = low + (high - low) * rng.random()
    sample = _matched(sample)
    valid = np.ones(sample.image.shape[:2], np.bool_) if sample.valid is None else sample.valid
    return Sample(
        image=geometry.rotate_image(sample.image, angle, step.interpolation, step.fill),
        label=None if sample.label is None else geometry.rotate_label(sample.label, angle),
        valid=geometry.rotate_label(valid, angle, 0),
        extra=_mapped(
            sample, lambda x: geometry.rotate_image(x, angle, step.interpolation, step.fill),
            lambda x: geometry.rotate_label(x, angle, _fill(x)),
        ),
    )  # fmt: skip


@_apply.register
def _(step: settings.Crop, sample: Sample, rng: Generator) -> Sample:
    sample = _matched(sample)
    have = geometry.size_of(sample.image)
    padded, label, most = geometry.padded_size(have, step.size, step.pad), sample.label, step.max_share
    if most is None or label is None or padded == step.size:  # of a single window there is no other draw
        corner = crop_offsets(padded, step.size, rng)
    else:
        corner = redraw(
            lambda: crop_offsets(padded, step.size, rng),
            lambda at: is_mixed(geometry.pad_and_crop(label, step.size, *at, pad=step.pad, fill=IGNORE), most),
        )
    return _cropped(sample, step.size, corner, step.pad, step.fill)


@_apply.register
def _(step: settings.Flip, sample: Sample, rng: Generator) -> Sample:
    return _each(sample, geometry.flip) if rng.random() < step.probability else sample


@_apply.register
def _(step: settings.Jitter, sample: Sample, rng: Generator) -> Sample:
    skip = rng.random() >= step.probability
    changes: list[tuple[colour.Change, float]] = []
    for what in ("brightness", "contrast", "saturation"):
        strength = getattr(step, what)
        if strength:
            changes.append((what, rng.uniform(max(0.0, 1 - strength), 1 + strength)))
    if step.hue:
        changes.append(("hue", rng.uniform(-step.hue, step.hue)))
    order = rng.permutation(len(changes))
    if skip or not changes:
        return sample
    return attrs.evolve(sample, image=colour.jitter(sample.image, [changes[i] for i in order]))


@_apply.register
def _(step: settings.Grey, sample: Sample, rng: Generator) -> Sample:
    return attrs.evolve(sample, image=colour.grey(sample.image)) if rng.random() < step.probability else sample


@_apply.register
def _(step: settings.Blur, sample: Sample, rng: Generator) -> Sample:
    chosen, sigma = rng.random() < step.probability, rng.uniform(*step.sigma)
    return attrs.evolve(sample, image=geometry.gaussian_blur(sample.image, sigma)) if chosen else sample


@_apply.register
def _(step: settings.Zoom, sample: Sample, rng: Generator) -> Sample:
    factor = math.exp(rng.uniform(math.log(step.range[0]), math.log(step.range[1])))
    return zoom(sample, factor, (rng.random(), rng.random()), step.fill)


@_apply.register
def _(step: settings.StreetsJitter, sample: Sample, rng: Generator) -> Sample:
    a = step.strength
    draw = colour.StreetsDraw(
        gain=(1 + 0.6 * a * rng.uniform(-1, 1, 3)).astype(np.float32),
        offset=(0.8 * a * rng.uniform(-1, 1, 3)).astype(np.float32),
        blend=1.2 * a * rng.random(),
        blur=bool(rng.random() < step.blur_probability),
        noise=np.float32(0.1 * a) * rng.standard_normal(sample.image.shape, dtype=np.float32),
    )
    return attrs.evolve(sample, image=colour.streets_jitter(sample.image, draw))


def zoom(sample: Sample, factor: float, place: tuple[float, float], fill: int = 118) -> Sample:
    """A window of the image enlarged by `factor`, or the image made smaller on grey; the size stays.

    place  where the window (factor > 1) or the smaller image (factor < 1) lies: shares of the free
           rows and columns, in [0, 1)
    """
    sample = _matched(sample)
    width, height = geometry.size_of(sample.image)
    if factor >= 1:
        window = (max(round(width / factor), 1), max(round(height / factor), 1))
        corner = (int(place[0] * (height - window[1] + 1)), int(place[1] * (width - window[0] + 1)))
        return _resized(_cropped(sample, window, corner, "end", (fill,) * 3), (width, height), "bilinear")
    small = (max(round(width * factor), 1), max(round(height * factor), 1))
    sample = _resized(sample, small, "bilinear")
    # With padding on both sides by the whole deficit, a window at (deficit - y) shows the image at y.
    free = (height - small[1], width - small[0])
    corner = (free[0] - int(place[0] * (free[0] + 1)), free[1] - int(place[1] * (free[1] + 1)))
    return _cropped(sample, (width, height), corner, "both", (fill,) * 3)


def _resized(sample: Sample, size: Size, interpolation: geometry.Interpolation) -> Sample:
    image, label = geometry.resize(sample.image, sample.label, size, interpolation)
    valid = None if sample.valid is None else geometry.resize_label(sample.valid, size, interpolation)
    extra = _mapped(
        sample, lambda x: resize_image(x, size, interpolation), lambda x: geometry.resize_label(x, size, interpolation)
    )
    return Sample(image=image, label=label, valid=valid, extra=extra)


def _cropped(sample: Sample, size: Size, corner: tuple[int, int], pad: geometry.Padding, fill: tuple[int, int, int]) -> Sample:
    def window(array: Array, value: tuple[int, int, int] | int) -> Array:
        return geometry.pad_and_crop(array, size, *corner, pad=pad, fill=value)

    valid = sample.valid
    if valid is None and any(geometry.padding(geometry.size_of(sample.image), size, pad)):
        valid = np.ones(sample.image.shape[:2], np.bool_)
    return Sample(
        image=window(sample.image, fill),
        label=None if sample.label is None else window(sample.label, IGNORE),
        valid=None if valid is None else window(valid, 0),
        extra=_mapped(sample, lambda x: window(x, fill), lambda x: window(x, _fill(x))),
    )


def _each(sample: Sample, change: Callable[[Array], Array]) -> Sample:
    return Sample(
        image=change(sample.image),
        label=None if sample.label is None else change(sample.label),
        valid=None if sample.valid is None else change(sample.valid),
        extra=_mapped(sample, change, change),
    )


def _matched(sample: Sample) -> Sample:
    """The sample with its label and further maps at the image's size."""
    size = geometry.size_of(sample.image)
    if any(geometry.size_of(x) != size for x in sample.extra.values()):
        extra = _mapped(sample, lambda x: resize_image(x, size, "bilinear"), lambda x: geometry.resize_label(x, size))
        sample = attrs.evolve(sample, extra=extra)
    if sample.label is None or sample.label.shape == sample.image.shape[:2]:
        return sample
    return attrs.evolve(sample, label=geometry.resize_label(sample.label, size))


def _mapped(sample: Sample, image: Callable[[Array], Array], plane: Callable[[Array], Array]) -> dict[str, Array]:
    """The further maps of a sample, those with colours by one function, those without by another."""
    return {name: (image if x.ndim == 3 else plane)(x) for name, x in sample.extra.items()}


def _fill(plane: Array) -> int:
    """What stands where a map of ids is padded, and (0) one of numbers or a mask."""
    return IGNORE if plane.dtype == np.uint8 else 0
