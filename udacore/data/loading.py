"""Batches: the endless stream of a domain for training, and a pass over each image at a round's end.

A sample depends on (seed, round, domain, position in the stream) alone: not on the number of worker
processes, not on the number of ranks, and not on where a resumed run began.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from itertools import groupby, islice
from typing import Any, Literal

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from udacore import ranks
from udacore.config.schema import PixelConfig, SourceConfig, TargetConfig
from udacore.data.geometry import Size, resize_image, resize_label
from udacore.data.mixture import Lane, Mixture, Table, open_lanes
from udacore.data.randomness import StreamKey, redraw
from udacore.data.samplers import Wanted
from udacore.data.tables import ImageTable
from udacore.data.transforms import (
    Sample,
    apply_transforms,
    find_label_setting,
    fixed_size,
    image_interpolation,
    normalize,
    pass_size,
    split_fixed,
)  # fmt: skip
from udacore.data.workers import load
from udacore.errors import ConfigError, DataError
from udacore.interface import PassBatch, SourceBatch, TargetBatch
from udacore.labels import LabelSpace

Share = tuple[int, int]
"""(rank, number of ranks)."""
Plan = tuple[tuple[int, int, int, Wanted | None], ...]
"""A micro-batch to be made: (position in the stream, number of the set, index of the image in it, what it must hold)
of each sample."""


@attrs.frozen(kw_only=True)
class Split:
    """How the samples of an optimiser step are dealt out: step s, micro-batch m, rank r, place i ->
    position s B + m B/acc + r B/acc/size + i.

    batch         B, images of an optimiser step over all ranks and micro-batches
    accumulation  acc, micro-batches of a step
    share         (rank, number of ranks)
    """

    batch: int
    accumulation: int = 1
    share: Share = (0, 1)

    def __attrs_post_init__(self) -> None:
        parts = self.accumulation * self.share[1]
        if self.batch % parts:
            raise ConfigError(
                f"batch: {self.batch} images do not divide into {self.accumulation} micro-batches on {self.share[1]} processes; "
                f"possible: multiples of {parts}"
            )

    def positions(self, step: int, micro: int) -> range:
        """Positions of one rank's micro-batch."""
        micro_batch = self.batch // self.accumulation
        own = micro_batch // self.share[1]
        first = step * self.batch + micro * micro_batch + self.share[0] * own
        return range(first, first + own)


def stream_batches(
    table: Table,
    entry: SourceConfig | TargetConfig,
    pixels: PixelConfig,
    *,
    space: LabelSpace,
    seed: int,
    round: str,
    domain: Literal["source", "target"],
    batch: int,
    accumulation: int = 1,
    start: int = 0,
    steps: int,
    workers: int = 0,
    pin: bool = False,
    share: Share | None = None,
) -> Generator[SourceBatch | TargetBatch, None, None]:
    """The micro-batches of one domain for this rank, from optimiser step `start` to the one
    before `steps`, on the CPU.

    entry   its `sampler` and `transform` are used, or those of its sets, and their shares
    space   label space, for class statistics
    batch   images of an optimiser step, over all ranks and micro-batches; may exceed the data set, whose
            epochs then end within it
    pin     in page-locked memory, for copies to CUDA
    share   (rank, number of ranks); default: this process's

    A target has pseudo labels if `table` has labels, which for a target only come from an overlay. All ranks
    call this or none. Raises ConfigError if the batch cannot be dealt out, the sampler needs labels that are
    missing, or images of one batch differ in size; DataError, naming the file, on iteration. Closing the
    generator ends the workers.
    """
    key = StreamKey(seed=seed, round=round, domain=domain)
    split = Split(batch=batch, accumulation=accumulation, share=share or (ranks.rank(), ranks.size()))
    lanes, order = open_lanes(table, entry, space, key, batch)
    if domain == "source" and not table.has_labels:
        raise DataError("source: its labels are needed, but were not opened")
    for lane in lanes:
        if (setting := find_label_setting(lane.steps)) and not lane.table.has_labels:
            raise ConfigError(f"{lane.place}.transform.{setting} needs labels, and there are none; possible: null")

    def plans() -> Iterator[Plan]:
        for step in range(start, steps):
            for micro in range(accumulation):
                yield tuple((position, *order(position)) for position in split.positions(step, micro))

    samples = _Samples(lanes=lanes, pixels=pixels, key=key)
    return _batches(load(samples, plans(), workers, pin), domain)


