"""The state for drawing one image: canvas, camera, colours, random numbers and strengths."""

from __future__ import annotations

import attrs
import numpy as np

from udacore.data.streets.camera import Camera, Floats
from udacore.data.streets.canvas import ON_GROUND, Canvas
from udacore.data.streets.palette import SURFACES, Palette
from udacore.data.streets.shift import Strengths


@attrs.frozen
class Painter:
    """Draws shapes given in metres."""

    canvas: Canvas
    camera: Camera
    palette: Palette
    rng: np.random.Generator
    strengths: Strengths

    def item(self, kind: str, depth: float = ON_GROUND, side: float = ON_GROUND) -> int:
        """A new item of a kind of surface, in a colour of its own."""
        return self.canvas.add(self.palette.colour(kind), SURFACES[kind].label, SURFACES[kind].texture, depth, side)

    def shade(self, item: int, factor: float) -> int:
        """A new item like another one, but `factor` times as bright."""
        canvas = self.canvas
        colour = np.clip(canvas.colours[item] * factor, 0.0, 255.0)
        return canvas.add(colour, canvas.labels[item], canvas.textures[item], canvas.depths[item], canvas.sides[item])

    def fill(self, item: int, points: Floats) -> None:
        """Fill polygons with corners in metres, (n, corners, 3) or (corners, 3)."""
        self.canvas.fill(item, self.camera.project(points))

    def disc(self, item: int, point: tuple[float, float, float], radii: tuple[float, float]) -> None:
        """Fill an ellipse that faces the camera; everything in metres."""
        scale = self.camera.focal / max(point[2], 1.0)
        self.canvas.disc(item, self.camera.project(np.array(point)), (radii[0] * scale, radii[1] * scale))

    def takes_new_form(self) -> bool:
        """Whether the next object is drawn in its target form."""
        return bool(self.rng.uniform() < self.strengths.shape)


def facing(z: float, corners: list[tuple[float, float]]) -> Floats:
    """Polygon (corners, 3) in a plane across the road, from (x, y)."""
    return np.array([(x, y, z) for x, y in corners])


def facing_box(z: float, x: tuple[float, float], y: tuple[float, float]) -> Floats:
    """Rectangle (4, 3) in a plane across the road."""
    return np.array([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)])


def along(x: float, corners: list[tuple[float, float]]) -> Floats:
    """Polygon (corners, 3) in an upright plane along the road, from (z, y)."""
    return np.array([(x, y, z) for z, y in corners])


def along_box(x: float, z: tuple[float, float], y: tuple[float, float]) -> Floats:
    """Rectangle (4, 3) in an upright plane along the road."""
    return np.array([(x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])])


def flat_box(y: float, x: tuple[float, float], z: tuple[float, float]) -> Floats:
    """Level rectangle (4, 3) at height y."""
    return np.array([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])])
