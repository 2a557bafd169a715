"""The operations of the reference vectors, each answered by a public function of the plugin or of udacore.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more. Losses stand in
`golden_loss_ops.py`, what the core answers in `golden_clp_core_ops.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import udacore_clp
from torch import Tensor, nn
from udacore_clp import Settings
from udacore_clp.checkpoints import ORDERS, RESUME, WEIGHTS
from udacore_clp.discriminator import Discriminator
from udacore_clp.segmenters import AGGREGATED, AssociationSegmenter

from udacore.config.schema import ModelConfig, PartConfig, RoundConfig, ScheduleConfig
from udacore.inference import predict_label, predict_probability
from udacore.interface import RoundInfo, SourceBatch, TargetBatch
from udacore.losses import upsample
from udacore.models import DeepLabHead, Segmenter
from udacore.models.layouts import convert_checkpoint
from udacore.models.normalization import DOMAINS
from udacore.models.weights import load_state
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.steps import take_steps

sys.path.append(str(Path(__file__).resolve().parent))
from golden_clp_core_ops import CORE_OPS
from golden_loss_ops import LOSS_OPS


def tensors(layout: list) -> dict[str, Tensor]:
    return {key: torch.tensor(value) for key, value in fill_state_dict(layout).items()}


def in_their_order(maps: Tensor) -> Tensor:
    """Maps N K h w with the channels in the order of the method's classes."""
    theirs = torch.empty_like(maps)
    theirs[:, list(ORDERS[maps.shape[1]])] = maps
    return theirs


def network_forward(batch_norm: str) -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        info = RoundInfo(name="any", index=0, steps=1, trains=("segmenter",), classes=("",) * params["num_classes"])
        architecture = ModelConfig(name="deeplab-resnet101", batch_norm=batch_norm)
        model = udacore_clp.build_model(settings=Settings(), architecture=architecture, round=info).eval()
        load_state(model, convert_checkpoint({"weights": tensors(params["layout"])}, WEIGHTS), where="reference vectors")
        seen = []
        model.backbone.layer3.register_forward_hook(lambda module, given, output: seen.append(output))
        domain = None if params["domain"] is None else DOMAINS[params["domain"]]
        with torch.no_grad():
            output = model(torch.tensor(inputs["image"]), domain=domain)
        found = {"logits": in_their_order(output.logits), "features_head": output.features[:, :16], "stage3_head": seen[0][:, :8]}
        return {name: (value / params["output_scale"]).numpy() for name, value in found.items()}

    return run


def discriminator_forward(inputs: Arrays, params: dict) -> Arrays:
    model = nn.ModuleDict({"discriminator": Discriminator(params["num_classes"])}).eval()
    content = {"model_state_dict": {}, "model_state_dict_D": tensors(params["layout"])}
    load_state(model, convert_checkpoint(content, RESUME), where="reference vectors")
    probability = torch.tensor(inputs["probabilities"])[:, list(ORDERS[params["num_classes"]])]
    with torch.no_grad():
        return {"logits": model["discriminator"](probability).numpy()}


def predict(inputs: Arrays, params: dict) -> Arrays:
    """By the forward in evaluation mode, as an evaluation asks for it; the features stand for the image."""
    features = torch.tensor(inputs["features"])
    kernels = [torch.tensor(inputs[f"head{number}"]) for number in range(4)]
    classes, channels = kernels[0].shape[:2]
    head = DeepLabHead(channels, classes, bias=False, std=None)
    head.load_state_dict({f"conv2d_list.{number}.weight": kernel for number, kernel in enumerate(kernels)})
    network = Segmenter(nn.Identity(), head, num_classes=classes, feature_channels=channels, align_corners=False)
    model, size = AssociationSegmenter(network).eval(), tuple(params["size"])
    if params["aggregate"]:
        how = {"head": AGGREGATED, "upsample": "probability"}
        maps = predict_probability(model, features, size, **how)
    else:
        how = {}
        maps = upsample(model(features).logits.detach(), size, model.align_corners)
    prediction = predict_label(model, features, size, **how).numpy()
    return {"maps": maps.numpy(), "prediction": np.where(inputs["clear"], prediction, 255)}


