"""The operations of the reference vectors, each answered by a public function of the plugin or of udacore.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more. Those that
belong to the core alone stand in its own tests, `golden_fada_core_ops.py`, and are used from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import udacore_fada
from torch import Tensor, nn
from udacore_fada import Settings
from udacore_fada.checkpoints import RELEASED
from udacore_fada.discriminator import Discriminator
from udacore_fada.losses import Encoding, domain_cross_entropy, segmentation_loss, soft_labels

from udacore.config.schema import ModelConfig, PartConfig, RoundConfig, ScheduleConfig
from udacore.interface import SourceBatch, TargetBatch
from udacore.losses import upsample
from udacore.metrics import confusion_matrix, score
from udacore.models import DeepLabHead, Segmenter, build_segmenter
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import first_number, load_state
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.steps import take_steps

sys.path.append(str(Path(__file__).resolve().parent))
from golden_fada_core_ops import OPS as CORE_OPS


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def encoding(params: dict) -> Encoding:
    return Encoding(size=tuple(params["size"]), temperature=params["temperature"], clip=params["clip"])


def segmentation(inputs: Arrays, params: dict) -> Arrays:
    logits, label = leaf(inputs["logits"]), torch.tensor(inputs["labels"])
    loss = segmentation_loss(logits, label, params["temperature"], empty=float("nan"))
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_logits": logits.grad.numpy()}


def softened(inputs: Arrays, params: dict) -> Arrays:
    return {"soft_label": soft_labels(torch.tensor(inputs["logits"]), params["temperature"], params["clip"]).numpy()}


def gradient(x: Tensor) -> np.ndarray:
    return (torch.zeros_like(x) if x.grad is None else x.grad).numpy()


def adversarial(inputs: Arrays, params: dict) -> Arrays:
    answers, logits = leaf(inputs["tgt_d_logits"]), leaf(inputs["tgt_class_logits"])
    as_source, _ = domain_cross_entropy(answers, logits, encoding(params))
    loss = params["weight_adv"] * as_source
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_tgt_d_logits": gradient(answers), "grad_tgt_class_logits": gradient(logits)}


def discriminator_of(inputs: Arrays) -> Discriminator:
    first, last = inputs["model_D.D.0.weight"], inputs["model_D.cls1.weight"]
    model = Discriminator(first.shape[1], len(last), len(first))
    load_converted(nn.ModuleDict({"discriminator": model}), inputs, ("model_D",))
    return model


def load_converted(model: nn.Module, values: Arrays, parts: tuple[str, ...]) -> None:
    """Load values whose keys begin with a part's name as a checkpoint of the authors with these parts."""
    content: dict[str, Any] = {name: {} for name in ("feature_extractor", "classifier")} | {"iteration": 40000}
    for key, value in values.items():
        part, _, rest = key.partition(".")
        if part in parts:
            content.setdefault(part, {})[rest] = torch.tensor(value)
    load_state(model, convert_checkpoint(content, RELEASED), where="reference vectors")


def adversarial_from_features(inputs: Arrays, params: dict) -> Arrays:
    features = leaf(inputs["features"])
    as_source, _ = domain_cross_entropy(discriminator_of(inputs)(features), torch.tensor(inputs["tgt_class_logits"]), encoding(params))
    loss = params["weight_adv"] * as_source
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_features": features.grad.numpy()}


def discriminator_loss(inputs: Arrays, params: dict) -> Arrays:
    answers = {name: leaf(inputs[f"{name}_d_logits"]) for name in ("src", "tgt")}
    logits = {name: torch.tensor(inputs[f"{name}_class_logits"]) for name in answers}
    source, _ = domain_cross_entropy(answers["src"], logits["src"], encoding(params))
    _, target = domain_cross_entropy(answers["tgt"], logits["tgt"], encoding(params))
    losses = {"loss_src": params["weight_d"] * source, "loss_tgt": params["weight_d"] * target}
    sum(losses.values()).backward()
    gradients = {f"grad_{name}_d_logits": x.grad.numpy() for name, x in answers.items()}
    return {**{name: loss.detach().numpy() for name, loss in losses.items()}, **gradients}


class StandIn(nn.Module):
    """The feature extractor of the cases that train: `conv`, then ReLU."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=stride, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image).relu()


def model_keys(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Each key of the model, and its name in the cases."""
    names = {"backbone.": "feature_extractor.", "classifier.": "classifier.", "discriminator.trunk.": "model_D.D."}
    names |= {"discriminator.source.": "model_D.cls1.", "discriminator.target.": "model_D.cls2."}
    for key in model.state_dict():
        prefix = next(name for name in names if key.startswith(name))
        yield key, names[prefix] + key.removeprefix(prefix)


def stand_in_model(inputs: Arrays, params: dict) -> Segmenter:
    channels, num_classes = len(inputs["feature_extractor.conv.weight"]), params["num_classes"]
    backbone, head = StandIn(channels, params["feature_stride"]), DeepLabHead(channels, num_classes)
    model = Segmenter(backbone, head, num_classes=num_classes, feature_channels=channels)
    if "model_D.D.0.weight" in inputs:
        model.discriminator = Discriminator(channels, num_classes, len(inputs["model_D.D.0.weight"]))
    model.load_state_dict({key: torch.tensor(inputs[name]) for key, name in model_keys(model)})
    return model


