"""Trees, bushes, fences, poles with signs, and persons; each in its source form or in a new one."""

from __future__ import annotations

import numpy as np

from udacore.data.streets.painter import Painter, along_box, facing, facing_box


def draw_tree(painter: Painter, x: float, z: float) -> None:
    """A trunk with a crown of discs; in the new form a conifer of three stacked triangles."""
    rng = painter.rng
    painter.canvas.begin_object()
    trunk, leaf = painter.item("trunk", z), painter.item("leaf", z)
    conifer = painter.takes_new_form()
    height = rng.uniform(5.0, 8.0)
    painter.fill(trunk, facing_box(z, (x - 0.15, x + 0.15), (0.0, 0.5 * height)))
    if conifer:
        half = rng.uniform(1.0, 1.7)
        for layer in range(3):
            low = height * (0.15 + 0.26 * layer)
            width = half * (1 - 0.27 * layer)
            item = leaf if layer % 2 == 0 else painter.shade(leaf, 1.12)
            painter.fill(item, facing(z, [(x - width, low), (x + width, low), (x, low + 0.42 * height)]))
        return
    radius = rng.uniform(1.3, 2.2)
    lit = painter.shade(leaf, 1.2)
    for number in range(5):
        item = lit if number > 2 else leaf
        dx, dy = rng.uniform(-0.6, 0.6) * radius, rng.uniform(-0.45, 0.45) * radius
        size = radius * rng.uniform(0.5, 0.85)
        painter.disc(item, (x + dx, height - radius + dy + 0.15 * (number > 2), z), (size, 0.85 * size))


def draw_bush(painter: Painter, x: float, z: float) -> None:
    """A low heap of discs; in the new form a box hedge."""
    rng = painter.rng
    painter.canvas.begin_object()
    leaf = painter.item("leaf", z)
    half, height = rng.uniform(0.8, 1.6), rng.uniform(0.8, 1.3)
    if painter.takes_new_form():
        painter.fill(leaf, facing_box(z, (x - half, x + half), (0.0, height)))
        painter.fill(painter.shade(leaf, 1.2), facing_box(z, (x - half, x + half), (0.75 * height, height)))
        return
    for dx in (-0.5, 0.5, 0.0):
        painter.disc(leaf, (x + dx * half, 0.42 * height, z), (0.6 * half, 0.55 * height))


def draw_fence(painter: Painter, x: float, z: tuple[float, float]) -> None:
    """Upright planks along the road on a panel; in the new form three rails."""
    rng = painter.rng
    painter.canvas.begin_object()
    height = rng.uniform(1.2, 1.8)
    panel, wood = painter.item("panel", side=x), painter.item("fence", side=x)
    painter.fill(panel, along_box(x, z, (0.0, 0.92 * height)))
    if painter.takes_new_form():
        for level in (0.2, 0.5, 0.8):
            painter.fill(wood, along_box(x, z, (level * height - 0.08, level * height + 0.08)))
        return
    step = 0.45 if z[1] < 30 else 0.9
    starts = np.arange(max(z[0], 2.0), z[1], step)
    corners = np.empty((len(starts), 4, 3))
    corners[..., 0] = x
    corners[..., 1] = np.array([0.0, 0.0, height, height])
    corners[..., 2] = starts[:, None] + np.array([0.0, 0.5 * step, 0.5 * step, 0.0])
    painter.fill(wood, corners)


def draw_lamp_post(painter: Painter, x: float, z: float) -> None:
    """A tall pole with an arm over the road."""
    rng = painter.rng
    painter.canvas.begin_object()
    pole = painter.item("pole", z)
    height, half = rng.uniform(5.0, 8.0), rng.uniform(0.11, 0.18)
    painter.fill(pole, facing_box(z, (x - half, x + half), (0.0, height)))
    reach = x - np.sign(x) * rng.uniform(1.0, 2.0)
    painter.fill(pole, facing_box(z, (min(x, reach), max(x, reach)), (height - 0.14, height)))


def draw_sign(painter: Painter, x: float, z: float) -> None:
    """A pole with one or two plates: round, triangular or square."""
    rng = painter.rng
    painter.canvas.begin_object()
    pole = painter.item("pole", z)
    height, half = rng.uniform(2.5, 3.4), rng.uniform(0.07, 0.11)
    painter.fill(pole, facing_box(z, (x - half, x + half), (0.0, height)))
    painter.canvas.begin_object()  # the plate may be seen where its pole is not
    for number in range(1 + int(rng.uniform() < 0.35)):
        _draw_plate(painter, (x, height - 0.3 - 1.0 * number, z - 0.05), rng.uniform(0.42, 0.6))


def _draw_plate(painter: Painter, middle: tuple[float, float, float], radius: float) -> None:
    x, y, z = middle
    face, inner = painter.item("sign", z), painter.item("plate", z)
    form = int(painter.rng.integers(3))
    if form == 0:
        painter.disc(face, middle, (radius, radius))
        painter.disc(inner, middle, (0.5 * radius, 0.5 * radius))
    elif form == 1:
        for item, size in ((face, 1.15 * radius), (inner, 0.55 * radius)):
            painter.fill(item, facing(z, [(x - size, y - 0.7 * size), (x + size, y - 0.7 * size), (x, y + size)]))
    else:
        painter.fill(face, facing_box(z, (x - radius, x + radius), (y - radius, y + radius)))
        painter.fill(inner, facing_box(z, (x - 0.5 * radius, x + 0.5 * radius), (y - 0.3 * radius, y + 0.3 * radius)))


def draw_person(painter: Painter, x: float, z: float) -> None:
    """Legs, body, arms and head; in the new form a long coat, and half of these with an umbrella."""
    rng = painter.rng
    painter.canvas.begin_object()
    upper, lower, skin = painter.item("cloth", z), painter.item("cloth", z), painter.item("skin", z)
    size, stride = rng.uniform(0.88, 1.1), rng.uniform(0.02, 0.22)

    def body(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + size * dx, size * y) for dx, y in corners]

    for sign in (-1, 1):
        leg = [(sign * 0.02, 0.85), (sign * 0.19, 0.85), (sign * (0.14 + stride), 0.0), (sign * stride, 0.0)]
        painter.fill(lower, facing(z, body(leg)))
    if painter.takes_new_form():
        painter.fill(upper, facing(z, body([(-0.36, 0.4), (0.36, 0.4), (0.22, 1.45), (-0.22, 1.45)])))
        if rng.uniform() < 0.5:
            turn = np.linspace(0.0, np.pi, 9)
            shade = painter.item("cloth", z)
            painter.fill(shade, facing(z, body([(0.6 * float(np.cos(a)), 1.75 + 0.35 * float(np.sin(a))) for a in turn])))
    else:
        painter.fill(upper, facing(z, body([(-0.2, 0.8), (0.2, 0.8), (0.25, 1.42), (-0.25, 1.42)])))
        arm = painter.shade(upper, 0.8)
        for sign in (-1, 1):
            painter.fill(arm, facing(z, body([(sign * 0.24, 1.4), (sign * 0.34, 0.8), (sign * 0.25, 0.8), (sign * 0.2, 1.4)])))
    painter.disc(skin, (x, 1.58 * size, z), (0.12 * size, 0.15 * size))
