"""Evaluation: the protocol as chosen, exact counts, no trace left."""

from __future__ import annotations

import json
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from udacore.config.schema import DataConfig, EvaluationConfig, ModelConfig, PixelConfig
from udacore.data.colour import normalize
from udacore.data.geometry import resize_image
from udacore.data.tables import open_table
from udacore.engine.evaluation import EvaluationSet, describe_protocol, evaluate, predict_under
from udacore.engine.machine.device import Machine
from udacore.inference import predict_label
from udacore.labels import get_label_space, subset_indices
from udacore.metrics import Scores
from udacore.models import build_segmenter

CPU = Machine(device=torch.device("cpu"))
SPACE = get_label_space("streets")
PIXELS = PixelConfig()


@attrs.frozen(kw_only=True)
class Pictures:
    """A table of embedded images cut to sizes of their own, odd ones among them."""

    table: Any
    sizes: tuple[tuple[int, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.table.names[: len(self.sizes)]
        return names

    def __len__(self) -> int:
        return len(self.sizes)

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.sizes[index]
        image, label = self.table.read_pair(index)
        return image[:height, :width].copy(), label[:height, :width].copy()


def make_set(sizes: tuple[tuple[int, int], ...] = ((32, 64),) * 5, **choices: Any) -> EvaluationSet:
    table = open_table(DataConfig(image_size=(64, 32), count=len(sizes), split="val"), SPACE, domain="target", labels=True)
    pictures: Any = Pictures(table=table, sizes=sizes)
    return EvaluationSet(name="target", domain="target", config=EvaluationConfig(**choices), table=pictures, space=SPACE, pixels=PIXELS)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(name="small"), 12)
    for _ in range(3):
        model(torch.randn(2, 3, 32, 64))  # statistics of some sort
    return model


def count_by_hand(model: nn.Module, data: EvaluationSet, **choices: Any) -> Tensor:
    """The confusion matrix image by image, in numpy."""
    confusion = np.zeros((12, 12), np.int64)
    model.eval()
    for index in range(len(data.table)):
        image, label = data.table.read_pair(index)
        if data.config.size is not None:
            image = resize_image(image, data.config.size, data.config.interpolation)
        tensor = torch.from_numpy(normalize(image, PIXELS))[None]
        predicted = predict_label(model, tensor, label.shape, **choices)[0].numpy()
        np.add.at(confusion, (label[label < 12], predicted[label < 12]), 1)
    model.train()
    return torch.from_numpy(confusion)


def iou_of(confusion: Tensor) -> list[float]:
    hits = confusion.diag().double()
    return (hits / (confusion.sum(0) + confusion.sum(1) - hits)).tolist()


def assert_scores(scores: Scores, confusion: Tensor) -> None:
    assert list(scores.iou) == pytest.approx(iou_of(confusion), nan_ok=True)
    assert scores.miou == pytest.approx(float(np.nanmean(iou_of(confusion))))
    assert 0 < scores.miou < 1


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_images_of_any_size_are_counted_once_whatever_the_batch(model: nn.Module, batch: int) -> None:
    data = make_set(((32, 64), (32, 64), (31, 57), (17, 64), (17, 64), (17, 64), (32, 64)), batch=batch)
    assert_scores(evaluate(model, data, CPU), count_by_hand(model, data))


def test_workers_change_nothing(model: nn.Module) -> None:
    data = make_set(((32, 64), (31, 57), (17, 64), (32, 64), (32, 64)), batch=2)
    assert evaluate(model, data, CPU, workers=1) == evaluate(model, data, CPU)


@pytest.mark.parametrize(
    ("config", "choices"),
    [
        ({"scales": (0.75, 1.0, 1.25), "flip": True}, {"scales": (0.75, 1.0, 1.25), "flip": True}),
        ({"window": (40, 32), "stride": (24, 32)}, {"window": (32, 40), "stride": (32, 24)}),
        ({"window": (40, 16), "stride": (24, 8), "window_batch": 4}, {"window": (16, 40), "stride": (8, 24)}),
        ({"size": (48, 24), "interpolation": "opencv"}, {}),
        ({"size": (96, 48), "interpolation": "bilinear", "upsample": "probability"}, {"upsample": "probability"}),
        ({"align_corners": False}, {"align_corners": False}),
    ],
    ids=["scales and flip", "window", "windows together", "opencv", "size", "corners"],
)
def test_the_protocol_is_what_the_configuration_says(model: nn.Module, config: dict[str, Any], choices: dict[str, Any]) -> None:
    data = make_set(((32, 64), (32, 64), (31, 57)), **config)
    assert_scores(evaluate(model, data, CPU), count_by_hand(model, data, **choices))
    protocol = describe_protocol(data, model, CPU, "last")
    config = {key: value for key, value in config.items() if key != "window_batch"}  # changes no number
    assert {key: protocol[key] for key in config} == json.loads(json.dumps(config))  # lists, as metrics.jsonl gives them back
    assert (protocol["checkpoint"], protocol["images"], protocol["label_space"], protocol["head_classes"]) == ("last", 3, "streets", 12)


def test_windows_go_through_the_network_together(model: nn.Module) -> None:
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    protocol = EvaluationConfig(window=(40, 16), stride=(24, 8), window_batch=4)
    predict_under(protocol, model, torch.randn(1, 3, 32, 64), (32, 64))  # also the way of `uda predict`
    handle.remove()
    assert seen == [4, 2]


def test_modes_and_random_states_are_as_before(model: nn.Module) -> None:
    model.train()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    evaluate(model, make_set(), CPU)
    assert torch.equal(torch.rand(3), expected)
    assert all(module.training for module in model.modules())


def test_subsets_take_their_mean_from_the_same_counts(workshop: Any) -> None:
    """A row of the metrics: 16 classes scored, 13 of them besides."""
    torch.manual_seed(0)
    network = build_segmenter(ModelConfig(name="small"), 16)
    space = get_label_space("synthia16")

    class Fixed(Pictures):
        def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            image, _ = super().read_pair(index)
            return image, (np.arange(32 * 64).reshape(32, 64) % 16).astype(np.uint8)

    table: Any = Fixed(table=make_set().table.table, sizes=((32, 64),) * 2)  # type: ignore[attr-defined]
    config = EvaluationConfig(subsets=("synthia13",), absent="zero")
    data = EvaluationSet(name="t", domain="target", config=config, table=table, space=space, pixels=PIXELS)
    scores = evaluate(network, data, CPU)
    thirteen = [scores.iou[space.classes.index(name)] for name in get_label_space("synthia13").classes]
    assert len(thirteen) == 13
    assert scores.subsets == {"synthia13": pytest.approx(sum(thirteen) / 13)}
    assert scores.subsets["synthia13"] != scores.miou


def test_19_outputs_are_scored_over_16_classes_in_three_ways(workshop: Any) -> None:
    """Against IoUs counted by hand: all pixels, those of the 16 alone, and the sum of all 19."""
    torch.manual_seed(0)
    network = build_segmenter(ModelConfig(name="small"), 19)
    space, kept = get_label_space("cityscapes19"), subset_indices(get_label_space("cityscapes19"), "synthia16")
    label = (np.arange(32 * 64).reshape(32, 64) % 19).astype(np.uint8)

    class Fixed(Pictures):
        def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return super().read_pair(index)[0], label

    table: Any = Fixed(table=make_set().table.table, sizes=((32, 64),) * 2)  # type: ignore[attr-defined]
    names = ("synthia16", "synthia16:alone", "synthia16:sum")
    config = EvaluationConfig(subsets=names)
    scores = evaluate(network, EvaluationSet(name="t", domain="target", config=config, table=table, space=space, pixels=PIXELS), CPU)
    network.eval()
    images = torch.stack([torch.from_numpy(normalize(table.read_pair(index)[0], PIXELS)) for index in range(2)])
    prediction = predict_label(network, images, (32, 64)).numpy()

    def iou(number: int, alone: bool) -> float:
        counts = np.isin(label, kept) if alone else np.ones_like(label, bool)
        hit = ((prediction == number) & (label == number)).sum()
        return float(hit / (((prediction == number) | (label == number)) & counts).sum())

    assert scores.subsets["synthia16"] == pytest.approx(np.mean([iou(number, False) for number in kept]))
    assert scores.subsets["synthia16:alone"] == pytest.approx(np.mean([iou(number, True) for number in kept]))
    assert scores.subsets["synthia16:sum"] == pytest.approx(sum(iou(number, False) for number in range(19)) / 16)
    assert len({scores.miou, *scores.subsets.values()}) == 4
