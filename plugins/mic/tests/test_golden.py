"""Every operation agrees with the numbers that the authors' program computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from udacore.testing import golden

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "golden"
OPS = golden.load_operations(HERE / "golden_ops.py")
CASES = {case["case"]: case for case in golden.cases(VECTORS)}


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_the_reference_vectors(name):
    case = CASES[name]
    assert golden.difference(VECTORS, case, OPS[case["op"]]) is None


def test_every_operation_has_a_case():
    assert set(OPS) == {case["op"] for case in CASES.values()}
