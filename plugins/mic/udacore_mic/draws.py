"""The random draws of a step (algorithms/mic 5.8), from generators on the CPU.

What belongs to the batch is drawn from the step's own generator, which is alike on all ranks. What belongs to
an image is drawn from a generator of that image, seeded by a number of the step and the image's name: it
depends neither on the image's place in the batch nor on its rank. So a resumed run draws the same again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from udacore_mic.augmentation import Augmentation, Jitter

SIGMA = (0.15, 1.15)
"""Smallest and largest standard deviation of the blur, in pixels."""


def image_generators(generator: Generator, names: Sequence[str]) -> list[Generator]:
    """A generator for each image, from one draw and the image's name."""
    draw = int(torch.randint(2**31, (), generator=generator))
    return [Generator().manual_seed(zlib.crc32(f"{draw} {name}".encode())) for name in names]


def draw_decisions(generator: Generator, jitter_threshold: float, blur_threshold: float) -> tuple[bool, bool]:
    """Whether the batch is jittered, and whether it is blurred: where a uniform number is above the threshold."""
    jitter, blur = torch.rand(2, generator=generator).tolist()
    return jitter > jitter_threshold, blur > blur_threshold


def draw_augmentation(
    images: Sequence[Generator], decisions: tuple[bool, bool], strength: float, together: Generator | None = None
) -> Augmentation:
    """The numbers of an augmentation of which the `decisions` (jitter, blur) are made.

    images    a generator for each image: all that follows a decision is drawn, whatever it is
    strength  factors lie in [1 - strength, 1 + strength], shifts of the hue in [-strength, strength]
    together  draws one order of the changes and one sigma for all images; None: each image its own
    """
    factors = torch.stack([torch.rand(4, generator=one) for one in images]).mul_(2).sub_(1).mul_(strength)
    factors[:, :3] += 1
    shared = [together] if together is not None else images
    order = torch.stack([torch.randperm(4, generator=one) for one in shared]).expand(len(images), 4)
    sigma = [SIGMA[0] + (SIGMA[1] - SIGMA[0]) * float(torch.rand((), generator=one)) for one in shared]
    jitter, blur = decisions
    return Augmentation(
        jitter=Jitter(factors=factors, order=order) if jitter else None,
        sigma=(sigma if together is None else sigma * len(images)) if blur else None,
    )


def draw_chance(images: Sequence[Generator], num_classes: int) -> Tensor:
    """N K + 1 numbers from 0 to 1, for the choice of classes."""
    return torch.stack([torch.rand(num_classes + 1, generator=one) for one in images])


def draw_noise(images: Sequence[Generator], grid: tuple[int, int]) -> Tensor:
    """N 1 rows columns numbers from 0 to 1, for the blocks of a mask."""
    return torch.stack([torch.rand(1, *grid, generator=one) for one in images])