def round_of(params: dict, draws: tuple[str, ...]) -> RoundConfig:
    """A round as the presets set it."""
    schedule = ScheduleConfig(name="poly", power=params["power"], horizon=params["max_iter"])
    options = {"momentum": params["momentum"], "weight_decay": params["weight_decay"]}
    adam = {"betas": params["adam_betas"]}
    parts = {
        "segmenter": PartConfig(lr=params["base_lr"], options=options, groups={r"^classifier\.": 10.0}, schedule=schedule),
        "discriminator": PartConfig(optimizer="Adam", lr=params["base_lr_d"], options=adam, schedule=schedule),
    }
    adversarial = "target" in draws
    settings = Settings(adversarial=adversarial, temperature=params["temperature"], clip=params["clip"])
    trains = ("segmenter", "discriminator") if adversarial else ("segmenter",)
    return RoundConfig(
        steps=params["max_iter"], draws=draws, update="accumulate", parts=parts, trains=trains, method=settings
    )


def iterations(names: dict[str, str]) -> Callable[[Arrays, dict], Arrays]:
    """Updates with the given batches; `names` says which loss goes by which name in the case."""

    def run(inputs: Arrays, params: dict) -> Arrays:
        model = stand_in_model(inputs, params).train()
        draws = ("source", "target") if "tgt_images" in inputs else ("source",)
        sources, targets = [], []
        for number in range(params["iterations"]):
            image, label = torch.tensor(inputs["src_images"][number]), torch.tensor(inputs["src_labels"][number])
            common = {"name": ("",) * len(image), "valid": torch.ones_like(label, dtype=torch.bool)}
            sources.append(SourceBatch(image=image, label=label, **common))
            is_adapted = "target" in draws
            targets.append(TargetBatch(image=torch.tensor(inputs["tgt_images"][number]), **common) if is_adapted else None)
        config, first = round_of(params, draws), params["first_iteration"]
        rows = take_steps(udacore_fada, config, model, sources, targets, first=first)
        losses = {name: np.array([row[f"loss/{ours}"] for row in rows]).reshape(-1) for name, ours in names.items()}
        return {**losses, **{name: model.state_dict()[key].numpy() for key, name in model_keys(model)}}

    return run


def evaluate_directory(inputs: Arrays, params: dict) -> Arrays:
    rows = []
    files = {name: number for number, name in enumerate(params["checkpoint_files"]) if name.endswith(".pth")}
    for name in sorted(files):
        prediction = torch.tensor(inputs["predictions"][files[name]])
        scores = score(confusion_matrix(torch.tensor(inputs["labels"]), prediction, params["num_classes"]), absent="zero")
        rows.append([float(first_number(name)), scores.miou, *scores.iou])
    return {"table": np.array(rows)}


def network_forward(name: str, batch_norm: str = "train") -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        model = build_segmenter(ModelConfig(name=name, batch_norm=batch_norm), params["num_classes"])
        weights = fill_state_dict(params["layout"])
        if any(key.startswith("model_D.") for key in weights):
            model.discriminator = Discriminator(model.feature_channels, params["num_classes"])
        load_converted(model, weights, ("feature_extractor", "classifier", "model_D"))
        image = torch.tensor(inputs["image"])
        with torch.no_grad():
            output = model.eval()(image)
            found = {"logits": output.logits}
            if hasattr(model, "discriminator"):
                found["d_logits"] = model.discriminator(output.features)
        step, size = params["upsampled_step"], (image.shape[2], image.shape[3])
        found |= {f"{key}_up": upsample(value, size, model.align_corners)[:, :, ::step, ::step] for key, value in found.items()}
        found["features"] = output.features[:, :: params["feature_channel_step"]]
        return {key: (params["output_scale"] * value).numpy() for key, value in found.items()}

    return run


SEGMENTATION = {"loss_seg": "cross_entropy"}
ALL_LOSSES = {**SEGMENTATION, "loss_adv_tgt": "adversarial", "loss_D_src": "discriminator/source", "loss_D_tgt": "discriminator/target"}

OPS: dict[str, Operation] = {
    **CORE_OPS,
    "fada.segmentation_loss": segmentation,
    "fada.soft_labels": softened,
    "fada.adversarial_loss": adversarial,
    "fada.adversarial_loss_from_features": adversarial_from_features,
    "fada.discriminator_loss": discriminator_loss,
    "fada.supervised_iterations": iterations(SEGMENTATION),
    "fada.adversarial_iterations": iterations(ALL_LOSSES),
    "fada.evaluate_directory": evaluate_directory,
    "fada.network_forward.resnet101_frozen_bn": network_forward("deeplab-resnet101", "frozen-no-epsilon"),
    "fada.network_forward.resnet101_bn": network_forward("deeplab-resnet101"),
    "fada.network_forward.vgg16": network_forward("deeplab-vgg16"),
}
