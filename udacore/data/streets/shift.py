"""The differences between the two domains: named groups of changes, and the pairs made of them."""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

from udacore.errors import ConfigError, near_matches

Domain = Literal["source", "target"]
RGB = tuple[float, float, float]


@attrs.frozen
class Strengths:
    """How far each group of changes goes in one image: 0 is the source, 1 the full
    change; more extrapolates."""

    palette: float = 0.0  # class colours: vivid to grey, autumn, dark
    texture: float = 0.0  # amplitude of the surface texture
    light: float = 0.0  # gamma, gain, colour cast, fog, vignette, shadow, saturation, contrast
    sensor: float = 0.0  # noise and blur
    layout: float = 0.0  # longer focal length, lower camera, narrower road, lower buildings, denser traffic
    shape: float = 0.0  # probability that an object takes its new form
    local: float = 0.0  # pools of light, sharp shadow patches, patchy mist


@attrs.frozen
class Pair:
    """A source and a target domain; the affine map is constant and brings the target's colour
    statistics to the source's.

    `gain` and `offset` (8-bit units) were measured once with `measure_affine` on
    unlabelled images of another seed.
    """

    low: Strengths  # of the easiest target image
    high: Strengths  # of the hardest
    source_walk: tuple[float, float]  # width of the source's sidewalks, metres
    gain: RGB = (1.0, 1.0, 1.0)
    offset: RGB = (0.0, 0.0, 0.0)


TARGET_WALK = (2.6, 4.4)

PAIRS: dict[str, Pair] = {
    "W": Pair(  # weather and shadow: local light and new forms
        low=Strengths(palette=0.0, texture=0.4, light=0.0, sensor=0.1, layout=0.2, shape=0.2, local=0.4),
        high=Strengths(palette=0.3, texture=1.0, light=0.3, sensor=0.6, layout=0.6, shape=0.9, local=1.3),
        source_walk=(3.4, 5.4),
        gain=(1.003, 0.88, 0.945),
        offset=(16.2, 25.3, 10.0),
    ),
    "P": Pair(  # palette
        low=Strengths(palette=0.4, texture=0.4, light=0.0, sensor=0.1, layout=0.2),
        high=Strengths(palette=1.3, texture=1.0, light=0.4, sensor=0.6, layout=0.3),
        source_walk=TARGET_WALK,
        gain=(1.313, 1.182, 1.261),
        offset=(-2.8, 10.4, -1.8),
    ),
    "L": Pair(  # layout, that is the camera and the street
        low=Strengths(palette=0.2, texture=0.4, light=0.0, sensor=0.1, layout=0.7),
        high=Strengths(palette=1.0, texture=1.0, light=0.4, sensor=0.6, layout=1.2),
        source_walk=TARGET_WALK,
        gain=(1.227, 1.113, 1.175),
        offset=(-0.6, 11.1, -0.1),
    ),
}


def find_pair(name: str) -> Pair:
    """The pair of that name; raises ConfigError for an unknown one."""
    if name not in PAIRS:
        raise ConfigError(f"streets: no pair {name!r}{near_matches(name, PAIRS)}")
    return PAIRS[name]


def draw_strengths(pair: Pair, domain: Domain, rng: np.random.Generator) -> Strengths:
    """Strengths of one image: its difficulty, uniform in 0..1, moves all groups
    together; the source has none."""
    difficulty = float(rng.uniform())
    if domain == "source":
        return Strengths()
    low, high = attrs.asdict(pair.low), attrs.asdict(pair.high)
    return Strengths(**{group: low[group] + difficulty * (high[group] - low[group]) for group in low})
