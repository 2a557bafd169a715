"""Evaluation of a model on a labelled set under a protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from udacore import ranks
from udacore.config.schema import EvaluationConfig, PixelConfig
from udacore.data.colour import normalize
from udacore.data.geometry import resize_image
from udacore.data.tables import ImageTable
from udacore.data.workers import load
from udacore.datasets import get_dataset
from udacore.engine.files.checkpoint import preserve_state
from udacore.engine.machine.device import Machine
from udacore.engine.results.read_state import noted_reads
from udacore.errors import ConfigError, DataError, UdaError, near_matches
from udacore.inference import predict_label
from udacore.labels import LabelSpace, subset_indices
from udacore.metrics import Scores, confusion_matrix, score, subset_space
from udacore.models import Teacher, use_domain


@attrs.frozen(kw_only=True)
class EvaluationSet:
    """A labelled set with the protocol under which it is scored; `domain` chooses domain-specific layers."""

    name: str
    domain: str
    config: EvaluationConfig
    table: ImageTable
    space: LabelSpace
    pixels: PixelConfig
    quick: int | None = None


@attrs.frozen(kw_only=True)
class Result:
    """Scores, and all that is needed to compare them with others: where the model stood and the protocol."""

    round: str
    step: int
    set: str
    scores: Scores
    classes: tuple[str, ...]
    protocol: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """For metrics.jsonl; fractions, None for what does not count."""
        scores = self.scores
        return {
            "round": self.round, "step": self.step, "set": self.set, "miou": _number(scores.miou),
            "iou": {name: _number(value) for name, value in zip(self.classes, scores.iou, strict=True)},
            "accuracy": [_number(value) for value in scores.accuracy], "mean_accuracy": _number(scores.mean_accuracy),
            "pixel_accuracy": _number(scores.pixel_accuracy), "counted": scores.counted,
            "subsets": {name: _number(value) for name, value in scores.subsets.items()},
            "f1": {name: _number(value) for name, value in zip(self.classes, scores.f1, strict=True)},
            "mean_f1": _number(scores.mean_f1), "protocol": self.protocol,
        }  # fmt: skip


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def evaluate(model: nn.Module, data: EvaluationSet, machine: Machine, workers: int = 0) -> Scores:
    """Scores of the model on the whole set; every rank takes its share of the images, each counted once.

    Raises UdaError where an output of the model is not finite, and DataError where there is no labelled
    pixel: a mean of such numbers would say nothing.
    """
    config, classes = data.config, len(data.space.classes)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=machine.device)
    network = scored_network(model, config.network)
    with preserve_state(model), use_domain(network, data.domain), watched_outputs(network) as broken:
        for image, label in _batches(data, machine, workers):
            with machine.autocast():
                prediction = predict_under(config, network, image, (label.shape[1], label.shape[2]))
            confusion += confusion_matrix(label, prediction, classes)
    if any(ranks.all_gather_object(bool(broken.any()))):
        raise UdaError(f"evaluate.{data.name}: outputs of the network are not finite, so there is nothing to score")
    confusion = ranks.all_sum(confusion)
    if not int(confusion.sum()):
        raise DataError(f"evaluate.{data.name}: no pixel of its {len(data.table)} images has a class of {data.space.name}")
    subsets = {name: subset_indices(data.space, subset_space(name)) for name in config.subsets}
    return score(confusion, absent=config.absent, subsets=subsets)


def find_entries_read(model: nn.Module, data: EvaluationSet, machine: Machine) -> set[str]:
    """Names of the parameters and buffers that the prediction of this rank's first image
    reads; empty without an image."""
    pictures = _Pictures(data)
    if not len(pictures):
        return set()
    image, label = pictures[0]
    batch = image[None].to(machine.device, memory_format=machine.memory_format)
    network = scored_network(model, data.config.network)
    with preserve_state(model), use_domain(network, data.domain), machine.autocast(), noted_reads(model) as names:
        predict_under(data.config, network, batch, (label.shape[0], label.shape[1]))
    return names


def find_network(model: nn.Module, name: str | None) -> nn.Module:
    """The child of this name, or for None the model. ConfigError for a child that is not
    there or is no segmenter."""
    if name is None:
        return model
    possible = {key: child for key, child in model.named_children() if hasattr(child, "num_classes") and hasattr(child, "align_corners")}
    if name not in possible:
        said = near_matches(name, possible) if possible else "; no child of the model states its classes"
        raise ConfigError(f"the model of this round has no network {name!r}{said}")
    return possible[name]


def has_begun(network: nn.Module) -> bool:
    """Whether a network holds weights to be scored: a teacher that was never updated is as built."""
    return not isinstance(network, Teacher) or network.count > 0


def scored_network(model: nn.Module, name: str | None) -> nn.Module:
    """The network that is scored: the model itself in place of a teacher that was never updated,
    which would be its copy."""
    network = find_network(model, name)
    return network if has_begun(network) else model


@contextmanager
def watched_outputs(model: nn.Module) -> Iterator[Tensor]:
    """A flag on the CPU or the device that is set once logits or features were not
    finite; nothing waits for it."""
    device = next((value.device for value in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    broken = torch.zeros((), dtype=torch.bool, device=device)

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        logits = getattr(output, "logits", None)
        if isinstance(logits, Tensor):
            broken.logical_or_(~logits.isfinite().all().to(device))

    handle = model.register_forward_hook(look)
    try:
        yield broken
    finally:
        handle.remove()


def predict_under(protocol: EvaluationConfig, model: nn.Module, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels N H W int64 of `size` (height, width), for images N 3 H W, in the way
    that a protocol prescribes."""
    return predict_label(
        model, image, size, align_corners=protocol.align_corners, upsample=protocol.upsample, scales=protocol.scales, flip=protocol.flip,
        window=_height_first(protocol.window), stride=_height_first(protocol.stride), window_batch=protocol.window_batch, head=protocol.head,
    )  # fmt: skip


