"""Operations of the reference vectors that belong to the losses, the mixing, the augmentation and the training step."""

from __future__ import annotations

from udacore.testing.golden import Operation

OPS: dict[str, Operation] = {}
