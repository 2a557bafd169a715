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
    Raises ConfigError if they are needed and None (a domain without labels), or if no image is rich enough.
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


def rare_class(pixels: NDArray[np.int64], key: StreamKey, config: SamplerConfig) -> Sampler:
    """A class by `rare_class_probability`, then an image uniformly among those with
    `min_pixels` of it or more.

    pixels  F K, how many pixels of each class an image's label holds
    """
    rich = [np.flatnonzero(column >= config.min_pixels) for column in pixels.T]
    possible = np.array([len(files) > 0 for files in rich])
    if not possible.any():
        most = int(pixels.max(initial=0))
        where = f"{key.domain}.sampler.min_pixels"
        raise ConfigError(f"{where}: no image holds {config.min_pixels} pixels of one class; possible: at most {most}")
    bounds = _cumulative(rare_class_probability(pixels, config.temperature, possible))

    def sampler(position: int) -> int:
        rng = key.generator("draw", position)
        files = rich[int(np.searchsorted(bounds, rng.random(), side="right"))]
        return int(files[rng.integers(len(files))])

    return sampler


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
