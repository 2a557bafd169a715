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


def test_rates_of_steps_in_any_order_count_up_to_the_first_that_is_not_reached(operations):
    inputs = {"iterations": np.array([5, 15, 35]), "lr_multipliers": np.array([1.0, 10.0])}
    for kind, params, want in (("step", {"steps": [30, 10], "beta": 0.1}, [1.0, 1.0, 0.01]), ("fixed", {}, [1.0, 1.0, 1.0])):
        found = operations["clp.learning_rate"](inputs, {"kind": kind, "base_lr": 1.0, **params})["lr"]
        np.testing.assert_allclose(found, np.outer(want, [1, 10]))


def test_steps_may_lack_terms(operations):
    case = CASES["training_steps"]
    inputs, params, _ = golden.load_case(VECTORS, case)
    found = operations["clp.training_steps"](inputs, {**params, "lsr_threshold": 0.0, "lovasz_weight": 0.0})["losses"]
    assert not found[:, 3:5].any()
    np.testing.assert_allclose(found[:, 0], 0.1 * found[:, 1:3].sum(1) + found[:, 5], rtol=1e-6)


def test_cross_entropy_leaves_out_what_the_case_says(operations):
    inputs, params, _ = golden.load_case(VECTORS, CASES["cross_entropy"])
    zeros = {**inputs, "labels": np.where(inputs["labels"] == 255, 0, 1)}
    ones = {**inputs, "labels": np.where(inputs["labels"] == 255, 255, 1)}
    found, want = (operations["clp.segmentation_cross_entropy"](given, {**params, "ignore": ignore}) for given, ignore in ((zeros, 0), (ones, 255)))
    np.testing.assert_allclose(found["loss"], want["loss"], rtol=1e-6)
