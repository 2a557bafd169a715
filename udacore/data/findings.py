"""Findings of `uda data check` as messages: unmapped ids, masks of 0 and 255, repeated findings."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from udacore.errors import list_names
from udacore.labels import IGNORE

_NAMES = re.compile(r"\S*[/\\]\S+|\d+(\.\d+)?")
_LEAST = 0.001
"""Share of all pixels below which an id that the map leaves out is not worth a line."""


def group_alike(lines: Sequence[str]) -> list[str]:
    """Lines that differ in file names and numbers alone as one: the first, and how many more there are."""
    kinds: dict[str, list[str]] = {}
    for line in lines:
        kinds.setdefault(_NAMES.sub("*", line), []).append(line)
    return [same[0] + (f" (and {len(same) - 1} more like it)" if len(same) > 1 else "") for same in kinds.values()]


@attrs.define
class RawIds:
    """How often each raw id occurs in the labels looked at, and the first file that holds it."""

    table: NDArray[np.uint8]
    counts: NDArray[np.int64] = attrs.field(factory=lambda: np.zeros(256, np.int64))
    first: dict[int, str] = attrs.field(factory=dict)

    def add(self, raw: NDArray[np.integer], where: str) -> None:
        """Count the ids of a label; those above 255 are named elsewhere."""
        pixels = np.bincount(raw[raw < 256].astype(np.int64).ravel(), minlength=256)
        self.counts += pixels
        for each in np.flatnonzero(pixels):
            self.first.setdefault(int(each), where)

    def left_out(self) -> list[str]:
        """A line for each id, but 255, that no class stands for, and that is not a rare one;
        the most frequent first."""
        total = max(int(self.counts.sum()), 1)
        ids = [each for each in np.flatnonzero(self.counts) if each != IGNORE and self.table[each] == IGNORE]
        ids = [each for each in ids if self.counts[each] / total >= _LEAST]
        return [
            f"raw id {each} is left out by label_map: {100 * self.counts[each] / total:.1f} % of the pixels, first in {self.first[int(each)]}"
            for each in sorted(ids, key=lambda each: -self.counts[each])
        ]

    def mask_hint(self, classes: Sequence[str]) -> str:
        """A line if the labels look like a mask of 0 and 255 for two classes, of which 255
        would be ignored; else empty."""
        found = np.flatnonzero(self.counts).tolist()
        if found != [0, IGNORE] or len(classes) != 2 or self.table[IGNORE] != IGNORE:
            return ""
        first, second = classes
        return f"labels hold 0 and 255 alone: for a mask write label_map: {{0: {first}, 255: {second}}}; as it is 255 is ignored"


_FIXING = ("resize", "crop")
_VARYING = ("resize_short_side", "scale")


def find_unequal_sizes(sizes: Sequence[str], transforms: Sequence[str], batch: int) -> str:
    """A line if images of one batch would differ in size, so that they cannot be put together; else empty.

    sizes       the sizes that occur, as `width x height`
    transforms  names of the steps of the domain, in order
    """
    varies = len(sizes) > 1
    for name in transforms:
        kind = name.partition("-")[0]
        varies = kind in _VARYING or (varies and kind not in _FIXING)
    if batch < 2 or not varies:
        return ""
    return f"images of one batch of {batch} differ in size (files: {list_names(sizes)}): end with transform.resize or transform.crop"
