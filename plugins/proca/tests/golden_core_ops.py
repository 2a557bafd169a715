"""Operations of the reference vectors that belong to the core: data, scores, thresholds, inference."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from udacore.config.schema import PixelConfig, ScheduleConfig
from udacore.data import colour, geometry
from udacore.data.samplers import class_balanced_list
from udacore.data.statistics import count_pixels
from udacore.inference import predict_probability
from udacore.interface import Output
from udacore.labels import get_label_space, lookup_table, remap, synthia16_to_cityscapes19
from udacore.losses import upsample
from udacore.metrics import confusion_matrix, score
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation
from udacore.thresholds import ThresholdCounter, find_thresholds


def poly_lr(inputs: Arrays, params: dict) -> Arrays:
    schedule = ScheduleConfig(name="poly", power=params["power"])
    rates = np.array([params["base_lr"] * rate(schedule, int(step), params["max_iter"]) for step in inputs["iters"]])
    return {"lr_features": rates, "lr_classifier": 10 * rates}


def confusion_of(prediction: np.ndarray, label: np.ndarray, num_classes: int) -> Tensor:
    return confusion_matrix(torch.tensor(label), torch.tensor(prediction), num_classes)


def counts(confusion: Tensor) -> Arrays:
    hit, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {"intersection": hit.numpy(), "union": (rows + columns - hit).numpy(), "target": rows.numpy()}


def iou_counts(inputs: Arrays, params: dict) -> Arrays:
    return counts(confusion_of(inputs["pred"], inputs["labels"], params["num_classes"]))


def evaluate(inputs: Arrays, params: dict) -> Arrays:
    height, width = inputs["labels"].shape[1:]
    prediction = upsample(torch.tensor(inputs["logits"]), (height, width), True).argmax(1)
    confusion = confusion_of(prediction.numpy(), inputs["labels"], params["num_classes"])
    scores = score(confusion, absent="zero")
    means = {"miou": scores.miou, "macc": scores.mean_accuracy, "allacc": scores.pixel_accuracy}
    return {**counts(confusion), "iou_class": np.array(scores.iou), **{name: np.array(value) for name, value in means.items()}}


def label_table(dataset: str, num_classes: int) -> np.ndarray:
    space = get_label_space({19: "cityscapes19", 16: "synthia16"}[num_classes])
    return lookup_table(space, {"gtav": "gta5"}.get(dataset, dataset))


def label_map(inputs: Arrays, params: dict) -> Arrays:
    return {"train_ids": remap(inputs["raw"], label_table(params["dataset"], params["num_classes"]))}


def synthia_ids(inputs: Arrays, params: dict) -> Arrays:
    return {"ids": synthia16_to_cityscapes19(inputs["pred"])}


def resize_normalize(inputs: Arrays, params: dict) -> Arrays:
    height, width = params["size"]
    pixels = PixelConfig(mean=tuple(params["mean"]), std=tuple(params["std"]))
    image = colour.normalize(geometry.resize_image(inputs["image"], (width, height)), pixels)
    label = inputs["labels"].astype(np.uint8)
    return {"image": image, "labels": geometry.resize_label(label, (width, height)) if params["resize_label"] else label}


def scale_crop_flip(inputs: Arrays, params: dict) -> Arrays:
    low, high = params["scales"]
    height, width = params["crop_size"]
    scaled = geometry.scaled_size(inputs["image"], low + (high - low) * params["scale_u"])
    image, label = geometry.resize(inputs["image"], inputs["labels"].astype(np.uint8), scaled)
    corner = (params["crop_top"], params["crop_left"])
    image = geometry.pad_and_crop(image, (width, height), *corner, fill=(params["image_fill"],) * 3)
    label = geometry.pad_and_crop(label, (width, height), *corner, fill=params["label_fill"])
    if params["flip_u"] < params["flip_prob"]:
        image, label = geometry.flip(image), geometry.flip(label)
    return {"image": image, "labels": label}


def gaussian_blur(inputs: Arrays, params: dict) -> Arrays:
    return {"image": geometry.gaussian_blur(inputs["image"], params["sigma"])}


def class_balanced(inputs: Arrays, params: dict) -> Arrays:
    files = class_balanced_list(inputs["presence"], params["numpy_legacy_seed"], params["max_iters"], params["sub_epoch"])
    return {"files": files}


def label_info(inputs: Arrays, params: dict) -> Arrays:
    num_classes = params.get("num_classes", 16 if params["dataset"] == "synthia" else 19)
    table = label_table(params["dataset"], num_classes)
    return {"presence": np.stack([count_pixels(remap(raw, table), num_classes) > 0 for raw in inputs["raw"]])}


def pseudo_thresholds(inputs: Arrays, params: dict) -> Arrays:
    logits = torch.tensor(inputs["logits"])
    counter = ThresholdCounter(logits.shape[1], params["percent"], params["cap"])
    thresholds = find_thresholds(counter, lambda: (tuple(image.softmax(0).max(0)) for image in logits))
    return {"thresholds": thresholds.numpy(), "pixels_per_class": counter.pixels.numpy()}


def multi_scale_inference(inputs: Arrays, params: dict) -> Arrays:
    conv = nn.Conv2d(3, len(inputs["conv_weight"]), 3, stride=4, padding=1)
    conv.load_state_dict({"weight": torch.tensor(inputs["conv_weight"]), "bias": torch.tensor(inputs["conv_bias"])})

    def network(image: Tensor) -> Output:
        return Output(logits=conv(image), features=image)

    how = {"scales": params["scales"], "flip": params["flip"], "align_corners": True}
    return {"probs": predict_probability(network, torch.tensor(inputs["image"]), tuple(params["label_size"]), **how).numpy()}


CORE_OPS: dict[str, Operation] = {
    "proca.poly_lr": poly_lr,
    "proca.pseudo_thresholds": pseudo_thresholds,
    "proca.multi_scale_inference": multi_scale_inference,
    "proca.iou_counts": iou_counts,
    "proca.evaluate": evaluate,
    "proca.label_map": label_map,
    "proca.synthia16_to_cityscapes19": synthia_ids,
    "proca.resize_normalize": resize_normalize,
    "proca.scale_crop_flip": scale_crop_flip,
    "proca.gaussian_blur": gaussian_blur,
    "proca.class_balanced_list": class_balanced,
    "proca.label_info": label_info,
}
