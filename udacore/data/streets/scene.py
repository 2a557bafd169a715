"""One street: sky, ground and the objects, sorted from far to near."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np

from udacore.data.streets.buildings import draw_backdrop, draw_building
from udacore.data.streets.objects import draw_bush, draw_fence, draw_lamp_post, draw_person, draw_sign, draw_tree
from udacore.data.streets.painter import Painter
from udacore.data.streets.vehicles import draw_bus, draw_car

END = 95.0  # metres; the street's last objects
Things = list[tuple[float, Callable[[], None]]]  # (where it is in the order from far to near, what draws it)


@attrs.frozen
class Street:
    """Measures in metres: half the road, from there outwards the grass verge, and the sidewalk."""

    road: float
    verge: float
    walk: float
    gardens: tuple[float, float]  # at the left and at the right, between the sidewalk and the first facades

    @property
    def edge(self) -> float:
        """Where the sidewalk ends."""
        return self.road + self.verge + self.walk


def draw_scene(painter: Painter, walk: tuple[float, float]) -> None:
    """Draw one street on the painter's canvas; `walk` is the range of the sidewalk's width, metres."""
    rng, layout = painter.rng, painter.strengths.layout
    left, right = (float(rng.uniform(2.0, 6.0)) if rng.uniform() < 0.5 else 0.0 for _ in range(2))
    verge = rng.uniform(0.9, 1.9) if rng.uniform() < 0.4 else 0.0
    street = Street(rng.uniform(3.8, 5.6) * (1 - 0.18 * layout), verge, rng.uniform(*walk), (left, right))
    draw_sky(painter)
    draw_ground(painter, street)
    draw_backdrop(painter)
    things: Things = []
    for side in (-1, 1):
        _line_street(painter, street, side, things)
        _furnish_walk(painter, street, side, things)
    _add_traffic(painter, street, things)
    _add_persons(painter, street, things)
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()


def draw_sky(painter: Painter) -> None:
    """Sky over the whole canvas, and a few clouds."""
    rng, canvas = painter.rng, painter.canvas
    height, width = canvas.items.shape
    canvas.items[:] = painter.item("sky", depth=400.0)
    for _ in range(int(rng.integers(0, 5))):
        cloud = painter.item("cloud", depth=400.0)
        column, row = rng.uniform(0, width), rng.uniform(0, 0.4 * height)
        for _ in range(3):
            shift = rng.uniform(-0.06, 0.06, size=2) * (width, 0.4 * height)
            canvas.disc(cloud, np.array([column, row]) + shift, (width * rng.uniform(0.03, 0.08), height * rng.uniform(0.02, 0.05)))


def draw_ground(painter: Painter, street: Street) -> None:
    """Terrain, sidewalks with their curb, the road and its lane marks."""
    rng, canvas = painter.rng, painter.canvas
    height, width = canvas.items.shape
    x, z = painter.camera.ground(width, height)
    across = np.abs(x)
    terrain, walk, curb = painter.item("terrain"), painter.item("walk"), painter.item("curb")
    road, mark = painter.item("road"), painter.item("mark")
    items = np.full((height, width), terrain, np.uint16)
    items[across < street.edge] = walk
    if street.verge > 0:
        items[across < street.road + street.verge] = terrain
    items[across < street.road + 0.25] = curb
    items[across < street.road] = road
    period, phase = rng.uniform(6.0, 10.0), rng.uniform(0.0, 6.0)
    dashed = ((z + phase) % period) < 0.5 * period
    items[(across < 0.12) & dashed] = mark
    if rng.uniform() < 0.5:
        items[np.abs(across - street.road + 0.35) < 0.08] = mark
    if rng.uniform() < 0.2:  # a crossing
        start = rng.uniform(7.0, 20.0)
        items[(z > start) & (z < start + 3.0) & (across < street.road - 0.3) & ((x % 1.0) < 0.5)] = mark
    below = np.arange(height) + 0.5 > painter.camera.horizon
    canvas.items[below] = items[below]


def _line_street(painter: Painter, street: Street, side: int, things: Things) -> None:
    """Blocks and gaps along one side; what a thing hides lies outside of it, so its far end
    is its place in the order."""
    rng, garden = painter.rng, street.gardens[side > 0]
    z = rng.uniform(-4.0, 4.0)
    while z < END:
        end = z + rng.uniform(8.0, 20.0)
        setback = garden + (0.0 if rng.uniform() < 0.7 else rng.uniform(2.5, 6.0))
        if end < 3.0:
            z = end
            continue
        is_gap = bool(rng.uniform() < 0.3)
        near = max(z, 1.0)
        if is_gap:
            for _ in range(int(rng.integers(1, 4))):
                x = side * (street.edge + rng.uniform(1.0, 7.0))
                draw = draw_tree if rng.uniform() < 0.6 else draw_bush
                things.append((end, partial(draw, painter, x, max(4.0, rng.uniform(near, end)))))
        else:
            things.append((end, partial(draw_building, painter, side * (street.edge + setback), (near, end))))
            if setback > 0 and rng.uniform() < 0.6:
                x = side * (street.edge + 0.5 * setback)
                things.append((end - 0.01, partial(draw_bush, painter, x, max(4.0, rng.uniform(near, end)))))
        if (is_gap or setback > 0) and rng.uniform() < 0.6:
            things.append((end - 0.02, partial(draw_fence, painter, side * (street.edge + 0.1), (near, end))))
        z = end


def _furnish_walk(painter: Painter, street: Street, side: int, things: Things) -> None:
    rng = painter.rng
    z = rng.uniform(5.0, 14.0)
    while z < 50.0:
        kind, x = rng.uniform(), side * (street.road + rng.uniform(0.5, 0.9))
        if kind < 0.3:
            things.append((z, partial(draw_tree, painter, x, z)))
        elif kind < 0.6:
            things.append((z, partial(draw_lamp_post, painter, x, z)))
        elif kind < 0.95:
            things.append((z, partial(draw_sign, painter, x, z)))
        z += rng.uniform(4.0, 12.0)


def _add_traffic(painter: Painter, street: Street, things: Things) -> None:
    """Parked cars, and cars and buses on both lanes; each lane is filled from near to
    far so that nothing overlaps."""
    rng = painter.rng
    density = 1 + 0.6 * painter.strengths.layout
    lanes = [(side * (street.road - 1.1), 0.24 * density, 0.0) for side in (-1, 1)]
    lanes += [(side * 0.42 * street.road, 0.28 * density, 0.4) for side in (-1, 1)]
    for x, chance, bus_share in lanes:
        z = rng.uniform(5.0, 12.0)
        while z < 50.0:
            place = x + rng.uniform(-0.2, 0.2)
            is_bus = rng.uniform() < bus_share
            if rng.uniform() < chance:
                things.append((z, partial(draw_bus if is_bus else draw_car, painter, place, z)))
                z += 13.0 if is_bus else 5.5
            z += rng.uniform(1.0, 9.0)


def _add_persons(painter: Painter, street: Street, things: Things) -> None:
    rng = painter.rng
    for _ in range(int(rng.integers(3, 10))):
        side = 1 if rng.uniform() < 0.5 else -1
        z = 4.5 + 22.0 * rng.uniform() ** 1.5
        x = side * rng.uniform(street.road + street.verge + 0.5, street.edge - 0.3)
        if rng.uniform() < 0.1:
            x = rng.uniform(-street.road, street.road)
        things.append((z, partial(draw_person, painter, x, z)))
