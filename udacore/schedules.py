"""Learning rates as pure functions of the step."""

from __future__ import annotations

import bisect
import math
from typing import assert_never

from udacore.config.counts import parse_count
from udacore.config.schema import ScheduleConfig


def rate(schedule: ScheduleConfig, step: int, steps: int, epoch: int = 0) -> float:
    """Factor on the base rate for optimiser step `step` (0 for the first) of a round of `steps`.

    poly      (1 - (t - lag) / horizon) ^ power            (algorithms/proca 7, algorithms/fada 6)
    cosine    lowest + (1 - lowest) * (1 + cos(pi * (t - lag) / horizon)) / 2, and
              `lowest` from the horizon on
    step      factor ^ (number of `at` reached)
    linear    1 until `from`, then straight to 0 `over` steps later; with `stairs`, the rate of each so many
              steps is that of their first
    exp       factor ^ t
    inv       (1 + factor * t) ^ -power
    epoch     steps of one epoch, for counts written `20 epochs`

    During the warm-up the form is multiplied by (t + 1) / warmup, or with `warmup_from` (f) by
    1 - (1 - t / warmup) * (1 - f).

    >>> rate(ScheduleConfig(name="poly", horizon=100), 50, 60)
    0.5358867312681466
    """
    warmup = count_steps(schedule.warmup, epoch)
    factor = _form(schedule, step, steps, epoch)
    if step >= warmup:
        return factor
    if schedule.warmup_from is None:
        return factor * min(1.0, (step + 1) / warmup)
    return factor * (1 - (1 - step / warmup) * (1 - schedule.warmup_from))


def _form(schedule: ScheduleConfig, step: int, steps: int, epoch: int) -> float:
    if schedule.name == "poly":
        return float(_share_left(schedule, step, steps, epoch) ** schedule.power)
    if schedule.name == "cosine":
        half_turn = math.pi * _share_left(schedule, step, steps, epoch)
        return schedule.lowest + (1 - schedule.lowest) * (1 - math.cos(half_turn)) / 2
    if schedule.name == "step":
        return float(schedule.factor ** bisect.bisect_right(sorted(count_steps(at, epoch) for at in schedule.at), step))
    if schedule.name == "linear":
        start = count_steps(schedule.from_, epoch)
        over = steps - start if schedule.over is None else count_steps(schedule.over, epoch)
        step -= step % max(1, count_steps(schedule.stairs, epoch))
        return max(0.0, 1 - max(0, step - start) / max(1, over))
    if schedule.name == "exp":
        return float(schedule.factor**step)
    if schedule.name == "inv":
        return float((1 + schedule.factor * step) ** -schedule.power)
    if schedule.name == "constant":
        return 1.0
    assert_never(schedule.name)  # mypy finds a name of ScheduleConfig that has no form here


def _share_left(schedule: ScheduleConfig, step: int, steps: int, epoch: int) -> float:
    """The share of the horizon that is still to come: 1 at the first step, 0 from the horizon on."""
    horizon = steps if schedule.horizon is None else count_steps(schedule.horizon, epoch)
    return max(0.0, 1 - max(0, step - schedule.lag) / max(1, horizon))


def count_steps(count: int | str, epoch: int) -> int:
    """Optimiser steps that a count means; `epoch` is the number of steps in one epoch.
    The form was checked before.

    >>> count_steps("2 epochs", 50), count_steps(7, 50)
    (100, 7)
    """
    return parse_count(count).steps(epoch)
