"""The operations of the reference vectors, each answered by a public function of the plugin or of udacore.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor
from udacore_proca import Settings, make_pseudo_labels
from udacore_proca.adaptation import contrast_losses, source_pixels, target_pixels
from udacore_proca.checkpoints import RELEASED
from udacore_proca.losses import mask_confident, prototype_contrast_loss, supervised_loss
from udacore_proca.memory_bank import (
    ProjectionHead,
    advance_pixel_queue,
    advance_prototype_queue,
    bank_contrast_loss,
    choose_candidates,
    sample_anchors,
)
from udacore_proca.prototypes import Estimator, Prototypes, downsample_labels

from udacore.config.schema import ModelConfig, PseudoLabelConfig
from udacore.interface import Output, PassBatch, RoundInfo
from udacore.losses import lovasz_softmax, segmentation_loss
from udacore.models import build_segmenter
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import load_state
from udacore.testing.golden import Arrays, Operation, fill_state_dict

sys.path.append(str(Path(__file__).resolve().parent))
from golden_core_ops import CORE_OPS


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def lovasz(inputs: Arrays, params: dict) -> Arrays:
    probability = leaf(inputs["probs"])
    loss = lovasz_softmax(probability, torch.tensor(inputs["labels"]))
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_probs": probability.grad.numpy()}


def supervised(inputs: Arrays, params: dict) -> Arrays:
    logits, label = leaf(inputs["logits"]), torch.tensor(inputs["labels"])
    loss = sum(supervised_loss(logits, label, params["lambda_lovasz"]).values())
    loss.backward()
    lovasz = supervised_loss(logits, label, 1.0)["lovasz"]
    return {"loss": loss.detach().numpy(), "grad_logits": logits.grad.numpy(), "loss_lovasz": lovasz.detach().numpy()}


def self_training(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    loss = segmentation_loss(logits, torch.tensor(inputs["labels"]), align_corners=True)
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_logits": logits.grad.numpy()}


def estimator(mean: np.ndarray, count: np.ndarray) -> Estimator:
    result = Estimator(*mean.shape)
    result.mean.copy_(torch.tensor(mean))
    result.count.copy_(torch.tensor(count))
    return result


def adaptation_step(inputs: Arrays, params: dict) -> Arrays:
    leaves = {name: leaf(inputs[name]) for name in ("src_feat", "tgt_feat", "src_logits", "tgt_logits")}
    label = torch.tensor(inputs["src_labels"])
    prototypes = Prototypes(*inputs["proto_feat"].shape)
    prototypes.feature = estimator(inputs["proto_feat"], inputs["amount_feat"])
    prototypes.output = estimator(inputs["proto_out"], inputs["amount_out"])
    settings = Settings(
        tau=params["tau"],
        feature_weight=params["lambda_feat"],
        output_weight=params["lambda_out"],
        multi_level=params["multi_level"],
        prototype_update="momentum" if params["use_momentum"] else "running_mean",
        momentum=params["momentum"],
    )
    supervised = supervised_loss(leaves["src_logits"], label, params["lambda_lovasz"])
    source = source_pixels(leaves["src_feat"], leaves["src_logits"], label)
    target = target_pixels(leaves["tgt_feat"], leaves["tgt_logits"], params["delta"])
    plain = attrs.evolve(settings, feature_weight=1.0, output_weight=1.0)
    unweighted = contrast_losses(copy.deepcopy(prototypes), source, target, plain)
    contrast = contrast_losses(prototypes, source, target, settings)
    loss = sum(supervised.values()) + sum(contrast.values())
    loss.backward()
    numbers = {
        "loss": loss,
        "loss_supervised": sum(supervised.values()),
        "loss_feature": unweighted["feature_contrast"],
        "loss_lovasz": supervised_loss(leaves["src_logits"], label, 1.0)["lovasz"],
        "loss_output": unweighted.get("output_contrast", torch.zeros(())),
        "proto_feat": prototypes.feature.mean,
        "amount_feat": prototypes.feature.count,
        "proto_out": prototypes.output.mean,
        "amount_out": prototypes.output.count,
    }
    gradients = {f"grad_{name}": (x.grad if x.grad is not None else torch.zeros_like(x)).numpy() for name, x in leaves.items()}
    return {**{name: value.detach().numpy() for name, value in numbers.items()}, **gradients}


def label_downsample(inputs: Arrays, params: dict) -> Arrays:
    return {"labels_small": downsample_labels(torch.tensor(inputs["labels"]), tuple(params["size"])).numpy()}


def target_mask(inputs: Arrays, params: dict) -> Arrays:
    return {"mask": mask_confident(torch.tensor(inputs["logits"]), params["delta"]).numpy()}


def prototype_update(inputs: Arrays, params: dict, momentum: float | None = None) -> Arrays:
    state = estimator(inputs["proto"], inputs["amount"])
    for number in range(params["updates"]):
        x, label = torch.tensor(inputs[f"features_{number}"]), torch.tensor(inputs[f"labels_{number}"])
        state.update(x, label, momentum=momentum)
    return {"proto": state.mean.numpy(), "amount": state.count.numpy()}


def prototype_update_momentum(inputs: Arrays, params: dict) -> Arrays:
    return prototype_update(inputs, params, params["momentum"])


def prototype_init(inputs: Arrays, params: dict) -> Arrays:
    features, logits, label = (torch.tensor(inputs[name]).split(params["images_per_update"]) for name in ("features", "logits", "labels"))
    prototypes = Prototypes(inputs["logits"].shape[1], inputs["features"].shape[1])
    prototypes.initialise(zip(features, logits, label, strict=True))
    return {
        "proto_feat": prototypes.feature.mean.numpy(),
        "amount_feat": prototypes.feature.count.numpy(),
        "proto_out": prototypes.output.mean.numpy(),
        "amount_out": prototypes.output.count.numpy(),
    }


def prototype_contrast(inputs: Arrays, params: dict) -> Arrays:
    x = leaf(inputs["features"])
    loss = prototype_contrast_loss(torch.tensor(inputs["proto"]), x, torch.tensor(inputs["labels"]), params["tau"])
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_features": x.grad.numpy()}


def order_of(groups: list[np.ndarray], permutations: np.ndarray, size: int) -> Tensor:
    """The number of each pixel that makes the first of a permutation the lowest, for groups of indices of pixels."""
    order = np.zeros(size)
    for places, permutation in zip(groups, permutations, strict=True):
        order[places[permutation[permutation >= 0]]] = np.arange(len(places))
    return torch.tensor(order)


def memory_bank_update(inputs: Arrays, params: dict) -> Arrays:
    label = inputs["labels"]
    present = [c for c in np.unique(label) if c != 255]
    order = order_of([np.nonzero(label == c)[0] for c in present], inputs["perms"], len(label))
    num_classes = len(inputs["pixel_queue"])
    new = choose_candidates(torch.tensor(inputs["features"]), torch.tensor(label), order, num_classes, params["pixel_update_freq"])
    state = {name: torch.tensor(inputs[name]) for name in ("pixel_queue", "proto_queue", "pixel_ptr", "proto_ptr")}
    pixel_queue, pixel_ptr = advance_pixel_queue(state["pixel_queue"], state["pixel_ptr"], new, pointer_by_one=True)
    proto_queue, proto_ptr = advance_prototype_queue(state["proto_queue"], state["proto_ptr"], new)
    after = {"pixel_queue": pixel_queue, "proto_queue": proto_queue, "pixel_ptr": pixel_ptr, "proto_ptr": proto_ptr}
    return {name: value.numpy() for name, value in after.items()}


def hard_anchor_sampling(inputs: Arrays, params: dict) -> Arrays:
    x = inputs["features"].reshape(-1, inputs["features"].shape[-1])
    label, prediction = inputs["labels"].reshape(-1), inputs["pred"].reshape(-1)
    limits = {"max_samples": params["max_samples"], "min_samples": params["min_samples"]}
    classes = [c for c in np.unique(label) if c != 255 and (label == c).sum() > params["min_samples"]]
    groups = [np.nonzero((label == c) & ((prediction == c) == easy))[0] for c in classes for easy in (False, True)]
    order = order_of(groups, inputs["perms"], len(label))
    anchors, found = sample_anchors(torch.tensor(x), torch.tensor(label), torch.tensor(prediction), order, **limits)
    return {"anchors": anchors.numpy(), "anchor_labels": found.numpy()}


def memory_bank_contrast(inputs: Arrays, params: dict) -> Arrays:
    anchors, classes, queue = leaf(inputs["anchors"]), torch.tensor(inputs["anchor_labels"]), torch.tensor(inputs["queue"])
    loss = bank_contrast_loss(anchors, classes, queue, params["temperature"], drop_diagonal=params["drop_diagonal"])
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_anchors": anchors.grad.numpy()}


class RecordedRound:
    """A round's end whose network answers with recorded logits: image i is a plane of the number i."""

    def __init__(self, logits: Tensor, params: dict) -> None:
        self.settings = Settings(percent=params["percent"], cap=params["cap"])
        self.pseudo_labels = PseudoLabelConfig()
        self.device = logits.device
        self.round = RoundInfo(name="adapt", index=1, steps=1, trains=(), classes=tuple(map(str, range(logits.shape[1]))))
        self.model = lambda image: Output(logits=logits[image[:, 0, 0, 0].long()], features=image)
        self.model.align_corners = True
        self.numbers: dict[str, float] = {}
        self.record = self.numbers.__setitem__
        self.count, self.size, self.label_size = len(logits), tuple(params["threshold_size"]), tuple(params["label_size"])

    def target(self, *, size=None, batch=1):
        for number in range(self.count):
            image = torch.full((1, 3, *self.size), float(number))
            yield PassBatch(image=image, label=None, name=(str(number),), size=(self.label_size,))


