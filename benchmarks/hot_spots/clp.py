"""PLCA's hot spots: association and its gradients, aggregated inference (algorithms/clp 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from udacore_clp.aggregation import aggregate
from udacore_clp.association import association_loss

from hot_spots import plain_clp
from hot_spots.inputs import K, Outputs, Pair, Place, case, with_gradients

Size = tuple[int, int]


def features(place: Place, size: Size, channels: int, seed: int) -> tuple[Tensor, Tensor]:
    """1 A h w of a network half trained: a class's own vector under noise,
    rectified; and the labels, 1 h w."""
    label = F.interpolate(place.random(1, K, 10, 10, seed=seed), size).argmax(1)
    classes = place.random(K, channels, seed=99)
    x = 0.25 * classes[label].permute(0, 3, 1, 2) + place.random(1, channels, *size, seed=seed + 1)
    return x.relu_().contiguous(), label


def probabilities(place: Place, size: Size, seed: int) -> tuple[Tensor, Tensor]:
    """1 K h w and the labels, 1 h w."""
    label = F.interpolate(place.random(1, K, 10, 10, seed=seed), size).argmax(1)
    right = F.one_hot(label, K).permute(0, 3, 1, 2)
    return (3 * right + 1.2 * place.random(1, K, *size, seed=seed + 1)).softmax(1).contiguous(), label


def association(maps: tuple[Tensor, Tensor], label: Tensor, kind: str) -> Pair:
    """The loss with aggregation and its gradients on both maps."""

    def ours(x: Tensor, y: Tensor) -> Tensor:
        return association_loss(x, y, label, kind=kind).loss

    height, width = label.shape[1:]
    return Pair(
        size=f"{height} x {width} pixels, {maps[0].shape[1]} channels",
        plain=lambda: with_gradients(lambda x, y: plain_clp.association(x, y, label, kind), *maps),
        ours=lambda: with_gradients(ours, *maps),
    )


@case("PLCA's association of features + gradients")
def of_features(place: Place) -> Pair:
    size, channels = place.pick(((92, 92), 2048), ((12, 12), 32))
    (x, label), (y, _) = (features(place, size, channels, seed) for seed in (0, 2))
    return association((x, y), label, "cos")


@case("PLCA's association of predictions + gradients")
def of_predictions(place: Place) -> Pair:
    size = place.pick((92, 92), (12, 12))
    (x, label), (y, _) = (probabilities(place, size, seed) for seed in (0, 2))
    return association((x, y), label, "kl")


@case("PLCA's aggregated inference")
def inference(place: Place) -> Pair:
    size, channels = place.pick(((92, 183), 2048), ((12, 23), 32))
    x, _ = features(place, size, channels, 0)
    kernel = place.random(K, channels, 1, 1, seed=5) / channels

    def plain() -> Outputs:
        with torch.no_grad():
            return {"probability": plain_clp.predict(x, kernel)}

    def ours() -> Outputs:
        with torch.no_grad():
            probability = F.conv2d(aggregate(x, "cos"), kernel).softmax(1)
            return {"probability": aggregate(probability, "kl")}

    return Pair(size=f"{size[0]} x {size[1]} pixels, {channels} channels", plain=plain, ours=ours)