def toy_network(inputs: Arrays, params: dict) -> AssociationSegmenter:
    width, classes = len(inputs["init_backbone.0.weight"]), len(inputs["init_classifier.weight"])
    convolution = nn.Conv2d(3, width, 3, stride=params["stride"], padding=1, bias=False)
    backbone = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
    classifier = nn.Conv2d(width, classes, 1, bias=False)
    network = Segmenter(backbone, classifier, num_classes=classes, feature_channels=width, align_corners=False)
    model = AssociationSegmenter(network)
    model.load_state_dict({key: torch.tensor(inputs.get(f"init_{key}", 0)) for key in model.state_dict()})
    return model.train()


def settings_of(params: dict) -> Settings:
    """A threshold of 0 switches the regulariser off there, a weight of 0 here."""
    smoothness = {"lsr_weight": params["lsr_weight"], "lsr_threshold": params["lsr_threshold"]} if params["lsr_threshold"] > 0 else {"lsr_weight": 0.0}
    lovasz_weight = params["lovasz_weight"] * params["world_size"] * params["accumulation"]
    return Settings(association_weight=params["association_weight"], alpha=params["alpha"], lovasz_weight=lovasz_weight, **smoothness)


def training_steps(inputs: Arrays, params: dict) -> Arrays:
    """The engine's own step with the plugin's hooks, as the presets set them."""
    model, settings = toy_network(inputs, params), settings_of(params)
    schedule = ScheduleConfig(name="poly", power=params["poly_power"], horizon=params["poly_max_iterations"])
    options = {"momentum": params["momentum"], "weight_decay": params["weight_decay"]}
    part = PartConfig(lr=params["base_lr"], options=options, groups={r"^classifier\.": params["head_lr_multiplier"]}, schedule=schedule)
    parts = {"segmenter": part}
    config = RoundConfig(steps=params["steps"], update="joint", accumulation=params["accumulation"], parts=parts, method=settings)
    info = RoundInfo(name="any", index=0, steps=params["steps"], trains=("segmenter",), classes=("",) * model.num_classes)
    sources, targets = [], []
    for step in range(params["steps"]):
        micro = range(step * params["accumulation"], (step + 1) * params["accumulation"])
        sources.append([source_batch(inputs["source_images"][number], inputs["source_labels"][number]) for number in micro])
        targets.append([target_batch(inputs["target_images"][number % len(inputs["target_images"])]) for number in micro])
    rows = take_steps(udacore_clp, config, model, sources, targets, round=info)
    numbers = {name.removeprefix("loss/"): np.array([row[name] for row in rows]).reshape(-1) for name in rows[0]}
    return {"losses": their_losses(numbers, settings), **{f"final_{key}": value.numpy() for key, value in model.state_dict().items()}}


def source_batch(image: np.ndarray, label: np.ndarray) -> SourceBatch:
    known = torch.tensor(label)
    return SourceBatch(image=torch.tensor(image), label=known, name=("",) * len(known), valid=torch.ones_like(known, dtype=torch.bool))


def target_batch(image: np.ndarray) -> TargetBatch:
    seen = torch.tensor(image)
    return TargetBatch(image=seen, name=("",) * len(seen), valid=torch.ones_like(seen[:, 0], dtype=torch.bool))


def their_losses(numbers: dict[str, np.ndarray], settings: Settings) -> np.ndarray:
    """Total and terms, a row for each micro-batch; the terms without their weights but for Lovász. What is switched off is 0."""
    total = sum(numbers.values())
    weights = {f"association_{level}": settings.association_weight for level in ("features", "probability")}
    weights |= {f"lsr_{domain}": settings.lsr_weight for domain in DOMAINS}
    terms = [numbers[name] / weight if weight else np.zeros_like(total) for name, weight in weights.items()]
    columns = [total, *terms, numbers["cross_entropy"] + numbers.get("lovasz", 0.0)]
    return np.stack(columns, axis=1)


OPS: dict[str, Operation] = {
    **CORE_OPS,
    **LOSS_OPS,
    "clp.network_forward.deeplabv2_resnet101": network_forward("train"),
    "clp.network_forward.deeplabv2_resnet101_domain_bn": network_forward("domain"),
    "clp.network_forward.discriminator": discriminator_forward,
    "clp.predict": predict,
    "clp.training_steps": training_steps,
}
