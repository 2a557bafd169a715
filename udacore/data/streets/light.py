"""Lighting and camera effects: texture, shadow, fog, local light, exposure, lens and sensor."""

from __future__ import annotations

import attrs
import cv2
import numpy as np
from numpy.typing import NDArray

from udacore.data.streets.palette import ROAD, SKY, TERRAIN, WALK
from udacore.data.streets.shift import Pair, Strengths

Image = NDArray[np.float32]  # (height, width, 3) RGB, 0..255 and beyond until the end
Plane = NDArray[np.float32]  # (height, width)

# rows: kind of texture (palette.Surface.texture); columns: amplitude of grain, of blotches, of courses, and
# what the target adds to all
TEXTURES = np.array(
    [
        (2.0, 0.0, 0.0, 0.0),  # smooth
        (5.0, 3.0, 0.0, 0.8),  # asphalt
        (3.0, 3.0, 4.0, 0.5),  # slabs
        (3.0, 3.0, 5.0, -0.4),  # brick
        (5.0, 2.0, 0.0, 0.5),  # wood
        (11.0, 12.0, 0.0, -0.5),  # leaves
        (8.0, 6.0, 0.0, 0.6),  # grass
        (1.0, 4.0, 0.0, 0.8),  # sky
    ],
    np.float32,
)
SHADOW_COLOUR = np.array([0.62, 0.56, 0.46], np.float32)
MIST_COLOUR = np.array([198.0, 196.0, 192.0], np.float32)


@attrs.frozen
class View:
    """What the canvas showed, sampled at the centres of the image's pixels; x is metres
    across the road on the ground."""

    label: NDArray[np.uint8]
    texture: NDArray[np.int64]
    depth: Plane
    x: Plane
    z: Plane


