"""Data as published programs make them: transforms and samplers agree with numbers that these computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from udacore.testing import golden

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"
OPS = golden.load_operations(HERE / "vector_ops.py")
CASES = {case["case"]: case for case in golden.cases(VECTORS)}


@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_the_reference_vectors(name: str) -> None:
    case = CASES[name]
    assert golden.difference(VECTORS, case, OPS[case["op"]]) is None


def test_every_operation_has_a_case() -> None:
    assert set(OPS) == {case["op"] for case in CASES.values()}
