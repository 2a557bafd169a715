"""Learning rates, each form against its formula."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

import pytest

from udacore.config.schema import COUNTS, ScheduleConfig
from udacore.schedules import count_steps, rate


def rates(steps: int, epoch: int = 0, **settings: Any) -> list[float]:
    return [rate(ScheduleConfig(**settings), step, steps, epoch) for step in range(steps)]


def test_constant_is_one() -> None:
    assert rates(3) == [1.0, 1.0, 1.0]


def test_poly_reaches_zero_at_its_horizon() -> None:
    assert rates(4, name="poly", power=0.9) == pytest.approx([(1 - t / 4) ** 0.9 for t in range(4)], rel=1e-12)
    assert rate(ScheduleConfig(name="poly", horizon=8), 8, 4) == 0.0
    assert rate(ScheduleConfig(name="poly", horizon=8), 9, 20) == 0.0


def test_poly_with_lag_is_the_rate_of_an_earlier_step() -> None:
    plain, late = rates(10, name="poly"), rates(10, name="poly", lag=3)
    assert late == [plain[0]] * 3 + plain[:7]


def test_cosine_falls_by_half_a_turn_to_its_lowest() -> None:
    formula = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]
    assert rates(8, name="cosine", lowest=0.1) == pytest.approx(formula, rel=1e-12)
    assert rates(3, name="cosine")[0] == 1.0
    assert [rate(ScheduleConfig(name="cosine", horizon=8, lowest=0.1), t, 20) for t in (8, 9, 19)] == [0.1] * 3
    assert rate(ScheduleConfig(name="cosine", horizon="2 epochs"), 4, 20, 4) == pytest.approx(0.5)
    assert rates(9, name="cosine", horizon=6, lag=3)[3:] == rates(6, name="cosine")


def test_cosine_rises_over_its_warmup() -> None:
    plain, warm = rates(6, name="cosine"), rates(6, name="cosine", warmup=4)
    assert warm == pytest.approx([plain[0] / 4, plain[1] / 2, plain[2] * 0.75, *plain[3:]])


def test_step_multiplies_when_each_place_is_reached_in_any_order() -> None:
    assert rates(6, name="step", at=(4, 2), factor=0.5) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_linear_stands_then_falls_straight_to_zero() -> None:
    assert rates(6, name="linear", from_=2, over=4) == [1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(6, name="linear", from_=2) == rates(6, name="linear", from_=2, over=4)
    assert rate(ScheduleConfig(name="linear", from_=2, over=4), 9, 20) == 0.0


def test_exp_and_inv_follow_their_formulas() -> None:
    assert rates(4, name="exp", factor=0.9) == pytest.approx([0.9**t for t in range(4)])
    assert rates(4, name="inv", factor=0.01, power=0.75) == pytest.approx([(1 + 0.01 * t) ** -0.75 for t in range(4)])


def test_warmup_rises_from_its_first_share_and_multiplies_the_form() -> None:
    assert rates(5, warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates(5, name="poly", warmup=2)[0] == 0.5
    assert rates(5, name="poly", warmup=2)[2] == rates(5, name="poly")[2]


def test_warmup_from_a_factor_rises_to_the_whole_rate_at_its_end() -> None:
    assert rates(6, warmup=4, warmup_from=0.5) == [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    assert rates(3, warmup=2, warmup_from=0.0) == [0.0, 0.5, 1.0]
    assert rates(20, 10, warmup="1 epochs", warmup_from=0.1) == rates(20, warmup=10, warmup_from=0.1)
    published = {
        0: 6.000000000172534e-11, 1: 4.0058958501000673e-08, 100: 3.990055860000003e-06, 749: 2.9399028477501008e-05,
        1499: 5.7712999038501e-05, 1500: 5.775e-05, 1501: 5.77485e-05, 20000: 3e-05, 39999: 1.5000000000031654e-09,
    }  # fmt: skip
    schedule = ScheduleConfig(name="poly", power=1.0, warmup=1500, warmup_from=1e-6)
    for step, wanted in published.items():
        assert 6e-5 * rate(schedule, step, 40000) == pytest.approx(wanted, rel=1e-9)


def test_counts_may_be_epochs() -> None:
    assert rates(30, 10, name="step", at=("1 epochs", "2 epochs"), factor=0.1)[9:21:5] == pytest.approx([1, 0.1, 0.1])
    assert rates(30, 10, name="poly", horizon="3 epochs") == rates(30, name="poly")
    assert (count_steps("1.5 epochs", 10), count_steps("7 steps", 10), count_steps(7, 10)) == (15, 7, 7)


def test_no_form_gives_a_negative_or_infinite_rate() -> None:
    for name in get_args(get_type_hints(ScheduleConfig)["name"]):
        values = [rate(ScheduleConfig(name=name, horizon=5, over=5, at=(2,)), step, 10) for step in range(100)]
        assert all(math.isfinite(value) and 0 <= value <= 1 for value in values)


def test_every_setting_that_may_be_epochs_is_among_the_counts() -> None:
    hints = get_type_hints(ScheduleConfig)
    assert {name for name, kind in hints.items() if str in get_args(kind) and name != "name"} == set(COUNTS)
