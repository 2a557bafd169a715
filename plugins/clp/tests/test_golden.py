"""Every operation agrees with the numbers that the authors' program computed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "golden"


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = sys.modules.get("golden_check") or _load(HERE.parents[2] / "tests" / "golden_check.py")
CASES = {case["case"]: case for case in check.cases(VECTORS)}


@pytest.fixture(scope="module")
def operations():
    return check.load_operations(HERE / "golden_ops.py")


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_the_reference_vectors(name, operations):
    case = CASES[name]
    assert check.difference(VECTORS, case, operations[case["op"]]) is None


def test_every_operation_has_a_case(operations):
    assert set(operations) == {case["op"] for case in CASES.values()}
