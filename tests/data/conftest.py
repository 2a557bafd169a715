"""A data set in memory, for tests of what works on tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from udacore.errors import DataError


@attrs.frozen(kw_only=True)
class MemoryTable:
    """Random images; the label of image i holds class i % `classes` in its left half.
    `broken` ones raise DataError."""

    count: int = 7
    height: int = 12
    width: int = 16
    classes: int = 3
    has_labels: bool = True
    broken: frozenset[int] = frozenset()
    growing: bool = False
    extras: dict[str, Any] = attrs.field(factory=dict)
    domain: str = "source"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"town/{number:03d}" for number in range(self.count))

    def __len__(self) -> int:
        return self.count

    def size(self, index: int) -> tuple[int, int]:
        return self.height + (index // 2 if self.growing else 0), self.width

    def read_image(self, index: int) -> NDArray[np.uint8]:
        if index in self.broken:
            raise DataError(f"{self.names[index]}.png is broken")
        return np.random.default_rng(index).integers(0, 256, (*self.size(index), 3), np.uint8)

    def read_label(self, index: int) -> NDArray[np.uint8]:
        label = np.full(self.size(index), 255, np.uint8)
        label[:, : self.width // 2] = index % self.classes
        return label

    def read_pair(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return self.read_image(index), self.read_label(index)

    def source_hash(self) -> str:
        return f"memory {self.count} {self.height} {self.width}"


@pytest.fixture
def make_table() -> Callable[..., MemoryTable]:
    """`make_table(count=7, ...)`: see MemoryTable."""
    return MemoryTable
