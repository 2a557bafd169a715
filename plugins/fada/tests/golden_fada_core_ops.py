"""Operations of FADA's reference vectors that belong to the core, each answered by a public function of it.

One case of theirs is not here: the segmentation loss without any valid pixel, which is NaN there and a zero in the core.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from udacore.config.schema import PixelConfig, ScheduleConfig
from udacore.config.transforms import Crop, Flip, Resize, Scale
from udacore.data import colour
from udacore.data.reading import write_label
from udacore.data.samplers import class_balanced_list, class_balanced_sub_epochs
from udacore.data.statistics import count_pixels
from udacore.data.transforms import Sample, apply_transforms
from udacore.inference import predict_label, predict_probability
from udacore.interface import Output
from udacore.labels import get_label_space, lookup_table, raw_ids, remap, synthia16_to_cityscapes19
from udacore.losses import segmentation_loss, soft_cross_entropy
from udacore.metrics import confusion_matrix, score
from udacore.models import FrozenBatchNorm2d
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation

SPACES = {19: "cityscapes19", 16: "synthia16"}


def space_of(num_classes: int) -> Any:
    return get_label_space(SPACES[num_classes])


def poly_lr(inputs: Arrays, params: dict) -> Arrays:
    schedule = ScheduleConfig(name="poly", power=params["power"], horizon=params["max_iter"])
    base = params["base_lr"] * params["multiplier"]
    return {"lr": np.array([base * rate(schedule, int(step), steps=1) for step in inputs["iterations"]])}


def first_channel(raw: np.ndarray, dimensions: int) -> np.ndarray:
    """Raw ids of so many dimensions: a file of three channels (SYNTHIA's) holds them in the first."""
    return raw[..., 0] if raw.ndim > dimensions else raw


def label_map(inputs: Arrays, params: dict) -> Arrays:
    table = lookup_table(space_of(params["num_classes"]), params["dataset"])
    return {"train_ids": remap(first_channel(inputs["raw"], 2), table)}


def padded(rows: list[list[int]]) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows])


def label_info(inputs: Arrays, params: dict) -> Arrays:
    space = space_of(params["num_classes"])
    table = lookup_table(space, params["dataset"])
    presence = np.stack([count_pixels(remap(raw, table), len(space)) > 0 for raw in first_channel(inputs["raw"], 3)])
    by_raw_id = [train for raw, train in sorted((raw_ids(space, params["dataset"]) or {}).items())]
    return {
        "label_to_file": padded([np.flatnonzero(column).tolist() for column in presence.T]),
        "file_to_label": padded([[c for c in by_raw_id if row[c]] for row in presence]),
    }


