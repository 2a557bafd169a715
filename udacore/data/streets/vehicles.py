"""Cars, vans and buses: boxes that show the rear (or front) and the side towards the camera."""

from __future__ import annotations

import attrs
import numpy as np

from udacore.data.streets.camera import Floats
from udacore.data.streets.painter import Painter, along, along_box, facing_box, flat_box


@attrs.frozen
class Body:
    """Measures of a vehicle in metres: x of its middle, z of its near end."""

    x: float
    z: float
    length: float
    width: float
    height: float

    def side(self, lateral: float) -> float:
        """Its side that a camera at `lateral` can see."""
        return self.x - self.width / 2 if self.x > lateral else self.x + self.width / 2

    @property
    def across(self) -> tuple[float, float]:
        """Left and right."""
        return (self.x - self.width / 2, self.x + self.width / 2)


def draw_car(painter: Painter, x: float, z: float) -> None:
    """A car with a cabin; in the new form a van."""
    rng = painter.rng
    body = Body(x, z, rng.uniform(3.9, 4.7), rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.55))
    painter.canvas.begin_object()
    if painter.takes_new_form():
        _draw_box(painter, attrs.evolve(body, height=1.15 * body.height), "")
        return
    depth = z + 0.3 * body.length
    paint, glass = painter.item("paint", depth), painter.item("glass", depth)
    tyre, lamp = painter.item("tyre", depth), painter.item("lamp", depth)
    side, belt = body.side(painter.camera.lateral), 0.6 * body.height
    stations = z + body.length * np.array([0.0, 0.05, 0.22, 0.66, 0.86, 1.0])
    shaded = painter.shade(paint, 0.82)
    painter.fill(tyre, along_box(side, (stations[0], stations[5]), (0.08, 0.35)))
    painter.fill(shaded, along_box(side, (stations[0], stations[5]), (0.28, belt)))
    painter.fill(paint, flat_box(belt, body.across, (stations[0], stations[5])))
    painter.fill(shaded, along(side, [(stations[1], belt), (stations[2], body.height), (stations[3], body.height), (stations[4], belt)]))
    painter.fill(glass, along(side, [(stations[1] + 0.3, belt), (stations[2] + 0.1, body.height - 0.1),
                                     (stations[3] - 0.1, body.height - 0.1), (stations[4] - 0.3, belt)]))  # fmt: skip
    painter.fill(tyre, _wheels(side, body, 0.32))
    painter.fill(painter.shade(paint, 1.12), flat_box(body.height, body.across, (stations[2], stations[3])))
    _draw_car_end(painter, body, (paint, glass, tyre, lamp))


def _draw_car_end(painter: Painter, body: Body, items: tuple[int, int, int, int]) -> None:
    paint, glass, tyre, lamp = items
    (left, right), belt, z = body.across, 0.6 * body.height, body.z
    roof_z, inset = z + 0.22 * body.length, 0.16
    cabin = np.array([(left, belt, z + 0.05 * body.length), (right, belt, z + 0.05 * body.length),
                      (right - inset, body.height, roof_z), (left + inset, body.height, roof_z)])  # fmt: skip
    painter.fill(paint, cabin)
    middle = cabin.mean(axis=0)
    painter.fill(glass, middle + 0.8 * (cabin - middle))
    painter.fill(tyre, facing_box(z, (left + 0.08, right - 0.08), (0.05, 0.3)))
    painter.fill(paint, facing_box(z, (left, right), (0.25, belt)))
    painter.fill(lamp, _lamps(body, 0.3, (0.55, 0.72)))


def draw_bus(painter: Painter, x: float, z: float) -> None:
    """A bus: a long box with a row of side windows."""
    rng = painter.rng
    painter.canvas.begin_object()
    _draw_box(painter, Body(x, z, rng.uniform(9.0, 12.0), 2.5, rng.uniform(2.9, 3.25)), "bus ")


def _draw_box(painter: Painter, body: Body, prefix: str) -> None:
    depth = body.z + 0.3 * body.length
    paint, glass = painter.item(prefix + "paint", depth), painter.item(prefix + "glass", depth)
    tyre, lamp = painter.item(prefix + "tyre", depth), painter.item(prefix + "lamp", depth)
    side, (left, right), top = body.side(painter.camera.lateral), body.across, body.height
    near, far = body.z, body.z + body.length
    painter.fill(tyre, along_box(side, (near, far), (0.08, 0.4)))
    painter.fill(painter.shade(paint, 0.84), along_box(side, (near, far), (0.3, top)))
    count = max(2, round(body.length / 1.5))
    edges = near + 0.2 + (body.length - 0.4) * np.arange(count + 1) / count
    painter.fill(glass, np.stack([along_box(side, (edges[k] + 0.08, edges[k + 1] - 0.08), (0.52 * top, 0.85 * top)) for k in range(count)]))
    painter.fill(tyre, _wheels(side, body, 0.34 + 0.04 * top))
    painter.fill(painter.shade(paint, 1.1), flat_box(top, body.across, (near, far)))
    painter.fill(tyre, facing_box(near, (left + 0.1, right - 0.1), (0.05, 0.4)))
    painter.fill(paint, facing_box(near, (left, right), (0.3, top)))
    inset = 0.1 * body.width
    painter.fill(glass, facing_box(near, (left + inset, right - inset), (0.52 * top, 0.88 * top)))
    painter.fill(lamp, _lamps(body, 0.32, (0.5, 0.75)))


def _wheels(side: float, body: Body, radius: float) -> Floats:
    turn = np.linspace(0.0, 2 * np.pi, 9)[:-1]
    wheels = np.empty((2, 8, 3))
    wheels[..., 0] = side
    wheels[..., 1] = radius * (1 + np.sin(turn))
    wheels[..., 2] = body.z + np.array([[0.19], [0.8]]) * body.length + radius * np.cos(turn)
    return wheels


def _lamps(body: Body, width: float, y: tuple[float, float]) -> Floats:
    left, right = body.across[0] + 0.06, body.across[1] - 0.06
    return np.stack([facing_box(body.z, (left, left + width), y), facing_box(body.z, (right - width, right), y)])
