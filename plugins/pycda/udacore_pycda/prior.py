"""What the source's labels tell beforehand: class frequencies, and the same at every
position (algorithms/pycda 6.2)."""

from __future__ import annotations

import hashlib
import logging
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from udacore import ranks
from udacore.data.statistics import cache_folder
from udacore.errors import ConfigError
from udacore.files import atomic, find_zip_damage

log = logging.getLogger(__name__)
Counts = NDArray[np.int32]
"""H W K: how often each class lies at each position, over all labels."""

_BUFFER = "spatial_prior_"


def count_positions(labels: Iterable[Tensor], num_classes: int) -> Tensor:
    """H W K int32: how often each class lies at each position.

    labels  N H W int64, all of one size; what is no class counts nowhere

    Raises ValueError for labels of several sizes.
    """
    counts = torch.zeros(0, dtype=torch.int32)
    for label in labels:
        height, width = label.shape[1:]
        if not counts.numel():
            counts = torch.zeros(height, width, num_classes, dtype=torch.int32, device=label.device)
        if counts.shape[:2] != (height, width):
            raise ValueError(f"labels of {counts.shape[1]} x {counts.shape[0]} and of {width} x {height} pixels")
        for one in label:
            is_class = (one >= 0) & (one < num_classes)
            counts.scatter_add_(2, one.where(is_class, 0)[..., None], is_class.to(torch.int32)[..., None])
    return counts


def class_histogram(counts: NDArray[Any]) -> NDArray[np.float64]:
    """K frequencies, sum 1, from counts H W K; uniform where nothing was counted."""
    total: NDArray[np.float64] = counts.sum((0, 1), dtype=np.float64)
    return total / total.sum() if total.sum() else np.full(len(total), 1 / len(total))


