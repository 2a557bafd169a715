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


def test_the_running_mean_takes_no_momentum_that_a_case_mentions(operations):
    inputs = {
        "proto": np.zeros((2, 1), np.float32), "amount": np.array([3, 0], np.float32),
        "features_0": np.array([[4.0], [8.0]], np.float32), "labels_0": np.array([0, 1]),
    }  # fmt: skip
    params = {"updates": 1, "use_momentum": False, "momentum": 0.5}
    assert operations["proca.prototype_update"](inputs, params)["proto"].tolist() == [[1.0], [8.0]]
    assert operations["proca.prototype_update_momentum"](inputs, params)["proto"].tolist() == [[2.0], [4.0]]


def test_the_classes_of_synthia_labels_are_its_own_sixteen(operations):
    raw = np.array([[[3, 16], [22, 11]]])  # road, terrain that is none of the 16, nothing, bicycle
    presence = operations["proca.label_info"]({"raw": raw}, {"dataset": "synthia"})["presence"]
    assert presence.shape == (1, 16)
    assert np.flatnonzero(presence[0]).tolist() == [0, 15]
