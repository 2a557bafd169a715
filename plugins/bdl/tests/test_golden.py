"""Every operation agrees with the numbers that the authors' program computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from udacore.testing import golden

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "golden"

CASES = {case["case"]: case for case in golden.cases(VECTORS)}


@pytest.fixture(scope="module")
def operations():
    return golden.load_operations(HERE / "golden_ops.py")


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_the_reference_vectors(name, operations):
    case = CASES[name]
    assert golden.difference(VECTORS, case, operations[case["op"]]) is None


def test_every_operation_has_a_case(operations):
    assert set(operations) == {case["op"] for case in CASES.values()}


def test_rates_follow_the_horizon_and_the_power_of_a_case(operations):
    params = {"model": "DeepLab", "learning_rate": 1.0, "learning_rate_d": 2.0, "num_steps": 1000, "power": 0.5}
    rates = operations["bdl.learning_rate"]({"iterations": np.array([0, 750, 1000])}, params)["rates"]
    assert rates == pytest.approx(np.array([[1, 10, 2], [0.5, 5, 1], [0, 0, 0]]))


def test_rates_in_steps_go_on_falling_behind_the_published_run(operations):
    params = {"model": "VGG", "learning_rate": 1.0, "learning_rate_d": 1.0, "num_steps": 250000, "power": 0.9}
    rates = operations["bdl.learning_rate"]({"iterations": np.array([49999, 50000, 249999, 250000, 600001])}, params)["rates"]
    assert rates[:, 0] == pytest.approx([1, 1e-1, 1e-4, 1e-5, 1e-12], rel=1e-9)


@pytest.mark.parametrize(("constant", "falling"), [(10, 10), (15, 5), (20, 0), (2, 2), (1, 3), (0, 4)])
def test_translation_rates_hold_for_any_numbers_of_epochs(constant, falling, operations):
    last = constant + falling
    for first in (1, last):
        params = {"learning_rate": 2.0, "niter": constant, "niter_decay": falling, "start_epoch": first}
        rates = operations["bdl.translation.learning_rate"]({}, params)["rates"]
        expected = [2 * (1 - max(0, epoch + 1 - constant) / (falling + 1)) for epoch in range(first, last + 1)]
        assert rates == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("table", ["gta5", "synthia", "cityscapes_evaluation"])
def test_raw_ids_of_more_than_eight_bits_are_no_class(table, operations):
    raw = np.array([[7, 256 + 7, 1000], [-1, 255, 254]])
    train = operations["bdl.label_mapping"]({"raw": raw}, {"table": table})["train"]
    assert train[0, 0] < 19
    assert (train.ravel()[1:] > 33).all()


def test_the_last_layer_of_a_generator_is_found_for_any_number_of_blocks(operations):
    rng = np.random.default_rng(0)
    inputs = {name: rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32) for name in ("real_A", "real_B")}
    params = {
        "ngf": 2, "ndf": 2, "blocks": 1, "lambda_A": 10.0, "lambda_B": 10.0, "lambda_identity": 0.0, "lambda_semantic": 0.0, "lambda_translated": 0.0,
    }  # fmt: skip
    outputs = operations["bdl.translation.step"](inputs, params)
    assert outputs["grad_G_A"].shape == outputs["grad_G_B"].shape == (3, 2, 7, 7)
    assert outputs["losses"][-1] == pytest.approx(outputs["losses"][[1, 2, 7, 8]].sum())
