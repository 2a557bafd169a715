"""Random generators for data: one for each purpose and position, never the global ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import attrs
import numpy as np

REDRAWS = 10
"""New draws at most, where one that does not fit is drawn again."""

Drawn = TypeVar("Drawn")


def redraw(draw: Callable[[], Drawn], fits: Callable[[Drawn], bool], most: int = REDRAWS) -> Drawn:
    """The first of `draw()` that fits; after `most` new draws the last one, which is not looked at."""
    drawn = draw()
    for _ in range(most):
        if fits(drawn):
            break
        drawn = draw()
    return drawn


@attrs.frozen(kw_only=True)
class StreamKey:
    """Which stream of samples: all its randomness follows from these and the position in it.

    seed    of the run
    round   name of the round
    domain  source or target
    """

    seed: int
    round: str
    domain: str

    def _entropy(self, purpose: str, number: int) -> np.random.SeedSequence:
        words = [zlib.crc32(text.encode()) for text in (self.round, self.domain, purpose)]
        return np.random.SeedSequence([self.seed, *words, number])

    def generator(self, purpose: str, number: int) -> np.random.Generator:
        """The generator for a purpose (`sample`, `epoch`, ...) and a number (a
        position, an epoch) of the stream."""
        return np.random.Generator(np.random.PCG64(self._entropy(purpose, number)))

    def legacy_seed(self, purpose: str) -> int:
        """A seed for numpy's legacy generator, which the published lists are drawn with."""
        return int(self._entropy(purpose, 0).generate_state(1)[0])
