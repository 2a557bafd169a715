"""Operations of the reference vectors that the core answers: pixels, geometry, labels, scores and rates, as the presets set them."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from udacore_clp.checkpoints import CLASSES

from udacore.config.schema import PixelConfig, RoundConfig, ScheduleConfig
from udacore.data import colour, geometry
from udacore.labels import CLASSES19, get_label_space, lookup_table, remap, table_of
from udacore.metrics import confusion_matrix, score
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation
from udacore.testing.runs import configure

SPACES = {"GTAV": "cityscapes19", "SYNTHIA": "synthia16"}
DATASETS = {"GTAV": "gta5", "Cityscapes": "cityscapes", "SYNTHIA": "synthia"}
LAST_ID = {"GTAV": 34, "Cityscapes": 33, "SYNTHIA": 22}


@functools.cache
def preset_round() -> RoundConfig:
    config = configure("clp", "gta5-cityscapes")
    return config.rounds["associate"]


def normalise(inputs: Arrays, params: dict) -> Arrays:
    pixels = {"BGR": preset_round().pixels, "RGB": PixelConfig()}[params["mode"]]
    return {"image": colour.normalize(inputs["image"], pixels)}


def labels_of(raw: np.ndarray, task: str, domain: str) -> np.ndarray:
    """Raw ids in the method's order. Ids beyond a data set's table are ignored here; the authors' program lets them pass."""
    space = get_label_space(SPACES[task.partition(" ")[0]])
    train = remap(raw, lookup_table(space, DATASETS[domain]))
    theirs = remap(train, table_of({number: CLASSES.index(name) for number, name in enumerate(space.classes)}))
    return np.where(raw > LAST_ID[domain], raw, theirs)


def label_mapping(inputs: Arrays, params: dict) -> Arrays:
    return {"labels": labels_of(inputs["raw"], params["task"], params["domain"])}


def to_train_ids(inputs: Arrays, params: dict) -> Arrays:
    return {"train_ids": remap(inputs["classes"], table_of({number: CLASSES19.index(name) for number, name in enumerate(CLASSES)}))}


def evaluation_transform(inputs: Arrays, params: dict) -> Arrays:
    height, width = params["size"]
    protocol = preset_round().evaluate["target"]
    image = geometry.resize_image(inputs["image"], (width, height), protocol.interpolation)
    return {"image": colour.normalize(image, preset_round().pixels), "labels": labels_of(inputs["raw_labels"], params["task"], "Cityscapes")}


def training_transform(inputs: Arrays, params: dict) -> Arrays:
    """The steps of the preset with the given choices in place of random ones."""
    steps = preset_round().source.transform
    assert list(steps) == ["resize_short_side", "flip", "crop"]
    label = labels_of(inputs["raw_labels"], params["task"], params["domain"]).astype(np.uint8)
    size = geometry.short_side_size(inputs["image"], params["short_side"])
    image, label = geometry.resize(inputs["image"], label, size, steps["resize_short_side"].interpolation)
    if params["flip"]:
        image, label = geometry.flip(image), geometry.flip(label)
    window = ((params["crop_size"],) * 2, params["crop_top"], params["crop_left"])
    image = geometry.pad_and_crop(image, *window, pad=steps["crop"].pad, fill=steps["crop"].fill)
    label = geometry.pad_and_crop(label, *window, pad=steps["crop"].pad, fill=geometry.IGNORE)
    return {"image": colour.normalize(image, preset_round().pixels), "labels": label}


def confusion(inputs: Arrays, params: dict) -> Arrays:
    matrix = confusion_matrix(torch.tensor(inputs["labels"]), torch.tensor(inputs["predictions"]), params["num_classes"])
    scores = score(matrix, absent="nan")
    return {
        "matrix": matrix.numpy(), "global_accuracy": np.array(scores.pixel_accuracy), "class_accuracy": np.array(scores.accuracy),
        "iou": np.array(scores.iou), "miou": np.mean(scores.iou),
    }  # fmt: skip


def batch_metrics(inputs: Arrays, params: dict) -> Arrays:
    matrix = confusion_matrix(torch.tensor(inputs["labels"]), torch.tensor(inputs["predictions"]), params["num_classes"])
    scores = score(matrix, absent="zero")
    hit = matrix.diagonal()
    return {
        "miou": np.array(scores.miou), "accuracy": np.array(scores.pixel_accuracy),
        "intersection": hit.numpy(), "union": (matrix.sum(0) + matrix.sum(1) - hit).numpy(),
    }  # fmt: skip


def schedule_of(params: dict, last: int) -> ScheduleConfig:
    if params["kind"] == "poly":
        return ScheduleConfig(name="poly", power=params["power"], horizon=params["max_iterations"])
    if params["kind"] == "inv":
        return ScheduleConfig(name="inv", factor=params["alpha"], power=params["beta"])
    if params["kind"] == "step":  # there the count ends at the first that is not reached yet, in whatever order they stand
        return ScheduleConfig(name="step", at=tuple(itertools.accumulate(params["steps"], max)), factor=params["beta"])
    if params["kind"] == "fixed":
        return ScheduleConfig(name="constant")
    return ScheduleConfig(name="step", at=tuple(range(params["step"], last + 1, params["step"])), factor=params["rate"])  # there: exp


def learning_rate(inputs: Arrays, params: dict) -> Arrays:
    schedule = schedule_of(params, int(inputs["iterations"].max()))
    rates = [params["base_lr"] * rate(schedule, int(step), 1) for step in inputs["iterations"]]
    return {"lr": np.outer(rates, inputs["lr_multipliers"])}


CORE_OPS: dict[str, Operation] = {
    "clp.normalise_image": normalise,
    "clp.label_mapping": label_mapping,
    "clp.to_cityscapes_train_ids": to_train_ids,
    "clp.evaluation_transform": evaluation_transform,
    "clp.training_transform": training_transform,
    "clp.confusion_matrix": confusion,
    "clp.batch_metrics": batch_metrics,
    "clp.learning_rate": learning_rate,
}
