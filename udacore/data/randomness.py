"""Random generators for data: one for each purpose and position, never the global ones."""

from __future__ import annotations

import zlib

import attrs
import numpy as np


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
