"""Every operation agrees with the numbers that the authors' program computed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
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


def test_only_checkpoints_of_a_folder_are_evaluated_in_the_order_of_their_names(operations):
    label, files = np.zeros((1, 2, 2), np.int64), ["notes7.csv", "g2c_sd.pth", "a30.pth"]
    predictions = np.stack([np.full_like(label, c) for c in (2, 1, 0)])
    table = operations["fada.evaluate_directory"](
        {"labels": label, "predictions": predictions}, {"num_classes": 3, "checkpoint_files": files}
    )["table"]
    assert table[:, 0].tolist() == [30, 2]
    assert table[:, 2] == pytest.approx([1, 0])


def test_the_network_of_the_training_cases_has_the_channels_of_its_weights(operations):
    rng = np.random.default_rng(0)
    shapes = {"feature_extractor.conv.weight": (3, 3, 3, 3), "feature_extractor.conv.bias": (3,)}
    for branch in range(4):
        shapes |= {f"classifier.conv2d_list.{branch}.weight": (2, 3, 3, 3), f"classifier.conv2d_list.{branch}.bias": (2,)}
    inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    inputs |= {"src_images": np.ones((1, 1, 3, 8, 8), np.float32), "src_labels": np.zeros((1, 1, 8, 8), np.int64)}
    params = {
        "num_classes": 2, "iterations": 1, "base_lr": 0.01, "base_lr_d": 0.001, "max_iter": 10, "power": 0.9, "momentum": 0.9, "weight_decay": 0.0005,
        "temperature": 1.0, "clip": 0.9, "adam_betas": [0.9, 0.99], "first_iteration": 0, "feature_stride": 2,
    }  # fmt: skip
    outputs = operations["fada.supervised_iterations"](inputs, params)
    assert {name: outputs[name].shape for name in shapes} == shapes
    assert (outputs["classifier.conv2d_list.0.bias"] != inputs["classifier.conv2d_list.0.bias"]).all()