def pseudo_labels(inputs: Arrays, params: dict) -> Arrays:
    round = RecordedRound(torch.tensor(inputs["logits"]), params)
    labels = np.stack([label for _, label in make_pseudo_labels(round)])
    return {"labels": labels, "thresholds": np.array([round.numbers[f"threshold/{name}"] for name in round.round.classes])}


def network_forward(name: str, batch_norm: str = "train") -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        released: dict[str, dict[str, Tensor]] = {"feature_extractor": {}, "classifier": {}}
        for key, value in fill_state_dict(params["layout"]).items():
            part, _, rest = key.partition(".")
            released[part][f"module.{rest}"] = torch.tensor(value)
        model = build_segmenter(ModelConfig(name=name, batch_norm=batch_norm), params["num_classes"]).eval()
        load_state(model, convert_checkpoint({"iteration": 90000, **released}, RELEASED), where="reference vectors")
        with torch.no_grad():
            output = model(torch.tensor(inputs["image"]))
        logits, features = output.logits / params["output_divisor"], output.features / params["output_divisor"]
        return {"logits": logits.numpy(), "features_first32": features[:, :32].numpy(), "features_mean": features.mean(1).numpy()}

    return run


def projection(form: str) -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        head = ProjectionHead(params["dim_in"], params["proj_dim"], form)
        head.load_state_dict({key: torch.tensor(value) for key, value in fill_state_dict(params["layout"]).items()})
        return {"embedding": head.eval()(torch.tensor(inputs["features"])).detach().numpy()}

    return run


OPS: dict[str, Operation] = {
    **CORE_OPS,
    "proca.lovasz_softmax": lovasz,
    "proca.supervised_loss": supervised,
    "proca.ssl_loss": self_training,
    "proca.adaptation_step": adaptation_step,
    "proca.label_downsample": label_downsample,
    "proca.target_mask": target_mask,
    "proca.prototype_update": prototype_update,
    "proca.prototype_update_momentum": prototype_update_momentum,
    "proca.prototype_init": prototype_init,
    "proca.prototype_contrast_loss": prototype_contrast,
    "proca.make_pseudo_labels": pseudo_labels,
    "proca.network_forward.resnet101": network_forward("deeplab-resnet101"),
    "proca.network_forward.resnet101_frozen_bn": network_forward("deeplab-resnet101", "frozen-no-epsilon"),
    "proca.network_forward.vgg16": network_forward("deeplab-vgg16"),
    "proca.memory_bank_update": memory_bank_update,
    "proca.hard_anchor_sampling": hard_anchor_sampling,
    "proca.memory_bank_contrast": memory_bank_contrast,
    "proca.network_forward.projection_convmlp": projection("convmlp"),
    "proca.network_forward.projection_linear": projection("linear"),
}