def class_balanced(inputs: Arrays, params: dict) -> Arrays:
    arguments = (inputs["presence"], params["seed"])
    stored = [row[row >= 0].tolist() for row in inputs["label_to_file"]]
    count, size = params["max_iters"], params["sub_epoch_size"]
    stretches = class_balanced_sub_epochs(*arguments, size, stored)
    made = [next(stretches) for _ in range(count // size + 1)]
    return {
        "files": class_balanced_list(*arguments, count, size, stored),
        "classes": np.concatenate([stretch.classes for stretch in made]),
        "probabilities": np.concatenate([stretch.probability for stretch in made])[:40],
    }


def stand_in(inputs: Arrays) -> nn.Module:
    """The network of the inference cases: a convolution of stride 4, ReLU, a 1x1 convolution."""
    features = nn.Conv2d(3, len(inputs["fea_weight"]), 3, stride=4, padding=1)
    classifier = nn.Conv2d(features.out_channels, len(inputs["cls_weight"]), 1)
    for conv, name in ((features, "fea"), (classifier, "cls")):
        conv.load_state_dict({key: torch.tensor(inputs[f"{name}_{key}"]) for key in ("weight", "bias")})
    return nn.Sequential(features, nn.ReLU(), classifier)


def inference(inputs: Arrays, params: dict, scales: tuple[float, ...] = (1.0,)) -> Arrays:
    network = stand_in(inputs)

    def model(image: Tensor) -> Output:
        return Output(logits=network(image), features=image)

    how = {"flip": params["flip"], "scales": scales, "align_corners": True}
    return {"probabilities": predict_probability(model, torch.tensor(inputs["image"]), tuple(params["size"]), **how).numpy()}


def multi_scale_inference(inputs: Arrays, params: dict) -> Arrays:
    return inference(inputs, params, tuple(params.get("scales", (0.7, 1.0, 1.3))))


def pseudo_label(inputs: Arrays, params: dict) -> Arrays:
    logits = torch.tensor(inputs["logits"])
    label = predict_label(lambda image: Output(logits=logits, features=image), logits, tuple(params["size"]), align_corners=True)
    palette = list(get_label_space("cityscapes19").palette)
    palette[10] = (0, 130, 180)  # the authors' sky
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.png"
        write_label(path, label[0].numpy().astype(np.uint8), palette)
        with Image.open(path) as picture:
            return {"label": np.asarray(picture), "rgb": np.asarray(picture.convert("RGB"))}


def synthia_ids(inputs: Arrays, params: dict) -> Arrays:
    return {"city": synthia16_to_cityscapes19(inputs["pred"])}


def iou(inputs: Arrays, params: dict) -> Arrays:
    confusion = confusion_matrix(torch.tensor(inputs["labels"]), torch.tensor(inputs["predictions"]), params["num_classes"])
    hit, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    scores = score(confusion, absent="zero")
    means = {"miou": scores.miou, "macc": scores.mean_accuracy, "allacc": scores.pixel_accuracy}
    counts = {"intersection": hit.numpy(), "union": (rows + columns - hit).numpy(), "target": rows.numpy()}
    classes = {"iou": np.array(scores.iou), "accuracy": np.array(scores.accuracy)}
    return {**counts, **classes, **{name: np.array(value) for name, value in means.items()}}


class Scripted:
    """A random generator that gives recorded numbers."""

    def __init__(self, draws: dict[str, list[float]]) -> None:
        self.uniform, self.whole = iter(draws.get("random", [])), iter(draws.get("randint", []))

    def random(self) -> float:
        return next(self.uniform)

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        value = next(self.whole)
        assert endpoint
        assert low <= value <= high
        return int(value)


DEFAULT_SIZES = {"source_input_size_train": (1280, 720), "target_input_size_train": (1024, 512), "input_size_test": (1024, 512)}
IMAGENET = PixelConfig()


def transform_steps(params: dict) -> dict[str, Any]:
    """The steps that the authors' settings stand for; what a case leaves out has their default."""
    training = params["mode"] == "train"
    slot = "input_size_test" if not training else "source_input_size_train" if params["is_source"] else "target_input_size_train"
    size = tuple(params.get(slot, DEFAULT_SIZES[slot]))
    scales = tuple(params.get("input_scales_train", (1.0, 1.0)))
    steps: dict[str, Any] = {"resize": Resize(size=size)}
    if training and scales != (1.0, 1.0):
        steps = {"scale": Scale(range=scales), "crop": Crop(size=size)}
    if training and params.get("horizontal_flip_prob_train", 0) > 0:
        steps["flip"] = Flip(probability=params["horizontal_flip_prob_train"])
    return steps


def transform(inputs: Arrays, params: dict) -> Arrays:
    training, steps = params["mode"] == "train", transform_steps(params)
    label = inputs["label"].astype(np.uint8)
    sample = Sample(image=inputs["image"], label=label if training else None)
    sample = apply_transforms(sample, steps, Scripted(params.get("draws", {})))
    statistics = {"mean": tuple(params.get("pixel_mean", IMAGENET.mean)), "std": tuple(params.get("pixel_std", IMAGENET.std))}
    order = {"order": "bgr", "scale": 255.0} if params.get("to_bgr255") else {}
    return {
        "image": colour.normalize(sample.image, PixelConfig(**statistics, **order)),
        "label": sample.label if training else label,
    }


def frozen_batch_norm(inputs: Arrays, params: dict) -> Arrays:
    norm = FrozenBatchNorm2d(inputs["x"].shape[1], eps=0.0)
    norm.load_state_dict({key: torch.tensor(inputs[key]) for key in ("weight", "bias", "running_mean", "running_var")})
    x = torch.tensor(inputs["x"], requires_grad=True)
    y = norm(x)
    y.backward(torch.tensor(inputs["grad_out"]))
    return {"y": y.detach().numpy(), "grad_x": x.grad.numpy()}


def segmentation(inputs: Arrays, params: dict) -> Arrays:
    logits = torch.tensor(inputs["logits"], requires_grad=True)
    loss = segmentation_loss(logits / params["temperature"], torch.tensor(inputs["labels"]), align_corners=True)
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_logits": logits.grad.numpy()}


def soft_labels(inputs: Arrays, params: dict) -> Arrays:
    logits = torch.tensor(inputs["pred"], requires_grad=True)
    weight = torch.tensor(inputs["pixel_weights"]) if "pixel_weights" in inputs else None
    loss = soft_cross_entropy(logits, torch.tensor(inputs["soft_label"]), weight)
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_pred": logits.grad.numpy()}


OPS: dict[str, Operation] = {
    "fada.poly_lr": poly_lr,
    "fada.label_map": label_map,
    "fada.label_info": label_info,
    "fada.class_balanced_list": class_balanced,
    "fada.inference": inference,
    "fada.multi_scale_inference": multi_scale_inference,
    "fada.pseudo_label": pseudo_label,
    "fada.synthia16_to_city19": synthia_ids,
    "fada.iou": iou,
    "fada.transform": transform,
    "fada.frozen_batch_norm": frozen_batch_norm,
    "fada.segmentation_loss": segmentation,
    "fada.soft_label_cross_entropy": soft_labels,
}
