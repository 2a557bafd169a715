"""Scores from confusion matrices, with classes that are absent, and the tables made of them."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
import torch

from udacore import metrics
from udacore.metrics import confusion_matrix, f1_of, format_scores, mean_of, score, subset_space


def random_maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Label and prediction, 2 x 33 x 49, five classes of which 3 is in neither; with
    ignored pixels and predictions."""
    generator = torch.Generator().manual_seed(seed)
    label, prediction = (torch.randint(0, 5, (2, 33, 49), generator=generator) for _ in range(2))
    label[label == 3] = 255
    prediction[prediction == 3] = 0
    prediction[0, :3] = 255
    label[1, 0] = -1
    return label, prediction


def test_confusion_matrix_counts_pairs_with_labels_as_rows() -> None:
    label, prediction = random_maps()
    matrix = confusion_matrix(label, prediction, 5)
    assert matrix.dtype == torch.int64
    for a in range(5):
        for b in range(5):
            assert matrix[a, b] == ((label == a) & (prediction == b)).sum()
    assert torch.equal(confusion_matrix(label, prediction.to(torch.uint8), 5), matrix)


def test_confusion_matrix_of_ignored_pixels_is_zero() -> None:
    label, prediction = random_maps()
    assert confusion_matrix(torch.full_like(label, 255), prediction, 5).sum() == 0


def test_scores_equal_sets_of_pixels_for_both_absent_rules() -> None:
    label, prediction = random_maps()
    counts = (label >= 0) & (label < 5) & (prediction < 5)
    matrix = confusion_matrix(label, prediction, 5)
    nan, zero = score(matrix), score(matrix, absent="zero")
    for c in (0, 1, 2, 4):
        both = (counts & (label == c) & (prediction == c)).sum().item()
        either = (counts & ((label == c) | (prediction == c))).sum().item()
        labelled = (counts & (label == c)).sum().item()
        assert nan.iou[c] == both / either
        assert zero.iou[c] == pytest.approx(both / either, abs=1e-9)
        assert nan.accuracy[c] == both / labelled
    assert math.isnan(nan.iou[3])
    assert math.isnan(nan.accuracy[3])
    assert zero.iou[3] == zero.accuracy[3] == 0
    assert (nan.counted, zero.counted) == (4, 5)
    assert nan.miou == pytest.approx(sum(nan.iou[c] for c in (0, 1, 2, 4)) / 4)
    assert zero.miou == pytest.approx(nan.miou * 4 / 5)
    assert zero.mean_accuracy == pytest.approx(nan.mean_accuracy * 4 / 5)
    assert nan.pixel_accuracy == (counts & (label == prediction)).sum().item() / counts.sum().item()


def test_a_class_that_is_only_predicted_counts_as_zero_under_both_rules() -> None:
    scores = score(np.array([[2, 2], [0, 0]]))
    assert scores.iou == (0.5, 0.0)
    assert math.isnan(scores.accuracy[1])
    assert scores.counted == 2


def test_subsets_take_means_of_the_whole_matrix() -> None:
    matrix = torch.tensor([[3, 0, 1], [0, 5, 0], [2, 0, 4]])
    scores = score(matrix, subsets={"two": [0, 1], "one": [2]})
    assert scores.subsets == {"two": pytest.approx((3 / 6 + 1) / 2), "one": pytest.approx(4 / 7)}


def test_a_subset_alone_ignores_the_pixels_of_other_classes() -> None:
    label, prediction = random_maps()
    matrix = confusion_matrix(label, prediction, 5)
    scores = score(matrix, subsets={"some": [0, 2, 4], "some:alone": [0, 2, 4], "all:alone": range(5)})
    kept = (label == 0) | (label == 2) | (label == 4)
    union = [int((kept & ((label == k) | (prediction == k)) & (prediction < 5)).sum()) for k in (0, 2, 4)]
    hits = [int(((label == k) & (prediction == k)).sum()) for k in (0, 2, 4)]
    assert scores.subsets["some:alone"] == pytest.approx(np.mean(np.array(hits) / union))
    assert scores.subsets["some:alone"] > scores.subsets["some"]
    assert scores.subsets["all:alone"] == pytest.approx(scores.miou)