def describe_protocol(data: EvaluationSet, model: nn.Module, machine: Machine, chosen: str) -> dict[str, Any]:
    """Everything about an evaluation that changes its number; `chosen` says how the checkpoint was picked."""
    config, network = data.config, find_network(model, data.config.network)
    which = {name: getattr(config, name) for name in get_dataset(config.dataset).settings}
    protocol = {
        "dataset": config.dataset, "domain": data.domain, "split": config.split, **which, "images": len(data.table), "label_space": data.space.name,
        "head_classes": int(cast("int", network.num_classes)), "head": config.head or "logits", "size": config.size, "interpolation": config.interpolation,
        "upsample": config.upsample, "align_corners": bool(network.align_corners) if config.align_corners is None else config.align_corners,
        "scales": config.scales, "flip": config.flip, "window": config.window, "stride": config.stride, "absent": config.absent,
        "precision": "float32" if machine.amp == "off" else machine.amp, "checkpoint": chosen,
    }  # fmt: skip
    if config.network is not None:
        protocol["network"] = config.network if has_begun(network) else f"the model itself, since {config.network} was never updated"
    if config.tile.size is not None:
        protocol |= {"tile": config.tile.size, "tile_stride": config.tile.stride or config.tile.size}
    if config.label_space is not None:
        protocol["label_space_of_set"] = config.label_space  # its classes that the model has not are ignored
    if data.quick is not None:
        protocol["quick"] = data.quick  # steps were divided by this: a score of no worth
    return {name: list(value) if isinstance(value, tuple) else value for name, value in protocol.items()}  # as JSON reads it back


class _Pictures(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Network input and untouched label of this rank's images."""

    def __init__(self, data: EvaluationSet) -> None:
        self.data = data
        self.indices = range(ranks.rank(), len(data.table), ranks.size())

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        data, index = self.data, self.indices[number]
        image, label = data.table.read_pair(index)
        if data.config.size is not None:
            image = resize_image(image, data.config.size, data.config.interpolation)
        return torch.from_numpy(normalize(image, data.pixels)), torch.from_numpy(label)


def _batches(data: EvaluationSet, machine: Machine, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images N 3 H W and labels N H W on the device; only images of one size share a batch."""
    pictures = _Pictures(data)
    loaded = load(pictures, range(len(pictures)), workers if len(pictures) > 4 * workers else 0)
    for _, group in itertools.groupby(loaded, key=lambda pair: (pair[0].shape, pair[1].shape)):
        while batch := list(itertools.islice(group, data.config.batch)):
            image = torch.stack([pair[0] for pair in batch]).to(machine.device, memory_format=machine.memory_format)
            yield image, torch.stack([pair[1] for pair in batch]).to(machine.device).long()


def _height_first(size: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[1], size[0])
