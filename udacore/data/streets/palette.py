"""Kinds of surfaces: class, texture and colours of each in the source and at the full palette change."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.data.streets.shift import RGB

CLASSES = ("road", "sidewalk", "building", "fence", "pole", "sign", "vegetation", "terrain", "sky", "person", "car", "bus")
IGNORE = 255
ROAD, WALK, BUILDING, FENCE, POLE, SIGN, VEGETATION, TERRAIN, SKY, PERSON, CAR, BUS = range(12)

# Standard deviations, 8-bit units: without them colours would be memorised and shapes never learnt.
IMAGE_JITTER, OBJECT_JITTER = 16.0, 20.0


@attrs.frozen
class Surface:
    """One kind of surface; the n-th target colour is what the n-th source colour turns into."""

    label: int
    texture: int  # row of light.TEXTURES
    source: tuple[RGB, ...]
    target: tuple[RGB, ...]


PAINTS: tuple[RGB, ...] = ((195, 35, 40), (40, 75, 175), (225, 225, 230), (45, 48, 52), (150, 155, 162), (30, 120, 80), (220, 150, 40))
DULL_PAINTS: tuple[RGB, ...] = ((115, 70, 68), (72, 82, 108), (172, 172, 174), (42, 44, 46), (112, 114, 118), (62, 84, 76), (140, 120, 88))
CLOTHES: tuple[RGB, ...] = ((190, 50, 60), (45, 70, 150), (230, 200, 70), (60, 60, 70), (215, 215, 210), (70, 140, 90), (150, 70, 140))
DULL_CLOTHES: tuple[RGB, ...] = ((100, 62, 62), (55, 62, 88), (130, 118, 84), (46, 46, 50), (142, 142, 138), (66, 86, 72), (88, 68, 86))

SURFACES: dict[str, Surface] = {
    "road": Surface(ROAD, 1, ((98, 98, 104),), ((66, 67, 72),)),
    "mark": Surface(ROAD, 0, ((225, 225, 220),), ((150, 148, 140),)),
    "walk": Surface(WALK, 2, ((172, 158, 148), (160, 152, 156)), ((112, 110, 108), (104, 106, 112))),
    "curb": Surface(WALK, 0, ((196, 192, 186),), ((136, 134, 130),)),
    "wall": Surface(
        BUILDING,
        3,
        ((172, 96, 76), (206, 184, 142), (158, 158, 162), (196, 138, 96), (214, 206, 192), (136, 108, 100)),
        ((112, 88, 80), (138, 128, 112), (104, 106, 110), (124, 104, 88), (146, 142, 138), (88, 80, 78)),
    ),
    "roof": Surface(BUILDING, 3, ((140, 66, 52), (84, 84, 92)), ((92, 70, 64), (62, 64, 68))),
    "window": Surface(BUILDING, 0, ((72, 88, 112), (96, 118, 142)), ((58, 62, 68), (92, 94, 92))),
    "door": Surface(BUILDING, 0, ((92, 56, 40), (44, 74, 64)), ((64, 52, 46), (50, 56, 54))),
    "fence": Surface(FENCE, 0, ((158, 112, 70), (206, 200, 190), (92, 74, 60)), ((104, 88, 72), (132, 128, 122), (68, 62, 58))),
    "panel": Surface(FENCE, 4, ((124, 88, 58), (160, 154, 146)), ((84, 72, 62), (104, 102, 98))),
    "pole": Surface(POLE, 0, ((112, 114, 118), (72, 78, 76)), ((80, 80, 82), (56, 58, 58))),
    "sign": Surface(
        SIGN,
        0,
        ((206, 34, 40), (36, 84, 186), (236, 196, 40), (228, 228, 232)),
        ((134, 58, 56), (64, 82, 122), (156, 134, 66), (160, 160, 160)),
    ),
    "plate": Surface(SIGN, 0, ((240, 240, 240),), ((172, 170, 166),)),
    "leaf": Surface(VEGETATION, 5, ((62, 122, 48), (84, 138, 56), (46, 98, 52)), ((142, 102, 44), (118, 96, 50), (76, 76, 48))),
    "trunk": Surface(VEGETATION, 4, ((96, 70, 48),), ((66, 56, 48),)),
    "terrain": Surface(TERRAIN, 6, ((128, 162, 74), (142, 150, 84)), ((126, 112, 72), (112, 106, 82))),
    "sky": Surface(SKY, 7, ((118, 170, 232), (140, 186, 236)), ((182, 188, 194), (166, 172, 180))),
    "cloud": Surface(SKY, 7, ((236, 240, 246),), ((204, 206, 208),)),
    "cloth": Surface(PERSON, 0, CLOTHES, DULL_CLOTHES),
    "skin": Surface(PERSON, 0, ((224, 178, 146), (142, 98, 74)), ((170, 138, 118), (110, 84, 70))),
    "paint": Surface(CAR, 0, PAINTS, DULL_PAINTS),
    "glass": Surface(CAR, 0, ((52, 62, 74),), ((44, 48, 52),)),
    "tyre": Surface(CAR, 0, ((28, 28, 30),), ((26, 26, 28),)),
    "lamp": Surface(CAR, 0, ((214, 42, 34), (244, 240, 214)), ((150, 50, 44), (190, 186, 168))),
    "bus paint": Surface(
        BUS,
        0,
        ((230, 176, 38), (196, 44, 46), (236, 236, 238), (56, 128, 176)),
        ((148, 126, 74), (122, 70, 68), (168, 168, 168), (78, 96, 112)),
    ),
    "bus glass": Surface(BUS, 0, ((50, 60, 72),), ((44, 48, 54),)),
    "bus tyre": Surface(BUS, 0, ((28, 28, 30),), ((26, 26, 28),)),
    "bus lamp": Surface(BUS, 0, ((214, 42, 34), (244, 240, 214)), ((150, 50, 44), (190, 186, 168))),
}


@attrs.define
class Palette:
    """The colours of one image: each kind has its own deviation here, each object a further one."""

    rng: np.random.Generator
    strength: float
    deviations: dict[str, NDArray[np.float64]] = attrs.field(factory=dict)

    def colour(self, kind: str) -> NDArray[np.float64]:
        """A new colour (3,) RGB, 0..255, for an object of that kind."""
        surface = SURFACES[kind]
        variant = int(self.rng.integers(len(surface.source)))
        if kind not in self.deviations:
            self.deviations[kind] = self._deviation(IMAGE_JITTER)
        source, target = np.array(surface.source[variant]), np.array(surface.target[variant])
        colour = source + self.strength * (target - source) + self.deviations[kind] + self._deviation(OBJECT_JITTER)
        bounded: NDArray[np.float64] = np.minimum(np.maximum(colour, 4.0), 250.0)
        return bounded

    def _deviation(self, size: float) -> NDArray[np.float64]:
        # mostly brighter or darker, less of another hue
        draws = self.rng.normal(size=4)
        result: NDArray[np.float64] = size * (0.8 * draws[0] + 0.4 * draws[1:])
        return result