def spatial_prior(counts: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """K H W frequencies at each position, sum 1, from counts or weights H W C; uniform where a
    position was never labelled.

    Channels from `num_classes` on are no classes and left out.
    """
    weights = np.asarray(counts[..., :num_classes], np.float64)
    total = weights.sum(2, keepdims=True)
    prior = np.divide(weights, total, out=np.full_like(weights, 1 / num_classes), where=total > 0)
    return np.ascontiguousarray(prior.transpose(2, 0, 1))


def pool_prior(prior: NDArray[np.float64], side: int) -> Tensor:
    """K h w float32: the prior of the squares, averaged in double precision."""
    return F.avg_pool2d(torch.from_numpy(prior)[None], side)[0].float()


class SourceStatistics(nn.Module):
    """What the model remembers of the source's labels, as buffers; empty until `fill` or `read_files`.

    histogram          K float32
    size               2 int64: height and width of the input that the prior is for; 0 where there is none
    spatial_prior_{b}  K h w float32 for squares of b pixels

    What the files of `read_files` brought wins over loaded weights and over `fill`.
    """

    histogram: Tensor
    size: Tensor

    def __init__(self, num_classes: int, box_sizes: Sequence[int]) -> None:
        super().__init__()
        self._given: dict[str, Tensor] = {}
        self.register_buffer("histogram", torch.zeros(num_classes))
        self.register_buffer("size", torch.zeros(2, dtype=torch.int64))
        for side in sorted(set(box_sizes)):
            self.register_buffer(f"{_BUFFER}{side}", torch.zeros(num_classes, 0, 0))

    @property
    def priors(self) -> dict[int, Tensor]:
        """K h w by side, those that are there."""
        sides = {int(name.removeprefix(_BUFFER)): self.get_buffer(name) for name in self._prior_names()}
        return {side: buffer for side, buffer in sides.items() if buffer.numel()}

    def fill(self, counts: NDArray[Any]) -> None:
        """Remember what counts H W K tell; what a file told is kept."""
        if "histogram" not in self._given:
            self.fill_histogram(class_histogram(counts))
        if "size" not in self._given:
            self.fill_prior(spatial_prior(counts, len(self.histogram)))

    def fill_histogram(self, histogram: NDArray[Any]) -> None:
        """Remember K class frequencies."""
        self.histogram.copy_(torch.from_numpy(np.asarray(histogram, np.float32)))

    def fill_prior(self, prior: NDArray[np.float64]) -> None:
        """Remember the prior K H W of all sides."""
        self.size.copy_(torch.tensor(prior.shape[1:]))
        for name in self._prior_names():
            side = int(name.removeprefix(_BUFFER))
            if side <= min(prior.shape[1:]):
                self.register_buffer(name, pool_prior(prior, side).to(self.histogram.device))

    def _prior_names(self) -> list[str]:
        return [name for name in self._buffers if name.startswith(_BUFFER)]

    def insist(self, *names: str) -> None:
        """Hold on to these buffers, whatever weights and `fill` bring."""
        self._given |= {name: self.get_buffer(name).clone() for name in names}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if name.startswith(_BUFFER) and "size" in self._given and name not in self._given:
                del state_dict[key]  # a prior of other labels
            elif name.startswith(_BUFFER) and name not in self._buffers:  # squares that this round does not ask for are kept
                self.register_buffer(name, torch.empty_like(state_dict[key], device=self.histogram.device))
        for name, value in self._given.items():
            self.register_buffer(name, value.clone())
            state_dict[prefix + name] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def read_files(statistics: SourceStatistics, prior: str | None, histogram: str | None) -> None:
    """Fill in what files hold; ConfigError, one line, for one that is missing or is something else."""
    num_classes = len(statistics.histogram)
    if prior is not None:
        counts = read_prior(Path(prior), num_classes)
        statistics.fill_prior(spatial_prior(counts, num_classes))
        statistics.insist("size", *(f"{_BUFFER}{side}" for side in statistics.priors))
    if histogram is not None:
        statistics.fill_histogram(read_histogram(Path(histogram), num_classes))
        statistics.insist("histogram")


def read_prior(path: Path, num_classes: int) -> NDArray[Any]:
    """Counts or frequencies H W C from our .npz, C = K, or a plain .npy, C >= K; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        is_ours = isinstance(loaded, np.lib.npyio.NpzFile)
        counts = loaded["counts"] if is_ours else loaded
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"method.prior: {path} is no spatial prior: {error}") from error
    fits = counts.ndim == 3 and (counts.shape[2] == num_classes if is_ours else counts.shape[2] >= num_classes)
    if not fits or counts.dtype.kind not in "iuf" or not np.isfinite(counts).all() or (counts < 0).any():
        least = "" if is_ours else "at least "
        raise ConfigError(f"method.prior: {path}: {counts.shape} of {counts.dtype}; needed: H x W x {least}{num_classes} counts, none negative")
    return np.asarray(counts)


def read_histogram(path: Path, num_classes: int) -> NDArray[np.float64]:
    """K frequencies from a text file, brought to a sum of 1."""
    try:
        values = np.array([float(word) for word in path.read_text().replace(",", " ").split()])
    except (OSError, ValueError) as error:
        raise ConfigError(f"method.histogram: {path}: {error}") from error
    if len(values) != num_classes or not np.isfinite(values).all() or (values < 0).any() or not values.sum():
        raise ConfigError(f"method.histogram: {path} holds {len(values)} numbers; needed: the frequencies of {num_classes} classes")
    frequencies: NDArray[np.float64] = values / values.sum()
    return frequencies


def cached_counts(key: Sequence[str], count: Callable[[], Tensor]) -> Counts:
    """Counts H W K under `key` from the user's cache folder, else those that `count()` finds, pooled
    over ranks and kept there."""
    path = cache_folder() / f"positions-{hashlib.sha256(chr(10).join(key).encode()).hexdigest()[:32]}.npz"
    kept = _load(path)
    if all(ranks.all_gather_object(kept is not None)) and kept is not None:
        return kept
    counts: Counts = _pool(count()).cpu().numpy()
    if ranks.is_main():
        write_counts(path, counts)
    return counts


def _pool(counts: Tensor) -> Tensor:
    """Sum over ranks, of which some may have had no label at all."""
    shapes = {tuple(shape) for shape in ranks.all_gather_object(list(counts.shape)) if math.prod(shape)}
    if len(shapes) > 1:
        one, other, *_ = sorted(shapes)
        raise ValueError(f"labels of {one[1]} x {one[0]} and of {other[1]} x {other[0]} pixels")
    if not counts.numel() and shapes:
        counts = counts.new_zeros(shapes.pop())
    return ranks.all_sum(counts)


def _load(path: Path) -> Counts | None:
    try:
        if find_zip_damage(path) is not None:
            raise zipfile.BadZipFile
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            counts: Counts = arrays["counts"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        log.warning("%s is damaged and is made anew", path)
        return None
    return counts if counts.ndim == 3 and counts.dtype == np.int32 else None


def write_counts(path: Path, counts: Counts) -> None:
    """Write at once or not at all; a file that cannot be written is only a loss of time."""
    try:
        with atomic(path, shared=True) as file:
            np.savez_compressed(file, counts=counts)
    except OSError as error:
        log.warning("the spatial prior could not be kept: %s", error)