def pass_sets(
    table: Table, entry: SourceConfig | TargetConfig, pixels: PixelConfig, **choices: Any
) -> Generator[PassBatch, None, None]:
    """The pass over a domain, one set after another; `choices` as those of `pass_batches`."""
    if not isinstance(table, Mixture):
        yield from pass_batches(table, entry.transform, pixels, **choices)
        return
    for name, member in table.members.items():
        for batch in pass_batches(member, entry.sets[name].transform, pixels, **choices):
            yield attrs.evolve(batch, set=(name,) * len(batch.name))


def pass_batches(
    table: ImageTable,
    steps: Mapping[str, Any],
    pixels: PixelConfig,
    *,
    size: Size | None = None,
    batch: int = 1,
    labels: bool = True,
    images: bool = True,
    workers: int = 0,
    share: Share | None = None,
) -> Generator[PassBatch, None, None]:
    """Each image of this rank's share (every n-th of the list) once, in list order, without
    random transform, on the CPU.

    steps   the round's transform: gives the default size and the interpolation
    size    (width, height) of image and label; default: that of the resize step, else each image's own size
    batch   images at a time at most; images of different sizes never share a batch
    images  False: labels only; `image` is then N 3 0 0
    """
    rank, count = share or (ranks.rank(), ranks.size())
    shown = size or fixed_size(steps)
    pictures = _Pictures(table, pixels, size, steps, labels, images)

    def plans() -> Iterator[tuple[int, ...]]:
        indices = range(rank, len(table), count)
        alike = groupby(indices, key=lambda i: None if shown or batch == 1 else table.size(i))
        for _, group in alike:
            while members := tuple(islice(group, batch)):
                yield members

    return load(pictures, plans(), workers)


Arrays = dict[str, Any]
EXTRA = "extra/"
"""Begins the keys of further maps in the arrays of a micro-batch."""


@attrs.frozen(kw_only=True, eq=False)
class _Samples(Dataset[Arrays]):
    """Micro-batches of a stream, each made as a whole so that a worker hands over few, large tensors."""

    lanes: tuple[Lane, ...]
    pixels: PixelConfig
    key: StreamKey

    def __getitem__(self, plan: Plan) -> Arrays:
        samples = [self._sample(*place) for place in plan]
        names = tuple(self.lanes[number].table.names[index] for _, number, index, _ in plan)
        self._check_sizes(samples, names)
        table = self.lanes[0].table  # all sets have labels, and the same further maps, or none has
        arrays: Arrays = {
            "image": _stack([normalize(sample.image, self.pixels) for sample in samples]),
            "name": names,
            "set": tuple(self.lanes[number].name for _, number, *_ in plan),
            "valid": _stack([np.ones(s.image.shape[:2], np.bool_) if s.valid is None else s.valid for s in samples]),
        }
        if table.has_labels:
            arrays["label"] = _stack([sample.label for sample in samples]).long()
        for name in table.extras:
            arrays[EXTRA + name] = _stack([_as_input(sample.extra[name]) for sample in samples])
        return arrays

    def _sample(self, position: int, number: int, index: int, wanted: Wanted | None) -> Sample:
        table, steps = self.lanes[number].table, self.lanes[number].steps
        extra = {name: sidecar.read(index) for name, sidecar in table.extras.items()}
        if table.has_labels:
            image, label = table.read_pair(index)
            sample = Sample(image=image, label=label, extra=extra)
        else:
            sample = Sample(image=table.read_image(index), extra=extra)
        rng = self.key.generator("sample", position)
        return apply_transforms(sample, steps, rng) if wanted is None else draw_wanted(sample, steps, rng, wanted)

    def _check_sizes(self, samples: list[Sample], names: tuple[str, ...]) -> None:
        for sample, name in zip(samples, names, strict=True):
            (height, width), (h, w) = sample.image.shape[:2], samples[0].image.shape[:2]
            if (height, width) != (h, w):
                raise ConfigError(
                    f"{self.key.domain}.transform: images of one batch differ in size: {names[0]} is {w} x {h}, "
                    f"{name} is {width} x {height}; possible: a resize or crop step, or batch 1"
                )


