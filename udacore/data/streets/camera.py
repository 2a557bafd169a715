"""The pinhole camera: metres of the street to pixels of the canvas."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR = 1.0  # metres; what lies nearer is moved there
FAR = 400.0


@attrs.frozen
class Camera:
    """Looks along z (ahead); x points right, y up from the ground. Lengths in
    metres, pixels of the canvas."""

    focal: float  # pixels
    height: float  # metres above the ground
    horizon: float  # row
    centre: float  # column of the vanishing point
    lateral: float  # metres right of the road's middle

    def project(self, points: Floats) -> Floats:
        """Points (..., 3) as x, y, z -> (..., 2) as column, row."""
        scale = self.focal / np.maximum(points[..., 2], NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + (points[..., 0] - self.lateral) * scale
        pixels[..., 1] = self.horizon + (self.height - points[..., 1]) * scale
        return pixels

    def ground(self, width: int, height: int) -> tuple[Floats, Floats]:
        """Where the pixels of a canvas meet the ground: x (height, width) and z (height, 1); z is
        FAR from the horizon up."""
        below = np.arange(height) + 0.5 - self.horizon
        z = np.minimum(self.focal * self.height / np.maximum(below, 1e-3), FAR)[:, None]
        x = self.lateral + (np.arange(width)[None, :] + 0.5 - self.centre) * z / self.focal
        return x, z

    def side_depth(self, side: Floats, width: int) -> Floats:
        """Depth (height, width) of upright planes x = side seen in each column; `side`
        (height, width) may be NaN."""
        column = np.arange(width)[None, :] + 0.5 - self.centre
        column = np.where(np.abs(column) < 0.5, 0.5, column)
        return np.clip(np.abs(self.focal * (side - self.lateral) / column), NEAR, FAR)


def draw_camera(rng: np.random.Generator, size: tuple[int, int], layout: float) -> Camera:
    """A random camera for a canvas of `size` (width, height); `layout` makes it a
    longer lens on a lower car."""
    width, height = size
    return Camera(
        focal=width * rng.uniform(0.72, 0.9) * (1 + 0.45 * layout),
        height=rng.uniform(1.55, 2.0) * (1 - 0.28 * layout),
        horizon=height * (rng.uniform(0.40, 0.48) + 0.10 * layout * rng.uniform(-0.5, 1.0)),
        centre=width * rng.uniform(0.40, 0.60),
        lateral=rng.uniform(0.6, 2.6),
    )