def test_a_prediction_of_a_class_outside_is_a_miss_for_a_subset_alone() -> None:
    matrix = np.array([[3, 1, 4], [0, 2, 0], [9, 9, 9]])  # of class 0 eight pixels, four of them taken for class 2
    assert score(matrix, subsets={"two:alone": [0, 1]}).subsets["two:alone"] == pytest.approx((3 / 8 + 2 / 3) / 2)


@pytest.mark.parametrize("absent", ["nan", "zero"])
def test_the_sum_of_all_ious_is_divided_by_the_classes_of_the_subset(absent: Any) -> None:
    matrix = np.array([[3, 1, 0, 0], [0, 2, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    scores = score(matrix, absent=absent, subsets={"two:sum": [0, 1], "two:alone": [0, 3]})
    total = 3 / 8 + 2 / 3
    assert scores.miou == pytest.approx(total / (3 if absent == "nan" else 4))
    assert scores.subsets["two:sum"] == pytest.approx(scores.miou * 4 / 2)
    assert scores.subsets["two:alone"] == pytest.approx(3 / 4 / (1 if absent == "nan" else 2))


def test_the_rule_stands_behind_the_name_of_a_subset() -> None:
    names = ["synthia16", "synthia16:alone", "synthia16:sum", "package:own.yaml:sum", "package:own.yaml"]
    assert [subset_space(name) for name in names] == ["synthia16", "synthia16", "synthia16", "package:own.yaml", "package:own.yaml"]


def test_nothing_counted_gives_nan_or_zero_without_a_warning() -> None:
    empty = torch.zeros(3, 3, dtype=torch.int64)
    assert math.isnan(score(empty, subsets={"all": [0, 1]}).miou)
    assert score(empty).counted == 0
    assert score(empty, absent="zero").miou == score(empty, absent="zero").pixel_accuracy == 0


def test_counts_above_the_precision_of_float32_are_exact() -> None:
    large = 2**40 + 1
    assert score(torch.tensor([[large, 1], [0, 0]])).iou[0] == large / (large + 1)


def test_table_for_terminals_has_a_line_for_each_class() -> None:
    rows = {"source": score(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])), "adapt": score(np.eye(3, dtype=np.int64), subsets={"13": [0]})}
    assert format_scores(rows, ["road", "sky", "car"]).splitlines() == [
        "         source    F1  adapt     F1",
        "road       75.0  85.7  100.0  100.0",
        "sky        80.0  88.9  100.0  100.0",
        "car           -     -  100.0  100.0",
        "mIoU       77.5  87.3  100.0  100.0",
        "mIoU 13       -        100.0",
    ]


def test_table_for_a_page_has_a_line_for_each_name() -> None:
    table = format_scores({"adapt": score(np.array([[3, 1], [0, 4]]))}, ["road", "sky"], style="markdown")
    lines = ["|  | road | sky | mIoU |", "| --- | ---: | ---: | ---: |", "| adapt | 75.0 | 80.0 | 77.5 |", "| adapt F1 | 85.7 | 88.9 | 87.3 |"]
    assert table.splitlines() == lines


@pytest.mark.parametrize("absent", ["nan", "zero"])
def test_f1_is_twice_the_hits_by_labelled_and_predicted_pixels(absent: str) -> None:
    confusion = np.array([[5, 2, 0, 0], [1, 7, 0, 3], [0, 0, 0, 0], [2, 0, 0, 0]])
    scores = score(confusion, absent=absent)  # type: ignore[arg-type]
    expected = [2 * 5 / (7 + 8), 2 * 7 / (11 + 9), math.nan if absent == "nan" else 0.0, 0.0]
    assert scores.f1 == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert scores.mean_f1 == pytest.approx(sum(expected[:2]) / (3 if absent == "nan" else 4), abs=1e-9)
    assert f1_of(scores.iou) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert mean_of([math.nan, 0.5, 1.0]) == 0.75


def test_the_documented_example_holds() -> None:
    result = doctest.testmod(metrics)
    assert (result.failed, result.attempted) == (0, 2)