@attrs.frozen(eq=False)
class _Pictures(Dataset[PassBatch]):
    """Batches of a pass."""

    table: ImageTable
    pixels: PixelConfig
    size: Size | None
    steps: Mapping[str, Any]
    labels: bool
    images: bool

    def __getitem__(self, indices: tuple[int, ...]) -> PassBatch:
        images, labels, sizes = [], [], []
        interpolation = image_interpolation(self.steps)
        for index in indices:
            image, label, own = self._read(index)
            size = self.size or pass_size(self.steps, (own[1], own[0]))
            sizes.append(own)
            if image is not None:
                images.append(normalize(resize_image(image, size, interpolation), self.pixels))
            if label is not None:
                labels.append(resize_label(label, size, interpolation))
        return PassBatch(
            image=_stack(images) if self.images else torch.empty(len(indices), len(self.pixels.mean), 0, 0),
            label=_stack(labels).long() if self.labels else None,
            name=tuple(self.table.names[index] for index in indices),
            size=tuple(sizes),
            set=(self.table.domain,) * len(indices),
        )

    def _read(self, index: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None, tuple[int, int]]:
        """Image, label, and (height, width) on disk."""
        if not self.images:
            return None, self.table.read_label(index) if self.labels else None, self.table.size(index)
        image, label = self.table.read_pair(index) if self.labels else (self.table.read_image(index), None)
        return image, label, (image.shape[0], image.shape[1])


def draw_wanted(sample: Sample, steps: Mapping[str, Any], rng: np.random.Generator, wanted: Wanted) -> Sample:
    """The sample, with a label, after all steps, which are drawn again until it holds what is wanted (`redraw`)."""
    first, later = split_fixed(steps)
    resized = apply_transforms(sample, first, rng) if first else sample
    return redraw(
        lambda: apply_transforms(resized, later, rng), lambda drawn: drawn.label is not None and wanted.is_in(drawn.label)
    )


def _as_input(extra: NDArray[Any]) -> NDArray[Any]:
    """A further map as a method sees it: numbers float32 H W, ids int64 H W, masks bool H W, colours
    float32 3 H W from 0 to 1."""
    if extra.ndim == 3:
        return np.ascontiguousarray(extra.transpose(2, 0, 1), np.float32) / np.float32(255)
    return extra if extra.dtype in (np.float32, np.bool_) else extra.astype(np.int64)


def _stack(arrays: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _batches(loaded: Generator[Arrays, None, None], domain: str) -> Generator[SourceBatch | TargetBatch, None, None]:
    try:
        for arrays in loaded:
            # Pinning makes lists of the names.
            extra = {key.removeprefix(EXTRA): value for key, value in arrays.items() if key.startswith(EXTRA)}
            names = {"name": tuple(arrays["name"]), "set": tuple(arrays["set"])}
            common = {"image": arrays["image"], **names, "valid": arrays["valid"], "extra": extra}
            if domain == "source":
                yield SourceBatch(label=arrays["label"], **common)
            else:
                yield TargetBatch(pseudo_label=arrays.get("label"), **common)
    finally:
        loaded.close()
