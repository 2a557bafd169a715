"""Counts of steps, which may be written in epochs."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from udacore.config.problems import show
from udacore.errors import ConfigError

_COUNT = re.compile(r"(\d+(?:\.\d+)?) (step|epoch)s?")


@attrs.frozen
class Count:
    """A number of optimiser steps or of epochs; only epochs may be fractions."""

    number: float
    unit: Literal["steps", "epochs"]

    def steps(self, epoch: int) -> int:
        """The count in optimiser steps, where an epoch has `epoch` of them; a part of an
        epoch is one step at least.

        >>> parse_count("2.5 epochs").steps(10)
        25
        """
        return max(round(self.number * (epoch if self.unit == "epochs" else 1)), 1 if self.number else 0)


def parse_count(given: int | str) -> Count:
    """`100`, `100 steps` or `20 epochs`; a ConfigError says what is possible.

    >>> parse_count("20 epochs")
    Count(number=20.0, unit='epochs')
    """
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return Count(float(given), "steps")
    match = _COUNT.fullmatch(given) if isinstance(given, str) else None
    if match is None or (match[2] == "step" and "." in match[1]):
        raise ConfigError(f"must be a number of steps, 0 or more, or such as '20 epochs', got {show(given)}")
    return Count(float(match[1]), "steps" if match[2] == "step" else "epochs")