def noise(rng: np.random.Generator, cells: tuple[int, int], shape: tuple[int, int]) -> Plane:
    """Smooth noise: standard normals on a grid of cells (rows, columns), enlarged
    bicubically to shape (height, width)."""
    grid = rng.standard_normal(cells, dtype=np.float32)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def add_texture(image: Image, view: View, strength: float, rng: np.random.Generator) -> Image:
    """Grain, blotches and horizontal courses, each surface with its own amplitudes."""
    height, width = view.label.shape
    grain = rng.standard_normal((height, width), dtype=np.float32)
    blotches = noise(rng, (max(2, height // 4), max(2, width // 4)), (height, width))
    courses = np.sin(np.arange(height, dtype=np.float32) * np.float32(rng.uniform(1.2, 2.2)))[:, None]
    change = np.maximum(1 + strength * TEXTURES[:, 3], 0)
    fields = [(TEXTURES[:, k] * change)[view.texture] for k in range(3)]
    result: Image = image + (fields[0] * grain + fields[1] * blotches + fields[2] * courses)[..., None]
    return result


def cast_shadow(image: Image, view: View, strength: float, rng: np.random.Generator) -> Image:
    """The shadow of one side's houses on the ground, with notches where a gap lets the sun through."""
    side, edge = (1.0 if rng.uniform() < 0.5 else -1.0), rng.uniform(-1.0, 6.0)
    period, notch, is_cast = rng.uniform(12.0, 30.0), rng.uniform(0.0, 3.0), rng.uniform() < 0.6
    if not is_cast:
        return image
    ground = (view.label == ROAD) | (view.label == WALK) | (view.label == TERRAIN)
    reach = edge + notch * np.sign(np.sin(view.z * np.float32(2 * np.pi / period)))
    dark = ground & (side * view.x > reach)
    shade = 1 - (0.18 + 0.3 * strength) * dark[..., None].astype(np.float32) * np.array([1.0, 0.95, 0.85], np.float32)
    result: Image = image * shade
    return result


def add_haze(image: Image, view: View, strength: float, rng: np.random.Generator) -> Image:
    """Saturation, then fog that grows with the depth and leaves the sky."""
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(np.clip(rng.normal(1.0, 0.06) - 0.45 * strength, 0.0, 1.3)) * (image - grey)
    density = (0.0015 + 0.014 * strength) * rng.uniform(0.5, 1.5)
    veil = (1 - np.exp(-np.float32(density) * view.depth)) * (view.label != SKY)
    result: Image = image + veil[..., None] * (np.array([206.0, 210.0, 216.0], np.float32) - image)
    return result


def add_local_light(image: Image, view: View, strength: float, rng: np.random.Generator) -> Image:
    """Light that differs from place to place: coloured pools, sharp bluish shadow patches, patchy mist."""
    shape = view.label.shape
    a, ground = np.float32(strength), (view.label != SKY).astype(np.float32)
    tint = rng.standard_normal(3, dtype=np.float32)
    pools = 0.45 * noise(rng, (3, 5), shape)[..., None] + 0.2 * noise(rng, (3, 5), shape)[..., None] * tint
    image = image * np.exp(a * pools)
    patches = np.clip(6 * (noise(rng, (6, 12), shape) - np.float32(rng.uniform(-0.2, 0.5))) + 0.5, 0, 1) * ground
    image = image * np.maximum(1 - a * patches[..., None] * SHADOW_COLOUR, 0)
    thickness = np.clip(0.8 + 0.4 * noise(rng, (2, 4), shape), 0.3, 1.2)
    mist = (1 - np.exp(-view.depth / 45 * a * np.float32(rng.uniform(0.3, 1.6)))) * thickness
    veil = 0.8 * a * np.clip(mist, 0, 1) * ground
    result: Image = image + (MIST_COLOUR + 6 * tint - image) * np.minimum(veil, 1)[..., None]
    return result


def expose(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Contrast, gamma, gain, colour cast and vignette."""
    height, width = image.shape[:2]
    contrast = rng.normal(1.0, 0.05) - 0.3 * strength
    gamma = np.exp(rng.normal(0.0, 0.06) + 0.35 * strength)
    gain = np.exp(rng.normal(0.0, 0.05) - 0.15 * strength)
    cast = 1 + rng.normal(0.0, 0.015, size=3) + strength * np.array([-0.10, 0.0, 0.10])
    image = (image - 118) * np.float32(contrast) + 118
    lit: Image = np.power(np.clip(image, 0, 255) / 255, np.float32(gamma)) * (255 * gain * cast).astype(np.float32)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    fall = (1 - (0.05 + 0.25 * strength) * (rows**2 + columns**2) / 2).astype(np.float32)
    result: Image = lit * fall[..., None]
    return result


def sense(image: Image, strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur of 0.3 to 0.8 pixels, noise of 2 to 8 units, 8 bits."""
    blurred = cv2.GaussianBlur(np.asarray(image, np.float32), (5, 5), 0.3 + 0.5 * strength, borderType=cv2.BORDER_REFLECT_101)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(blurred + np.float32(2 + 6 * strength) * grain), 0, 255).astype(np.uint8)


def photograph(image: Image, view: View, strengths: Strengths, rng: np.random.Generator, pair: Pair | None) -> NDArray[np.uint8]:
    """The image (height, width, 3) uint8 of flat colours; `pair` gives the target's constant affine
    map, None is the identity."""
    ramp = np.linspace(-14, 14, view.label.shape[0], dtype=np.float32)[:, None]
    image = image + (ramp * (view.label == SKY))[..., None]
    image = add_texture(image, view, strengths.texture, rng)
    image = cast_shadow(image, view, strengths.light, rng)
    image = add_haze(image, view, strengths.light, rng)
    if strengths.local > 0:
        image = add_local_light(image, view, strengths.local, rng)
    image = expose(image, strengths.light, rng)
    if pair is not None:
        image = image * np.array(pair.gain, np.float32) + np.array(pair.offset, np.float32)
    return sense(image, strengths.sensor, rng)
