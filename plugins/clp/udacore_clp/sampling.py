"""Which pixels are associated: all, those of random rows and columns, or those of maps made
smaller (algorithms/clp 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.errors import ConfigError

Sampling = Literal["none", "grid", "downsample"]
Size = tuple[int, int]
Generators = Sequence[torch.Generator]
"""Random numbers on the CPU, of each image its own: what is drawn depends neither on its place in the
batch nor on its process."""


@attrs.frozen
class Maps:
    """What a network says of one domain's images.

    features  N A h w, those before the head
    logits    N K h w
    """

    features: Tensor
    logits: Tensor

    @property
    def size(self) -> Size:
        """(h, w)."""
        return self.logits.shape[2], self.logits.shape[3]


def choose_pixels(
    source: Maps, target: Maps, label: Tensor, *, sampling: Sampling = "none", factor: float = 1.0, generators: tuple[Generators, Generators] = ((), ())
) -> tuple[Maps, Maps, Tensor]:
    """The maps and source labels that are associated (algorithms/clp 5.1).

    label       N H W, of the source at full resolution
    sampling    `none`: all pixels; `grid`: random rows and columns, drawn for each image anew;
                `downsample`: smaller maps
    factor      share of the rows and columns that remains
    generators  for `grid`: of the source's and of the target's images

    Returns source, target and labels (N h' w'). Probabilities are to be taken of the logits returned.
    """
    if sampling == "downsample":
        source, target = downsample(source, factor), downsample(target, factor)
        return source, target, downsample_label(label, source.size)
    label = downsample_label(label, source.size)
    if sampling == "none":
        return source, target, label
    grid, target_grid = (draw_grid(own, maps.size, factor) for own, maps in zip(generators, (source, target), strict=True))
    return sample_maps(source, *grid), sample_maps(target, *target_grid), sample_grid(label, *grid)


def downsample_label(label: Tensor, size: Size) -> Tensor:
    """Labels (N H W) at the maps' size (h, w): row floor(i H / h), column floor(j W / w),
    which is torch's "nearest"."""
    return F.interpolate(label[:, None].float(), size=size, mode="nearest")[:, 0].to(label.dtype)


def downsample(maps: Maps, factor: float) -> Maps:
    """Both maps with sides floor(side * factor), bilinear, coordinates by the factor itself.

    Raises ConfigError if nothing would remain.
    """
    _check(maps.size, factor)

    def smaller(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False, recompute_scale_factor=False)

    return Maps(smaller(maps.features), smaller(maps.logits))


def draw_grid(generators: Generators, size: Size, factor: float) -> tuple[Tensor, Tensor]:
    """For each generator int(h factor) rows and int(w factor) columns, in random order and each at most once.

    Returns N h' and N w' int64 on the CPU; drawn rows first, then columns.
    """
    sides = _check(size, factor)
    drawn = [[torch.randperm(full, generator=each)[:side] for full, side in zip(size, sides, strict=True)] for each in generators]
    rows, columns = (torch.stack(each) for each in zip(*drawn, strict=True))
    return rows, columns


def _check(size: Size, factor: float) -> Size:
    """The sides that remain of `size`."""
    sides = int(size[0] * factor), int(size[1] * factor)
    if min(sides) < 1:
        raise ConfigError(f"sampling_factor {factor:g} leaves nothing of a map of {size[0]} x {size[1]} pixels; take a larger one")
    return sides


def sample_maps(maps: Maps, rows: Tensor, columns: Tensor) -> Maps:
    """Both maps at the crossings of the rows (N h') and columns (N w')."""
    return Maps(sample_grid(maps.features, rows, columns), sample_grid(maps.logits, rows, columns))


def sample_grid(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What stands at the crossings of the rows (N h') and columns (N w') of `x`, N C h w or N h w."""
    rows, columns = rows.to(x.device), columns.to(x.device)
    number = torch.arange(len(x), device=x.device)[:, None, None]
    if x.ndim == 3:
        return x[number, rows[:, :, None], columns[:, None, :]]
    return x[number, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
