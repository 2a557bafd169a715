"""One image and its label from a pair, a domain, a split and an index."""

from __future__ import annotations

import zlib

import attrs
import cv2
import numpy as np
from numpy.typing import NDArray

from udacore.data.streets.camera import draw_camera
from udacore.data.streets.canvas import Canvas
from udacore.data.streets.light import View, photograph
from udacore.data.streets.painter import Painter
from udacore.data.streets.palette import BUS, CAR, FENCE, IGNORE, PERSON, POLE, SIGN, VEGETATION, Palette
from udacore.data.streets.scene import draw_scene
from udacore.data.streets.shift import RGB, TARGET_WALK, Domain, Pair, draw_strengths, find_pair
from udacore.errors import ConfigError, near_matches

SMALLEST_SIDE = 16  # pixels
SMALLEST_OBJECT = 6  # visible pixels of a countable object that is labelled
COUNTABLE = (FENCE, POLE, SIGN, VEGETATION, PERSON, CAR, BUS)


def render(
    pair: str, domain: Domain, split: str, index: int, *, size: tuple[int, int] = (128, 64), seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (height, width, 3) uint8 RGB and label (height, width) uint8, indices into CLASSES, 255 for
    objects too small to see.

    `size` is (width, height). The result depends on the arguments alone: each image has its own generator.
    Raises ConfigError for an unknown pair or domain, a negative index or seed, or a size below 16 pixels.
    """
    chosen = find_pair(pair)
    _check(domain, index, size, seed)
    return _render(chosen, domain, (seed, zlib.crc32(f"{domain}{split}".encode()), index), size, calibrated=True)


def measure_affine(pair: str, *, count: int = 60, seed: int = 987) -> tuple[RGB, RGB]:
    """Gain and offset per channel that bring the target's mean and deviation to the source's, from `count`
    unlabelled images of each."""
    chosen = find_pair(pair)
    moments = []
    domains: tuple[Domain, Domain] = ("source", "target")
    for domain in domains:
        crc = zlib.crc32(f"{domain}train".encode())
        pixels = np.stack([_render(chosen, domain, (seed, crc, index), (128, 64), calibrated=False)[0] for index in range(count)])
        moments.append((pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))))
    (source_mean, source_std), (target_mean, target_std) = moments
    gain = source_std / target_std
    offset = source_mean - gain * target_mean
    return (_rounded(gain, 3), _rounded(offset, 1))


def _rounded(values: NDArray[np.float64], digits: int) -> RGB:
    red, green, blue = (round(float(value), digits) for value in values)
    return (red, green, blue)


def _check(domain: str, index: int, size: tuple[int, int], seed: int) -> None:
    if domain not in ("source", "target"):
        raise ConfigError(f"streets: no domain {domain!r}{near_matches(domain, ('source', 'target'))}")
    if min(size) < SMALLEST_SIDE:
        raise ConfigError(f"streets: size {size[0]} x {size[1]} is too small; each side must be at least {SMALLEST_SIDE} pixels")
    if index < 0 or seed < 0:
        raise ConfigError(f"streets: index {index} and seed {seed} must not be negative")


def _render(
    pair: Pair, domain: Domain, entropy: tuple[int, int, int], size: tuple[int, int], *, calibrated: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(entropy)
    strengths = draw_strengths(pair, domain, rng)
    canvas = Canvas(2 * size[0], 2 * size[1])
    camera = draw_camera(rng, (2 * size[0], 2 * size[1]), strengths.layout)
    painter = Painter(canvas, camera, Palette(rng, strengths.palette), rng, strengths)
    draw_scene(painter, pair.source_walk if domain == "source" else TARGET_WALK)
    colours = np.array(canvas.colours, np.float32)[canvas.items]
    flat = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), np.float32)
    view, objects = _sample(painter)
    image = photograph(flat, view, strengths, rng, pair if calibrated and domain == "target" else None)
    return image, _without_specks(view.label, objects)


def _sample(painter: Painter) -> tuple[View, NDArray[np.int64]]:
    """What lies at the centre of each image pixel, and the number of the object there."""
    canvas, camera = painter.canvas, painter.camera
    height, width = canvas.items.shape
    items = canvas.items[1::2, 1::2]
    x, z = (plane[1::2] for plane in camera.ground(width, height))
    x = x[:, 1::2]
    side = np.array(canvas.sides)[items]
    fixed = np.array(canvas.depths)[items]
    half = attrs.evolve(camera, focal=camera.focal / 2, centre=camera.centre / 2)
    planes = half.side_depth(side, width // 2)
    depth = np.where(np.isnan(fixed), np.where(np.isnan(side), np.broadcast_to(z, side.shape), planes), fixed)
    view = View(
        label=np.array(canvas.labels, np.uint8)[items],
        texture=np.array(canvas.textures, np.int64)[items],
        depth=depth.astype(np.float32),
        x=x.astype(np.float32),
        z=z.astype(np.float32),
    )
    return view, np.array(canvas.objects, np.int64)[items]


def _without_specks(label: NDArray[np.uint8], objects: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The label with objects of fewer than SMALLEST_OBJECT visible pixels ignored."""
    visible = np.bincount(objects.ravel())
    speck = (visible[objects] < SMALLEST_OBJECT) & (objects > 0) & np.isin(label, COUNTABLE)
    return np.where(speck, np.uint8(IGNORE), label)
