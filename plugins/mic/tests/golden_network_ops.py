"""Operations of the reference vectors that belong to the networks."""

from __future__ import annotations

from udacore.testing.golden import Operation

OPS: dict[str, Operation] = {}
