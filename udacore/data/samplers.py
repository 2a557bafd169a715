"""The order of a domain's images: `sampler(position) -> index`, with random access.

The index depends on the key of the stream (seed, round, domain) and the position alone, so that a resumed
run, a worker and every rank see the same order. Streams are endless: a list that is shorter than the run
begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.config.schema import SamplerConfig
from udacore.data.randomness import StreamKey
from udacore.data.statistics import ClassStatistics
from udacore.errors import ConfigError, DataError

Sampler = Callable[[int], int]


def make_sampler(config: SamplerConfig, count: int, statistics: ClassStatistics | None, key: StreamKey) -> Sampler:
    """The sampler that `config` names, over `count` images.

    statistics  which classes the images hold; only `class_balanced` and `rare_class` look at them
    Raises ConfigError if they are needed and None (a domain without labels), or if no image is rich enough, and
    DataError where no label holds a pixel of any class.
    """
    if count < 1:
        raise DataError(f"{key.domain}: there is no image to draw from")
    if config.name == "shuffle":
        return shuffle(count, key)
    if config.name == "replacement":
        return lambda position: int(key.generator("draw", position).integers(count))
    if statistics is None:
        raise ConfigError(f"{key.domain}.sampler.name: {config.name} needs labels, and there are none; possible: shuffle, replacement")
    if config.name == "class_balanced":
        return class_balanced(statistics.presence, key, config.sub_epoch)
    return rare_class(statistics.pixels, key, config)


def needs_statistics(config: SamplerConfig) -> bool:
    """Whether `make_sampler` wants class statistics."""
    return config.name in ("class_balanced", "rare_class")


def shuffle(count: int, key: StreamKey) -> Sampler:
    """Each image once an epoch of `count` positions, in a fresh order."""

    @lru_cache(maxsize=2)
    def order(epoch: int) -> NDArray[np.int64]:
        return key.generator("epoch", epoch).permutation(count)

    return lambda position: int(order(position // count)[position % count])


def rare_class_probability(pixels: NDArray[np.int64], temperature: float, possible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Probability (K) of each class: softmax((1 - share of the pixels) / temperature) over the possible
    ones (DAFormer, eq. 12)."""
    share = pixels.sum(axis=0) / max(pixels.sum(), 1)
    score = np.where(possible, (1 - share) / temperature, -np.inf)
    weight = np.exp(score - score.max())
    probability: NDArray[np.float64] = weight / weight.sum()
    return probability


def draw_class(probability: NDArray[np.float64], number: float) -> int:
    """The class that `number`, uniform in [0, 1), draws: the first one whose cumulated probability exceeds
    it, as numpy's `choice` has it."""
    return int(np.searchsorted(_cumulative(probability), number, side="right"))


def rich_files(pixels: NDArray[np.int64], min_pixels: float) -> list[NDArray[np.int64]]:
    """For each class the files, ascending, with more than `min_pixels` pixels of it; `pixels` is F K."""
    return [np.flatnonzero(column > min_pixels) for column in pixels.T]


def rare_file_probability(pixels: NDArray[np.int64], temperature: float, min_pixels: float) -> NDArray[np.float64]:
    """Probability (F) that a file is drawn: a class by `rare_class_probability` among those that have
    `rich_files`, then one of these. DataError if there is no such class."""
    files = rich_files(pixels, min_pixels)
    possible = np.array([len(each) > 0 for each in files])
    if not possible.any():
        raise DataError(f"no label holds more than {min_pixels} pixels of one class")
    probability = np.zeros(len(pixels))
    for share, members in zip(rare_class_probability(pixels, temperature, possible), files, strict=True):
        probability[members] += share / max(len(members), 1)
    return probability


@attrs.frozen
class Wanted:
    """What a sample must hold, else it is drawn again: more than `pixels` pixels of a class."""

    number: int
    pixels: float

    def is_in(self, label: NDArray[np.uint8]) -> bool:
        """Whether a label (train ids H W) holds it."""
        return int(np.count_nonzero(label == self.number)) > self.pixels


@attrs.frozen(kw_only=True, eq=False)
class RareClass:
    """A sampler: a class, then an image uniformly among its files.

    bounds  K cumulated probabilities of the classes
    files   for each class its images
    pixels  of the class that a sample must exceed; None: whatever there is
    """

    key: StreamKey
    bounds: NDArray[np.float64]
    files: list[NDArray[np.int64]]
    pixels: float | None

    def __call__(self, position: int) -> int:
        """The index of the image at a position."""
        return self._draw(position)[1]

    def wanted(self, position: int) -> Wanted | None:
        """What the sample at a position must hold."""
        return None if self.pixels is None else Wanted(self._draw(position)[0], self.pixels)

    def _draw(self, position: int) -> tuple[int, int]:
        rng = self.key.generator("draw", position)
        number = int(np.searchsorted(self.bounds, rng.random(), side="right"))
        files = self.files[number]
        return number, int(files[rng.integers(len(files))])


