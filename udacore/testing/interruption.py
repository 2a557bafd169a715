"""Runs that are interrupted in their steps, and the comparison of a resumed run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from udacore.engine import round_end
from udacore.engine.step import Updater
from udacore.engine.training import RoundInProgress


class DeathError(Exception):
    """The process dies here."""


@contextmanager
def dying_before_labels(round: str, die: Callable[[], object] | None = None) -> Iterator[None]:
    """While this is open, that round dies after its end was saved, when its pseudo labels are asked
    for, as `dying_in` does."""
    make = round_end.make_labels

    def dying(work: RoundInProgress) -> None:
        if work.name == round and work.round.makes_labels:
            if die is not None:
                die()
            raise DeathError
        make(work)

    round_end.make_labels = dying
    try:
        yield
    finally:
        round_end.make_labels = make


@contextmanager
def dying_in(round: str, die: Callable[[], object] | None = None, *, step: int | None = None) -> Iterator[None]:
    """While this is open, a step of that round ends the run after its losses were computed.

    die   called there; default: raises DeathError
    step  index of the step, from 0; default: the last one of the round
    """
    update = Updater._update

    def dying(self: Updater, index: int) -> None:
        if self.round.name == round and index == (self.round.steps - 1 if step is None else step):
            if die is not None:
                die()
            raise DeathError
        update(self, index)

    Updater._update = dying  # type: ignore[method-assign]
    try:
        yield
    finally:
        Updater._update = update  # type: ignore[method-assign]


def find_differences(one: Path, other: Path) -> list[str]:
    """What differs between two run folders that should be alike: weights, metrics,
    written labels and images."""
    found = [path.name for path in sorted((one / "checkpoints").glob("[0-9]*.pt")) if not _has_same_model(path, other / "checkpoints" / path.name)]
    files = [one / "metrics.jsonl", *sorted((one / "rounds").rglob("*.png"))]
    return found + [str(path.relative_to(one)) for path in files if path.read_bytes() != (other / path.relative_to(one)).read_bytes()]


def _has_same_model(one: Path, other: Path) -> bool:
    first, second = (torch.load(path, weights_only=True)["model"] for path in (one, other))
    return set(first) == set(second) and all(_is_equal(value, second[name]) for name, value in first.items())


def _is_equal(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and torch.equal(one, other))
