"""The core's operations agree with the numbers that the programs of published methods computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "golden" / "fada"

_spec = importlib.util.spec_from_file_location("golden_check", HERE / "golden_check.py")
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

CASES = {case["case"]: case for case in check.cases(VECTORS)}


@pytest.fixture(scope="module")
def operations():
    return check.load_operations(HERE / "golden_ops_fada.py")


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_the_reference_vectors(name, operations):
    case = CASES[name]
    assert check.difference(VECTORS, case, operations[case["op"]]) is None


def test_every_operation_has_a_case(operations):
    assert set(operations) == {case["op"] for case in CASES.values()}


def test_a_changed_number_is_noticed(operations):
    case = CASES["iou_k19"]

    def wrong(inputs, params):
        outputs = operations[case["op"]](inputs, params)
        return {**outputs, "iou": outputs["iou"] + 1e-4}

    assert "iou: 19 of 19 differ" in check.difference(VECTORS, case, wrong)


def test_a_missing_output_and_a_wrong_shape_are_noticed():
    case = CASES["syn16_to_city19"]
    assert check.difference(VECTORS, case, lambda inputs, params: {}) == "output 'city' is missing"
    assert "shape (2,)" in check.difference(VECTORS, case, lambda inputs, params: {"city": [0, 1]})
