"""How alike the pixels of two maps are, some rows at a time (algorithms/clp 5.2, 5.3).

Letters: C channels, L pixels of a map in raster order, R of them that are looked at together as rows. A
similarity of all pixels with all others is never held whole: `strips` takes some rows at a time, so that
memory is linear in L.

Two kinds: `cos`, the cosine of two feature vectors, and `kl`, minus the Kullback-Leibler divergence of two
class distributions. Of the latter only the part that varies along a row is computed: what is constant there
cancels in a softmax, in its largest entry, in the deviation and in all gradients. For the same reason each
class's logarithms may be counted from the largest of the map: what is left is small where classes are about
equally probable, and keeps its digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.errors import ConfigError

Kind = Literal["cos", "kl"]
Chosen = Tensor | slice
"""Pixels of a map: their numbers (R int64, each at most once), or a stretch of them."""

ROWS = 512
"""Rows of a similarity that are held together: 17 MiB at the published 92 x 92 pixels, which a
CPU's caches can follow."""
DEVICE_STRIP = 2**25
"""Entries of the rows that are held together on other devices, which have room and pay for each
launch: 128 MiB in float32."""
_SHORTEST = 1e-12
EPSILON = 1e-10
"""Added to probabilities before their logarithm, and to deviations."""
_CHANNELS = 64
_DEEP = 256
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


@attrs.frozen
class Pixels:
    """One map (C L) as it is compared: the similarity of i and j is (query_i . key_j) scale_i scale_j.

    query, key  C L: the map as rows and as columns; for `cos` of equal values
    scale       L: one over the length of each pixel's vector (0 for a vector of no length); for `kl` None

    A key of many channels is laid out pixel by pixel, as products that sum over channels read it fastest.
    """

    query: Tensor
    key: Tensor
    scale: Tensor | None

    @property
    def symmetric(self) -> bool:
        """Whether i is to j as j is to i."""
        return self.scale is not None

    @property
    def summand(self) -> Tensor:
        """The key (C L) once more, in the layout in which sums over pixels read it fastest."""
        return self.query if self.symmetric else self.key

    @property
    def count(self) -> int:
        """Number of pixels."""
        return self.key.shape[1]


def make_pixels(x: Tensor, kind: Kind) -> Pixels:
    """A map `x` (C L) made ready, with one more of its size."""
    if kind == "kl":
        key = (x + EPSILON).log_()
        return Pixels(x, key.sub_(key.amax(1, keepdim=True)), None)
    length = torch.linalg.vector_norm(x, dim=0)
    return Pixels(x, x.T.contiguous().T, torch.where(length > _SHORTEST, 1 / length, 0.0))


def flatten(x: Tensor, kind: Kind) -> Tensor:
    """The maps `x` (N C h w) as N C L, half precision widened to float32; a copy is not made.

    Raises ConfigError for maps of one pixel, whose similarities have no deviation, and for an unknown kind.
    """
    if kind not in ("cos", "kl"):
        raise ConfigError(f"similarity {kind!r} is not known; possible: cos, kl")
    if x.shape[-2] * x.shape[-1] < 2:
        raise ConfigError("pixel association needs maps of two pixels or more; given 1 x 1 (take larger crops or a larger scale factor)")
    return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).flatten(2)


def strips(rows: int, columns: Pixels) -> Iterator[slice]:
    """Stretches that cover so many rows of a similarity with `columns`: `ROWS` of them, on other devices
    than a CPU `DEVICE_STRIP` entries."""
    step = ROWS if columns.key.device.type == "cpu" else max(ROWS, DEVICE_STRIP // columns.count)
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


def product(x: Tensor, y: Tensor) -> Tensor:
    """x @ y, for long sums in float32 on a CPU by oneDNN.

    torch takes MKL for that, which on AMD's processors runs at half of oneDNN's speed;
    elsewhere they are about even.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] >= _DEEP and y.numel() and _HAS_ONEDNN:
        return F.linear(x.contiguous().to_mkldnn(), y.T).to_dense()
    return x @ y


def compare(rows: Pixels, chosen: Chosen, columns: Pixels) -> tuple[Tensor, Tensor]:
    """Scaled queries (C R) of the chosen rows, and their similarity (R L) to all columns,
    which may be overwritten."""
    query = rows.query[:, chosen]
    if rows.scale is not None:
        query = query * rows.scale[chosen]
    similarity = product(query.T, columns.key)
    if columns.scale is not None:
        similarity *= columns.scale
    return query, similarity


def contrast(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Score rows (R L) in place: less their mean, by their deviation with divisor L - 1; returns both
    numbers' (R) mean and 1 / deviation."""
    mean = similarity.mean(1)
    similarity -= mean[:, None]
    deviation = torch.linalg.vector_norm(similarity, dim=1) / (similarity.shape[1] - 1) ** 0.5
    factor = 1 / (deviation + EPSILON)
    similarity *= factor[:, None]
    return mean, factor


def scored_similarity(rows: Tensor, columns: Tensor, kind: Kind) -> Tensor:
    """The scores of all pixels of one map against all of another, whole: for a look at small
    maps (algorithms/clp 5.3).

    rows, columns  N C h w and N C H W

    Returns N (h w) (H W): rows of softmax((S - mean) / (deviation + 1e-10)). No gradient.
    """
    found = []
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        for x, y in zip(flatten(rows, kind), flatten(columns, kind), strict=True):
            _, similarity = compare(make_pixels(x, kind), slice(None), make_pixels(y, kind))
            contrast(similarity)
            found.append(similarity.softmax(1))
    return torch.stack(found)


@attrs.frozen
class Gradient:
    """What has been gathered so far: gradients with respect to queries and keys (C L), scales held
    fixed; for `cos` one tensor."""

    query: Tensor
    key: Tensor


def start_gradient(pixels: Pixels, into: Tensor) -> Gradient:
    """Gather in `into` (C L), which is set to zero."""
    into.zero_()
    return Gradient(into, into if pixels.symmetric else torch.zeros_like(pixels.key))


def finish_gradient(x: Tensor, pixels: Pixels, gradient: Gradient) -> None:
    """Make of it the gradient with respect to the map `x` (C L), in `gradient.query`.

    For `cos` what is gathered loses its part along each vector: a longer vector is no more alike.
    """
    if pixels.scale is None:
        gradient.query.add_(gradient.key / (x + EPSILON))
    else:
        gradient.query.addcmul_(x, pixels.scale.square() * dot(x, gradient.query), value=-1)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Scalar product (L) of the vectors of each pixel of two maps (C L), without a third map."""
    total = x.new_zeros(x.shape[1])
    for first in range(0, len(x), _CHANNELS):
        total += (x[first : first + _CHANNELS] * y[first : first + _CHANNELS]).sum(0)
    return total
