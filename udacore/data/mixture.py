"""Several named sets of images as one domain: their list, and which of them each place of the stream belongs to."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import attrs
import numpy as np

from udacore.config.schema import SetConfig, SourceConfig, TargetConfig
from udacore.config.sets import count_images
from udacore.data.randomness import StreamKey
from udacore.data.samplers import Sampler, Wanted, make_sampler, needs_statistics, wanted_at
from udacore.data.statistics import class_statistics
from udacore.data.tables import ImageTable
from udacore.errors import ConfigError, list_names
from udacore.labels import IGNORE, LabelSpace

Order = Callable[[int], tuple[int, int, Wanted | None]]
"""Position in the stream -> (number of the set, index of the image in it, what its sample must hold)."""


@attrs.frozen(eq=False)
class Mixture:
    """The named sets of a domain as one list, one set after another; an image's name is `SET/key`.

    members  name of the set -> its table, whose names begin with that of the set
    """

    members: Mapping[str, ImageTable]

    def __len__(self) -> int:
        return sum(map(len, self.members.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the sets."""
        return tuple(name for table in self.members.values() for name in table.names)

    @property
    def has_labels(self) -> bool:
        """Whether the sets were opened with labels."""
        return all(table.has_labels for table in self.members.values())

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image, from its header."""
        tables = list(self.members.values())
        ends = list(accumulate(map(len, tables)))
        number = bisect_right(ends, index)
        return tables[number].size(index - (ends[number - 1] if number else 0))

    def source_hash(self) -> str:
        """Key for caches: SHA-256 of the sets' names and keys."""
        words = [word for name, table in self.members.items() for word in (name, table.source_hash())]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()


Table = ImageTable | Mixture


def tables_of(table: Table, domain: str) -> dict[str, ImageTable]:
    """Setting -> table: `source` for a domain of one data set, else `source.sets.NAME` for each."""
    if isinstance(table, Mixture):
        return {f"{domain}.sets.{name}": member for name, member in table.members.items()}
    return {domain: table}


def change_tables(table: Table, change: Callable[[ImageTable], ImageTable]) -> Table:
    """The table, or each table of a mixture, changed."""
    if isinstance(table, Mixture):
        return Mixture({name: change(member) for name, member in table.members.items()})
    return change(table)


def join_sets(tables: Mapping[str, ImageTable], place: str) -> Mixture:
    """The tables of a domain's sets as one list.

    place  the setting, for messages
    ConfigError where a set has no class that another one has too: whatever is learned of it would say where an image is from.
    """
    classes = {name: list_classes(table) for name, table in tables.items() if table.has_labels}
    for name, own in classes.items():
        others = set().union(*(theirs for other, theirs in classes.items() if other != name))
        if len(classes) > 1 and not own & others:
            rest = list_names(other for other in classes if other != name)
            said = list_names(sorted(own)) or "none"
            raise ConfigError(f"{place}.{name}: has no class in common with {rest}; its classes are {said}")
    return Mixture({name: _prefixed(table, f"{name}/") for name, table in tables.items()})


def list_classes(table: ImageTable) -> set[str]:
    """Names of the classes that the labels of a table may hold."""
    if table.labels is None:
        return set()
    found = np.unique(table.labels.table[table.labels.known])
    return {table.space.classes[int(number)] for number in found if number != IGNORE}


def _prefixed(table: ImageTable, prefix: str) -> ImageTable:
    return attrs.evolve(table, prefix=prefix, names=tuple(prefix + name for name in table.names))


@attrs.frozen(kw_only=True, eq=False)
class Lane:
    """One set of a stream, as the processes that read images get it: it can be pickled.

    name   of the set, or of the domain where it is one data set
    place  its setting, such as `source.sets.NAME`, for messages
    steps  its transform
    """

    name: str
    place: str
    table: ImageTable
    steps: Mapping[str, Any]


def draw(sampler: Sampler, place: int) -> tuple[int, Wanted | None]:
    """Index of the image at a place among the samples of a set, and what its sample must hold."""
    return sampler(place), wanted_at(sampler, place)


def open_lanes(
    table: Table, entry: SourceConfig | TargetConfig, space: LabelSpace, key: StreamKey, batch: int
) -> tuple[tuple[Lane, ...], Order]:
    """The sets of a stream, and the order in which it draws from them.

    Of the places of a batch each set has its share, spread as evenly as whole images allow and
    alike in every batch, so that positions alone say what comes. Raises as `make_sampler`, and
    ConfigError for shares that give no whole images.
    """
    if not isinstance(table, Mixture):
        sampler = _open_sampler(table, entry, space, key)
        return (Lane(name=key.domain, place=key.domain, table=table, steps=entry.transform),), lambda place: (0, *draw(sampler, place))
    keys = {name: attrs.evolve(key, domain=f"{key.domain}.sets.{name}") for name in table.members}
    lanes = tuple(
        Lane(name=name, place=keys[name].domain, table=own, steps=entry.sets[name].transform)
        for name, own in table.members.items()
    )
    samplers = [_open_sampler(own, entry.sets[name], space, keys[name]) for name, own in table.members.items()]
    counts = list(count_images(entry.sets, batch).values())
    pattern = spread_sets(counts)
    earlier = [pattern[:place].count(number) for place, number in enumerate(pattern)]

    def order(position: int) -> tuple[int, int, Wanted | None]:
        step, place = divmod(position, batch)
        number = pattern[place]
        return number, *draw(samplers[number], step * counts[number] + earlier[place])

    return lanes, order


def _open_sampler(
    table: ImageTable, entry: SourceConfig | TargetConfig | SetConfig, space: LabelSpace, key: StreamKey
) -> Sampler:
    counts = needs_statistics(entry.sampler) and table.has_labels
    return make_sampler(entry.sampler, len(table), class_statistics(table, space) if counts else None, key)


def spread_sets(counts: Sequence[int]) -> list[int]:
    """Number of the set for each place of a batch that holds `counts[n]` images of set n, each
    set spread evenly.

    >>> spread_sets([2, 1, 1])
    [0, 1, 2, 0]
    """
    total, given = sum(counts), [0] * len(counts)
    pattern = []
    for place in range(total):
        behind = [(place + 1) * count - total * own for count, own in zip(counts, given, strict=True)]
        number = behind.index(max(behind))
        given[number] += 1
        pattern.append(number)
    return pattern
