"""The comparison with reference vectors notices a changed number, a missing output and a wrong shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from udacore.testing import golden

OPS = "OPS = {'double': lambda inputs, params: {'twice': params['factor'] * inputs['x']}}"


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """One case of one operation, right where the factor is 2."""
    np.savez(tmp_path / "double.npz", in_x=np.arange(3.0), out_twice=2 * np.arange(3.0))
    case = {"case": "double_k3", "op": "double", "file": "double.npz", "params": {"factor": 2}}
    (tmp_path / "manifest.json").write_text(json.dumps([case]))
    (tmp_path / "ops.py").write_text(OPS)
    return tmp_path


def test_equal_numbers_pass_and_a_changed_one_is_named(vectors: Path) -> None:
    (case,) = golden.cases(vectors)
    double = golden.load_operations(vectors / "ops.py")["double"]
    assert golden.difference(vectors, case, double) is None
    found = golden.difference(vectors, case, lambda inputs, params: {"twice": 2 * inputs["x"] + 1e-4})
    assert found is not None
    assert found.startswith("twice: 3 of 3 differ, first at (0,): ")


def test_a_missing_output_and_a_wrong_shape_are_named(vectors: Path) -> None:
    (case,) = golden.cases(vectors)
    assert golden.difference(vectors, case, lambda inputs, params: {}) == "output 'twice' is missing"
    found = golden.difference(vectors, case, lambda inputs, params: {"twice": np.zeros(2)})
    assert found == "twice: shape (2,), expected (3,)"


def test_integers_must_be_equal_and_nan_agrees_with_nan(vectors: Path) -> None:
    (case,) = golden.cases(vectors)
    for dtype, offset, agrees in ((np.int64, 0, True), (np.int64, 1, False), (np.float64, np.nan, False)):
        np.savez(vectors / "double.npz", in_x=np.arange(3), out_twice=2 * np.arange(3, dtype=dtype))
        found = golden.difference(vectors, case, lambda inputs, params, more=offset: {"twice": 2 * inputs["x"] + more})
        assert (found is None) is agrees
    np.savez(vectors / "double.npz", in_x=np.zeros(1), out_twice=np.array([np.nan]))
    assert golden.difference(vectors, case, lambda inputs, params: {"twice": np.array([np.nan])}) is None


@pytest.mark.parametrize(("factor", "code", "said"), [(2, 0, "1 passed, 0 failed"), (3, 1, "0 passed, 1 failed")])
def test_the_command_counts_cases_and_exits_with_1_where_one_fails(
    vectors: Path, factor: int, code: int, said: str
) -> None:
    rows = golden.cases(vectors)
    rows[0]["params"]["factor"] = factor
    (vectors / "manifest.json").write_text(json.dumps(rows))
    words = [sys.executable, "-m", "udacore.testing.golden", str(vectors), str(vectors / "ops.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (code, said), done.stderr
    assert ("FAIL double [double_k3] twice: " in done.stderr) is (code == 1)
