"""Comparison of operations with reference vectors.

    python -m udacore.testing.golden VECTORS OPS_FILE [--only TEXT]

VECTORS   a folder with manifest.json and the .npz files it names: arrays `in_<name>` and `out_<name>` of each case
OPS_FILE  a Python file that defines OPS: {operation id: function(inputs, params) -> outputs}, all of arrays by name

A floating output agrees where |got - want| <= atol + rtol |want| (NaN equals NaN); integers and shapes must be equal.
Prints a line for each case that fails and, last, 'N passed, N failed'. Tests call `cases`, `load_operations` and
`difference`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Operation = Callable[[Arrays, dict[str, Any]], Arrays]


def cases(folder: Path) -> list[dict[str, Any]]:
    """The rows of the manifest: `case`, `op`, `file`, `params`, tolerances."""
    rows: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())
    return rows


def load_operations(path: Path) -> dict[str, Operation]:
    """OPS of the file at `path`."""
    spec = importlib.util.spec_from_file_location(f"_operations_{zlib.crc32(str(path).encode()):x}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    operations: dict[str, Operation] = module.OPS
    return operations


def fill_state_dict(layout: list[tuple[str, list[int], str]]) -> Arrays:
    """Weights for a network by the rule of the vectors: {key: array} for rows [key, shape, dtype]."""
    weights = {}
    for key, shape, dtype in layout:
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
        if key.endswith("num_batches_tracked"):
            value: Any = np.zeros(shape)
        elif key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
            value = 0.5 + rng.random(shape)
        elif len(shape) == 1:
            value = 0.1 * rng.standard_normal(shape)
        else:
            value = rng.standard_normal(shape) * np.sqrt(2 / max(float(np.prod(shape[1:])), 1.0))
        weights[key] = np.asarray(value, dtype=np.int64 if "int64" in dtype else np.float32)
    return weights


def load_case(folder: Path, case: dict[str, Any]) -> tuple[Arrays, dict[str, Any], Arrays]:
    """(inputs, params, expected outputs) of one row; a network's layout comes as rows, in params["layout"]."""
    with np.load(folder / case["file"], allow_pickle=False) as arrays:
        inputs = {key[3:]: arrays[key] for key in arrays.files if key.startswith("in_")}
        expected = {key[4:]: arrays[key] for key in arrays.files if key.startswith("out_")}
    params = dict(case.get("params") or {})
    layout = params.get("layout", case.get("layout"))
    if isinstance(layout, str):
        params["layout"] = json.loads((folder / layout).read_text())
    return inputs, params, expected


def difference(folder: Path, case: dict[str, Any], operation: Operation) -> str | None:
    """Text of the first output in which the operation differs from the vectors, or None."""
    inputs, params, expected = load_case(folder, case)
    outputs = operation(inputs, params)
    for name, want in expected.items():
        if name not in outputs:
            return f"output {name!r} is missing"
        got = np.asarray(outputs[name])
        if got.shape != want.shape:
            return f"{name}: shape {got.shape}, expected {want.shape}"
        wrong = np.atleast_1d(~_agrees(got, want, name, case))
        if wrong.any():
            index = tuple(int(places[0]) for places in np.nonzero(wrong))
            pair = f"{np.atleast_1d(got)[index]!r}, expected {np.atleast_1d(want)[index]!r}"
            return f"{name}: {int(wrong.sum())} of {want.size} differ, first at {index}: {pair}"
    return None


def _agrees(got: np.ndarray, want: np.ndarray, name: str, case: dict[str, Any]) -> np.ndarray:
    if want.dtype.kind in "biuSU":
        return np.asarray(got == want)
    atol = (case.get("atol_by_output") or {}).get(name, case.get("atol", 1e-6))
    return np.isclose(got.astype(np.float64), want.astype(np.float64), rtol=case.get("rtol", 1e-5), atol=atol, equal_nan=True)


def main() -> int:
    """The command; exit status 0 where there were cases and none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("ops_file", type=Path)
    parser.add_argument("--only", default="", help="only cases whose id or operation holds this text")
    args = parser.parse_args()
    operations = load_operations(args.ops_file)
    passed = failed = 0
    for case in cases(args.vectors):
        if args.only not in case["case"] and args.only not in case["op"]:
            continue
        operation = operations.get(case["op"])
        try:
            problem = difference(args.vectors, case, operation) if operation else "no such operation in OPS"
        except Exception as error:  # a case that raises is a case that fails, and the others still count
            problem = f"{type(error).__name__}: {error}"
        passed, failed = passed + (problem is None), failed + (problem is not None)
        if problem:
            print(f"FAIL {case['op']} [{case['case']}] {problem}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
