"""Hot spots around the steps: thresholds, pseudo labels, evaluation, labels and lists
(algorithms/proca 6.3, 8, 9)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hot_spots import plain
from hot_spots.inputs import K, Outputs, Pair, Place, case
from udacore.data.samplers import class_balanced_list
from udacore.data.statistics import count_pixels
from udacore.inference import predict_label, predict_probability
from udacore.interface import Output
from udacore.labels import get_label_space, lookup_table, raw_ids, remap
from udacore.metrics import confusion_matrix
from udacore.thresholds import ThresholdCounter, apply_thresholds, find_thresholds


@case("class-wise thresholds")
def thresholds(place: Place) -> Pair:
    number, height, width = place.pick((24, 512, 1024), (3, 32, 64))
    pictures = []
    for index in range(number):
        logits = F.interpolate(place.logits(height // 8, width // 8, seed=2 * index), (height, width), mode="bilinear", align_corners=True)
        confidence, prediction = logits.softmax(1).max(1)
        pictures.append((confidence, prediction))

    def ours() -> Outputs:
        return {"thresholds": find_thresholds(ThresholdCounter(K, 0.6, 0.9, device=place.device), lambda: pictures)}

    return Pair(
        size=f"{number} of 2975 images {height} x {width}, network not counted",
        plain=lambda: {"thresholds": plain.thresholds(pictures, K, 0.6, 0.9)},
        ours=ours,
    )


@case("pseudo label of an image")
def pseudo_label(place: Place) -> Pair:
    size = place.pick((1024, 2048), (64, 128))
    image, limits = place.logits(size[0] // 16, size[1] // 16), np.linspace(0.2, 0.9, K, dtype=np.float32)
    on_device = torch.from_numpy(limits).to(place.device)

    def ours() -> Outputs:
        confidence, prediction = predict_probability(ready, image, size).max(1)
        return {"label": apply_thresholds(confidence, prediction, on_device).cpu()}

    return Pair(
        size=f"logits {K} x {size[0] // 16} x {size[1] // 16} to {size[0]} x {size[1]}",
        plain=lambda: {"label": plain.pseudo_label(image, size, limits)},
        ours=ours,
        ties=1e-5,
    )


@case("counts from labels")
def metrics(place: Place) -> Pair:
    height, width = place.pick((1024, 2048), (64, 128))
    label, prediction = place.label(height, width), place.logits(height, width).argmax(1)
    return Pair(
        size=f"{height} x {width}",
        plain=lambda: {"counts": plain.counts(prediction, label, K)},
        ours=lambda: {"counts": iou_counts(confusion_matrix(label, prediction, K))},
    )


@case("evaluation of an image")
def evaluation(place: Place) -> Pair:
    height, width = place.pick((1024, 2048), (64, 128))
    label, logits = place.label(height, width), place.logits(height // 16, width // 16)
    return Pair(
        size=f"logits {K} x {height // 16} x {width // 16} to {height} x {width}",
        plain=lambda: {"counts": plain.picture_counts(logits, label, (height, width))},
        ours=lambda: {"counts": iou_counts(confusion_matrix(label, predict_label(ready, logits, (height, width)), K))},
        ties=1e-5,
    )


@case("six scales and mirror")
def multi_scale(place: Place) -> Pair:
    height, width = place.pick((512, 1024), (64, 128))
    image, size, scales = place.random(1, 3, height, width), (2 * height, 2 * width), (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    model = TinyNetwork().to(place.device)

    def sequential() -> Outputs:
        with torch.no_grad():
            return {"probability": plain.multi_scale(model, image, size, scales)}

    def ours() -> Outputs:
        return {"probability": predict_probability(model, image, size, scales=scales, flip=True)}

    return Pair(size=f"{height} x {width} to {K} x {size[0]} x {size[1]}, tiny network", plain=sequential, ours=ours)


@case("sliding windows of an image")
def sliding_windows(place: Place) -> Pair:
    height, width, window = place.pick((1024, 2048, 1024), (64, 128, 64))
    image, size, stride = place.random(1, 3, height, width), (height, width), window // 2
    model = TinyNetwork().to(place.device)

    def sequential() -> Outputs:
        with torch.no_grad():
            return {"label": plain.slide(model, image, size, window, stride)}

    def ours() -> Outputs:
        choices = {"window": (window, window), "stride": (stride, stride), "window_batch": 3}
        return {"label": predict_label(model, image, size, **choices)}

    what = f"{height} x {width}, windows of {window}, {K} classes, tiny network"
    return Pair(size=what, plain=sequential, ours=ours, ties=1e-5)


@case("label ids, GTA5")
def label_ids(place: Place) -> Pair:
    return remapping(place.pick((1052, 1914), (64, 96)), "cityscapes19", "gta5", np.uint8)


@case("label ids, SYNTHIA")
def label_ids_16_bit(place: Place) -> Pair:
    return remapping(place.pick((760, 1280), (64, 96)), "synthia16", "synthia", np.uint16)


def remapping(size: tuple[int, int], space_name: str, dataset: str, dtype: type) -> Pair:
    space = get_label_space(space_name)
    raw = np.random.default_rng(0).integers(0, 35, size).astype(dtype)
    table, ids = lookup_table(space, dataset), dict(raw_ids(space, dataset) or {})
    return Pair(
        size=f"{size[0]} x {size[1]}, {len(space)} classes, {np.dtype(dtype)}",
        plain=lambda: {"label": plain.remap(raw, ids).astype(np.uint8)},
        ours=lambda: {"label": remap(raw, table)},
    )


@case("class statistics of a label")
def statistics(place: Place) -> Pair:
    height, width = place.pick((1052, 1914), (64, 96))
    label = place.label(height, width)[0].cpu().numpy().astype(np.uint8)
    return Pair(
        size=f"{height} x {width}",
        plain=lambda: {"pixels": plain.class_pixels(label, K)},
        ours=lambda: {"pixels": count_pixels(label, K)},
    )


@case("class-balanced list")
def class_balanced(place: Place) -> Pair:
    number, sub_epochs, length = place.pick((24966, 10, 3000), (60, 2, 100))
    share = np.array([24795, 24288, 24918, 23869, 21022, 24764, 18556, 15078, 24802, 24434, 24762, 23433, 3260, 22904, 16712, 5079, 1128, 4184, 440])
    presence = np.random.default_rng(0).random((number, K)) < share / 24966
    presence[:3] = True  # two files or more of each class: the published program fails with one
    return Pair(
        size=f"{sub_epochs * length} of 720000 draws from {number} files",
        plain=lambda: {"files": np.array(plain.class_balanced_list(presence, 0, sub_epochs, length))},
        ours=lambda: {"files": class_balanced_list(presence, 0, (sub_epochs - 1) * length, length)},
    )


def iou_counts(confusion: Tensor) -> Tensor:
    """Intersection, union, label pixels (3 K), on the host."""
    confusion = confusion.cpu()
    hit, labelled = confusion.diagonal(), confusion.sum(1)
    return torch.stack([hit, labelled + confusion.sum(0) - hit, labelled])


class Ready(nn.Module):
    """A "network" whose input are its logits."""

    align_corners = True

    def forward(self, logits: Tensor) -> Output:
        return Output(logits=logits, features=logits)


class TinyNetwork(nn.Module):
    """Means of 8 x 8 pixels, and one convolution with fixed weights."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, K, 3, padding=1)
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))

    def forward(self, image: Tensor) -> Output:
        features = F.avg_pool2d(image, 8, ceil_mode=True)
        return Output(logits=self.head(features), features=features)


ready = Ready()
