"""The canvas: a map of item numbers, and what each item is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from udacore.data.streets.camera import Floats

LIMIT = 8000  # pixels; keeps coordinates inside the integers of the polygon filler
ON_GROUND = float("nan")  # depth of items that lie on the ground: each row has its own


class Canvas:
    """Item numbers (height, width) uint16 at twice the size of the image, and tables item -> colour,
    class, depth, texture, object.

    Item 0 is nothing. An item of an upright plane along the road has its x as `side` instead of one depth.
    """

    def __init__(self, width: int, height: int) -> None:
        self.items: NDArray[np.uint16] = np.zeros((height, width), np.uint16)
        self.colours: list[NDArray[np.float64]] = [np.zeros(3)]
        self.labels: list[int] = [0]
        self.textures: list[int] = [0]
        self.depths: list[float] = [ON_GROUND]
        self.sides: list[float] = [ON_GROUND]
        self.objects: list[int] = [0]
        self.object = 0  # number of the object being drawn; 0: no object (ground, sky)

    def add(self, colour: NDArray[np.float64], label: int, texture: int, depth: float = ON_GROUND, side: float = ON_GROUND) -> int:
        """A new item's number."""
        self.colours.append(colour)
        self.labels.append(label)
        self.textures.append(texture)
        self.depths.append(depth)
        self.sides.append(side)
        self.objects.append(self.object)
        return len(self.colours) - 1

    def begin_object(self) -> None:
        """What is added from here on belongs to one more object."""
        self.object = max(self.objects[-1], self.object) + 1

    def fill(self, item: int, pixels: Floats) -> None:
        """Fill polygons (n, corners, 2) or one (corners, 2); polygons of one call must not overlap."""
        corners = np.minimum(np.maximum(np.rint(pixels), -LIMIT), LIMIT).astype(np.int32)  # quicker than np.clip
        if corners.ndim == 2:
            cv2.fillPoly(self.items, [corners], item)
        elif len(corners):
            cv2.fillPoly(self.items, list(corners), item)

    def disc(self, item: int, middle: Floats, radii: tuple[float, float]) -> None:
        """Fill an upright ellipse; `middle` (2,) and `radii` (horizontal, vertical) in pixels."""
        axes = (max(1, min(LIMIT, round(radii[0]))), max(1, min(LIMIT, round(radii[1]))))
        column, row = (max(-LIMIT, min(LIMIT, round(value))) for value in middle.tolist())
        cv2.ellipse(self.items, (column, row), axes, 0.0, 0.0, 360.0, item, -1)
