"""Facades along the street and the skyline behind it."""

from __future__ import annotations

import numpy as np

from udacore.data.streets.camera import Floats
from udacore.data.streets.painter import Painter, along, along_box, facing_box

FLOOR = 3.0  # metres


def draw_building(painter: Painter, x: float, z: tuple[float, float]) -> None:
    """A block whose front lies along the road at x, from z[0] to z[1]; in the
    new form with ribbon windows."""
    rng = painter.rng
    painter.canvas.begin_object()
    floors = max(1, round(rng.uniform(2.0, 6.4) * (1 - 0.4 * painter.strengths.layout)))
    height = floors * FLOOR + rng.uniform(0.4, 1.0)
    wall = painter.item("wall", side=x)
    outer = x + np.sign(x) * 9.0
    _draw_end(painter, wall, (min(x, outer), max(x, outer)), (z[0], height))
    painter.fill(wall, along_box(x, z, (0.0, height)))
    window = painter.item("window", side=x)
    painter.fill(window, _ribbons(x, z, floors) if painter.takes_new_form() else _windows(x, z, floors, rng))
    if rng.uniform() < 0.6:
        door = z[0] + (z[1] - z[0]) * rng.uniform(0.2, 0.7)
        painter.fill(painter.item("door", side=x), along_box(x, (door, door + 1.3), (0.0, 2.2)))
    if rng.uniform() < 0.5:
        _draw_roof(painter, x, z, height)


def _draw_end(painter: Painter, wall: int, x: tuple[float, float], near: tuple[float, float]) -> None:
    z, height = near
    canvas = painter.canvas
    if z <= 1.5:
        return
    end = canvas.add(0.8 * canvas.colours[wall], canvas.labels[wall], canvas.textures[wall], depth=z)
    painter.fill(end, facing_box(z, x, (0.0, height)))


def _draw_roof(painter: Painter, x: float, z: tuple[float, float], height: float) -> None:
    rise = painter.rng.uniform(1.0, 2.4)
    roof = painter.item("roof", side=x)
    back = x + np.sign(x) * 3.0
    slope = along(x, [(z[0], height), (z[1], height), (z[1], height + rise), (z[0], height + rise)])
    slope[2:, 0] = back
    painter.fill(roof, slope)


def _ribbons(x: float, z: tuple[float, float], floors: int) -> Floats:
    return np.stack([along_box(x, z, (FLOOR * k + 1.0, FLOOR * k + 1.0 + 0.4 * FLOOR)) for k in range(floors)])


def _windows(x: float, z: tuple[float, float], floors: int, rng: np.random.Generator) -> Floats:
    count = max(1, round((z[1] - z[0]) / rng.uniform(2.4, 3.6)))
    bay = (z[1] - z[0]) / count
    starts = z[0] + bay * (np.arange(count) + 0.28)
    bottoms = FLOOR * np.arange(floors) + 0.95
    corners = np.empty((floors, count, 4, 3))
    corners[..., 0] = x
    corners[..., 1] = bottoms[:, None, None] + np.array([0.0, 0.0, 1.45, 1.45])
    corners[..., 2] = starts[None, :, None] + bay * np.array([0.0, 0.44, 0.44, 0.0])
    shown: Floats = corners.reshape(-1, 4, 3)
    return shown[shown[:, 1, 2] > 1.2]


def draw_backdrop(painter: Painter) -> None:
    """Far buildings and trees, shoulder to shoulder across the whole image."""
    rng, camera, canvas = painter.rng, painter.camera, painter.canvas
    width = canvas.items.shape[1]
    depth, column = rng.uniform(90.0, 130.0), -0.04 * width
    while column < width:
        step = width * rng.uniform(0.05, 0.16)
        green = rng.uniform() < 0.35
        item = painter.item("leaf" if green else "wall", depth)
        tall = rng.uniform(5.0, 10.0) if green else rng.uniform(7.0, 22.0) * (1 - 0.4 * painter.strengths.layout)
        top = camera.horizon + (camera.height - tall) * camera.focal / depth
        bottom = camera.horizon + camera.height * camera.focal / depth + 1
        canvas.fill(item, np.array([(column, bottom), (column + step, bottom), (column + step, top), (column, top)]))
        if green:
            canvas.disc(item, np.array([column + step / 2, top]), (0.5 * step, 0.25 * step))
        column += step