def rare_class(pixels: NDArray[np.int64], key: StreamKey, config: SamplerConfig) -> RareClass:
    """A class by `rare_class_probability`, then an image uniformly among those with `min_pixels` of it or
    more; with `min_crop_ratio` among those with more, as the published program has it.

    pixels  F K, how many pixels of each class an image's label holds
    """
    ratio, least = config.min_crop_ratio, config.min_pixels
    files = rich_files(pixels, least - 1 if ratio is None else least)
    possible = np.array([len(each) > 0 for each in files])
    if not possible.any():
        most = int(pixels.max(initial=0)) - (ratio is not None)
        if most < 1:
            raise DataError(f"{key.domain}: no label holds a pixel of any class, so rare_class has nothing to draw")
        said = f"{'' if ratio is None else 'more than '}{least} pixels of one class; possible: at most {most}"
        raise ConfigError(f"{key.domain}.sampler.min_pixels: no image holds {said}")
    bounds = _cumulative(rare_class_probability(pixels, config.temperature, possible))
    return RareClass(key=key, bounds=bounds, files=files, pixels=least * ratio if ratio else None)


def wanted_at(sampler: Sampler, position: int) -> Wanted | None:
    """What the sample at a position must hold, by a sampler that asks for something."""
    return sampler.wanted(position) if isinstance(sampler, RareClass) else None


@attrs.frozen(kw_only=True, eq=False)
class SubEpoch:
    """A stretch of the class-balanced list.

    files        S int64, indices in the order drawn
    classes      S int64, the class each was drawn for
    probability  S K float64, that the draw was made with
    """

    files: NDArray[np.int64]
    classes: NDArray[np.int64]
    probability: NDArray[np.float64]


def class_balanced_sub_epochs(
    presence: NDArray[np.bool_], seed: int, sub_epoch: int = 3000, label_to_file: Sequence[Sequence[int]] | None = None
) -> Iterator[SubEpoch]:
    """FADA's class-balanced list without end, stretch by stretch (algorithms/fada 7.5, algorithms/proca 6.3).

    presence       F K, whether class k occurs in file f
    seed           of numpy's legacy generator, below 2**32; the numbers are those of the published program
    sub_epoch      files drawn before the class counts start anew
    label_to_file  per class its files in stored order; default: ascending

    A class with one file starts over with it, a class without files is never drawn.
    """
    random = np.random.RandomState(seed)
    presence = np.asarray(presence, np.bool_)
    if label_to_file is None:
        label_to_file = [np.flatnonzero(column).tolist() for column in presence.T]
    files = [list(names) for names in label_to_file]
    absent = np.array([not names for names in files])
    if absent.all():
        raise DataError("class_balanced: no label holds a pixel of any class")
    cursor = [0] * len(files)
    rows = presence.astype(np.float64)
    while True:
        result = SubEpoch(
            files=np.empty(sub_epoch, np.int64), classes=np.empty(sub_epoch, np.int64), probability=np.empty((sub_epoch, len(files)))
        )
        count = np.zeros(len(files))
        for i in range(sub_epoch):
            p = _balancing_probability(count, absent)
            c = int(np.searchsorted(_cumulative(p), random.random_sample(), side="right"))
            if cursor[c] > len(files[c]) - 1:
                random.shuffle(files[c])
                cursor[c] = cursor[c] % (len(files[c]) - 1) if len(files[c]) > 1 else 0
            f = files[c][cursor[c]]
            cursor[c] += 1
            count += rows[f]
            result.files[i], result.classes[i], result.probability[i] = f, c, p
        yield result


def class_balanced_list(
    presence: NDArray[np.bool_], seed: int, count: int, sub_epoch: int = 3000, label_to_file: Sequence[Sequence[int]] | None = None
) -> NDArray[np.int64]:
    """The published list for `count` draws: `count // sub_epoch + 1` whole
    sub-epochs of file indices, int64."""
    stretches = class_balanced_sub_epochs(presence, seed, sub_epoch, label_to_file)
    return np.concatenate([next(stretches).files for _ in range(count // sub_epoch + 1)])


def class_balanced(presence: NDArray[np.bool_], key: StreamKey, sub_epoch: int = 3000) -> Sampler:
    """The class-balanced list, made as far as it is asked for, and shuffled within each sub-epoch."""
    stretches = class_balanced_sub_epochs(presence, key.legacy_seed("class_balanced"), sub_epoch)
    made: list[NDArray[np.int32]] = []

    def sampler(position: int) -> int:
        while len(made) <= position // sub_epoch:
            order = key.generator("epoch", len(made)).permutation(sub_epoch)
            made.append(next(stretches).files[order].astype(np.int32))
        return int(made[position // sub_epoch][position % sub_epoch])

    return sampler


def _balancing_probability(count: NDArray[np.float64], absent: NDArray[np.bool_]) -> NDArray[np.float64]:
    total = count.sum()
    share = count / total if total else count
    weight = 1 / np.log(1.01 + share)
    weight[absent] = 0
    probability: NDArray[np.float64] = weight / weight.sum()
    return probability


def _cumulative(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    bounds = probability.cumsum()
    bounds /= bounds[-1]
    return bounds
