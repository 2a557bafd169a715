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


def test_rates_momentum_and_shapes_are_the_cases_own(operations):
    """Further cases may ask for other numbers than the presets hold."""
    steps, rates = np.arange(5), {"base_lr_encoder": 1.0, "base_lr_decoder": 2.0, "num_steps": 5}
    found = operations["pycda.lr.step"]({"iterations": steps}, {**rates, "drop_iteration": 2, "factor": 0.5})
    np.testing.assert_allclose(found["lr_decoder"], [2, 2, 2, 1, 1])
    found = operations["pycda.lr.poly"]({"iterations": steps}, {**rates, "power": 1.0})
    np.testing.assert_allclose(found["lr_encoder"], [1, 1, 0.8, 0.6, 0.4])
    params = {"stage": "pretrain", "lr_encoder": 0.5, "lr_decoder": 1.0, "steps": 2, "momentum": 0.5, "weight_decay": 1.0}
    shapes = {"conv_weight": (4, 1, 1, 1), "conv_bias": (4,), "bn_weight": (4,), "bn_bias": (4,)}
    inputs = {f"{part}_{key}": np.ones(shape, np.float32) for part in ("encoder", "decoder") for key, shape in shapes.items()}
    inputs |= {f"{part}_grad_{key}": np.zeros((2, *shape), np.float32) for part in ("encoder", "decoder") for key, shape in shapes.items()}
    found = operations["pycda.sgd"](inputs, params)
    # 1 - 0.5 = 0.5, then v = 0.5 + 0.5 and 0.5 - 0.5; 1 - 1 = 0, then v = 0.5 + 0
    assert {key: value.flat[0] for key, value in found.items() if value.flat[0] != 1} == {"encoder_conv_weight": 0, "decoder_conv_weight": -0.5}
