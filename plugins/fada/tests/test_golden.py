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


def transformed(operations, **params):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    inputs = {"image": image, "label": np.arange(48).reshape(6, 8) % 19}
    return operations["fada.transform"](inputs, {"mode": "train", "is_source": True, "source_input_size_train": [8, 6], **params})


def test_a_transform_without_a_scale_resizes_and_may_mirror(operations):
    plain = transformed(operations)
    for draws, flips in (([0.4], True), ([0.6], False)):
        given = {"input_scales_train": [1.0, 1.0], "horizontal_flip_prob_train": 0.5, "draws": {"random": draws}}
        for left_out in ((), ("input_scales_train",)):
            found = transformed(operations, **{name: value for name, value in given.items() if name not in left_out})
            assert (found["label"] == (plain["label"][:, ::-1] if flips else plain["label"])).all()
            assert (found["image"] == (plain["image"][:, :, ::-1] if flips else plain["image"])).all()


@pytest.mark.parametrize("flip", [{}, {"horizontal_flip_prob_train": 0.0}])
def test_a_transform_that_never_mirrors_draws_no_number_for_it(flip, operations):
    found = transformed(operations, input_scales_train=[0.5, 1.5], draws={"random": [0.0], "randint": [3, 4]}, **flip)
    assert found["image"].shape == (3, 6, 8)
    assert (found["label"][3:] == 255).all()


def test_a_transform_has_the_default_sizes_and_statistics_of_the_authors(operations):
    assert transformed(operations, mode="test")["image"].shape == (3, 512, 1024)
    plain = transformed(operations)["image"] * 0.229 + 0.485
    assert transformed(operations, pixel_mean=[0.0, 0.0, 0.0])["image"][0] * 0.229 == pytest.approx(plain[0], abs=1e-6)


def test_a_label_map_of_three_columns_is_no_image_of_three_channels(operations):
    raw = np.array([[7, 8, 11], [0, 33, 255]], np.uint8)
    params = {"dataset": "gta5", "num_classes": 19}
    assert operations["fada.label_map"]({"raw": raw}, params)["train_ids"].tolist() == [[0, 1, 2], [255, 18, 255]]
    found = operations["fada.label_info"]({"raw": raw[None]}, params)
    assert found["file_to_label"].tolist() == [[0, 1, 2, 18]]


def test_probabilities_of_a_class_balanced_list_go_on_over_short_sub_epochs(operations):
    inputs = {"presence": np.eye(3, dtype=np.uint8), "label_to_file": np.arange(3)[:, None]}
    params = {"seed": 1, "max_iters": 9, "num_classes": 3, "sub_epoch_size": 5}
    found = operations["fada.class_balanced_list"](inputs, params)
    assert found["probabilities"].shape == (10, 3)
    assert found["probabilities"][5] == pytest.approx(1 / 3)
