"""Operations of the reference vectors that belong to networks, batch norm, data, rates and scores."""

from __future__ import annotations

import functools
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from udacore_pycda.checkpoints import LAYOUTS
from udacore_pycda.normalization import CumulativeBatchNorm2d
from udacore_pycda.ppm import build_ppm

from udacore.config.schema import PartConfig, RoundConfig
from udacore.config.transforms import Crop, Flip, Resize, Rotate, Scale
from udacore.data import colour
from udacore.data.transforms import Sample, apply_transforms
from udacore.inference import predict_label
from udacore.interface import Output
from udacore.labels import get_label_space, lookup_table, remap
from udacore.losses import upsample
from udacore.metrics import confusion_matrix, score
from udacore.models import load_state
from udacore.models.layouts import convert_checkpoint, recognize_layout
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.runs import configure
from udacore.testing.steps import make_optimizers

SPACE = get_label_space("cityscapes19")


@functools.cache
def preset_round(preset: str, name: str) -> RoundConfig:
    return configure("pycda", preset).rounds[name]


def label_map(dataset: str) -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        ids = inputs["ids"]
        train = remap(ids, lookup_table(SPACE, dataset))
        # Ids beyond the evaluation's table are 255 here; the original lets them pass, and ignores them as no class.
        return {"train_ids": np.where(ids > 33, ids, train) if dataset == "cityscapes" else train}

    return run


class Scripted:
    """A random generator that gives recorded numbers."""

    def __init__(self, params: dict) -> None:
        self.uniform = iter([params[f"{name}_draw"] for name in ("scale", "rotate", "flip") if f"{name}_draw" in params])
        self.whole = iter(params.get("crop_offset", ()))

    def random(self) -> float:
        return next(self.uniform)

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        value = next(self.whole)
        assert endpoint
        assert low <= value <= high
        return int(value)


def steps_of(params: dict) -> dict[str, Any]:
    """The steps that a case names, each as in the presets but for its numbers."""
    transform = preset_round("gta5-cityscapes-source-only", "source").source.transform
    fill, pad = transform["crop"].fill, transform["crop"].pad
    steps: dict[str, Any] = {"resize": Resize(size=tuple(params["resize_hw"][::-1]), interpolation=transform["resize"].interpolation)}
    if "scale_draw" in params:
        steps["scale"] = Scale(range=tuple(params["scale_range"]), interpolation=transform["scale"].interpolation)
    if "rotate_draw" in params:
        steps["rotate"] = Rotate(range=tuple(params["rotate_range"]), fill=transform["rotate"].fill)
    if "flip_draw" in params:
        steps["flip"] = Flip(probability=0.5)
    if "crop_hw" in params:
        steps["crop"] = Crop(size=tuple(params["crop_hw"][::-1]), pad=pad, fill=fill)
    return steps


def preprocess(inputs: Arrays, params: dict) -> Arrays:
    label = remap(inputs["ids"], lookup_table(SPACE, "gta5")) if "ids" in inputs else None
    sample = apply_transforms(Sample(image=inputs["image"], label=label), steps_of(params), Scripted(params))
    found = {"image": colour.normalize(sample.image, preset_round("gta5-cityscapes", "pyramid").pixels)}
    valid = np.ones(sample.image.shape[:2], bool) if sample.valid is None else sample.valid
    return {**found, "valid": valid.astype(np.uint8), **({} if label is None else {"label": sample.label})}


class Pair(nn.Module):
    """A convolution and batch norm in the place of each of the authors' two networks, of the shapes of a case's arrays."""

    def __init__(self, inputs: Arrays) -> None:
        super().__init__()
        first, second = (
            (nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:]), nn.BatchNorm2d(len(inputs[f"{network}_bn_weight"])))
            for network in ("encoder", "decoder")
            for weight in [inputs[f"{network}_conv_weight"]]
        )
        self.backbone = nn.ModuleDict({"conv1": first[0], "bn1": first[1]})
        self.classifier = nn.ModuleDict({"conv_last": nn.Sequential(*second)})

    def names(self) -> dict[str, str]:
        """Name in the cases -> name of the parameter."""
        ours = {"encoder_conv": "backbone.conv1", "encoder_bn": "backbone.bn1"}
        ours |= {"decoder_conv": "classifier.conv_last.0", "decoder_bn": "classifier.conv_last.1"}
        return {f"{theirs}_{kind}": f"{name}.{kind}" for theirs, name in ours.items() for kind in ("weight", "bias")}


def sgd(inputs: Arrays, params: dict) -> Arrays:
    name = {"pretrain": "adabn", "adapt": "pyramid"}[params["stage"]]
    config, model = preset_round("gta5-cityscapes", name), Pair(inputs)
    settings = config.parts["segmenter"]
    # The preset's numbers are the case's in the published settings (test_presets.py); another case brings its own.
    options = settings.options if params["stage"] == "adapt" else {key: params.get(key, value) for key, value in settings.options.items()}
    groups = dict.fromkeys(settings.groups, params["lr_decoder"] / params["lr_encoder"])
    config = attrs.evolve(config, parts={"segmenter": attrs.evolve(settings, lr=params["lr_encoder"], groups=groups, options=options)})
    model.load_state_dict({ours: torch.tensor(inputs[theirs]) for theirs, ours in model.names().items()}, strict=False)
    (optimizer,) = make_optimizers(model, config, ("segmenter",)).values()
    named = dict(model.named_parameters())
    for step in range(params["steps"]):
        for theirs, ours in model.names().items():
            network, _, rest = theirs.partition("_")
            named[ours].grad = torch.tensor(inputs[f"{network}_grad_{rest}"][step])
        optimizer.step()
    return {theirs: named[ours].detach().numpy() for theirs, ours in model.names().items()}


def rates(preset: str, name: str) -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        config: PartConfig = preset_round(preset, name).parts["segmenter"]
        changes = {key: params[key] for key in ("power", "factor") if key in params}
        if "drop_iteration" in params:
            changes["at"] = (params["drop_iteration"] + 1,)
        schedule = attrs.evolve(config.schedule, **changes)
        factors = np.array([rate(schedule, int(step), params["num_steps"]) for step in inputs["iterations"]])
        return {"lr_encoder": params["base_lr_encoder"] * factors, "lr_decoder": params["base_lr_decoder"] * factors}

    return run


def load_norm(norm: nn.Module, statistics: dict[str, Tensor], accumulators: bool) -> None:
    """Statistics into a layer, with the sums that belong to them or, as for plain weights, without."""
    state = {"weight": norm.weight, "bias": norm.bias, **{key: statistics[key] for key in ("running_mean", "running_var")}}
    if accumulators:
        count = statistics["running_iter"].reshape(1)
        state |= {"_tmp_running_mean": state["running_mean"] * count, "_tmp_running_var": state["running_var"] * count, "_running_iter": count}
    load_state(norm, state, where="reference vectors")


def sync_batch_norm(inputs: Arrays, params: dict) -> Arrays:
    values = {key: torch.tensor(value) for key, value in inputs.items()}
    norm = CumulativeBatchNorm2d(values["x"].shape[1], decay=params["decay"], eps=params["eps"]).to(values["x"].dtype)
    with torch.no_grad():
        norm.weight.copy_(values["weight"])
        norm.bias.copy_(values["bias"])
    load_norm(norm, values, params["accumulators_loaded"])
    x = values["x"].requires_grad_()
    y = norm.train()(x)
    y.backward(values["grad_y"])
    found = {"y": y, "grad_x": x.grad, "grad_weight": norm.weight.grad, "grad_bias": norm.bias.grad}
    found |= {"running_mean": norm.running_mean, "running_var": norm.running_var, "running_iter": norm._running_iter[0]}
    return {key: value.detach().numpy() for key, value in found.items()}


def convert(inputs: Arrays, params: dict) -> Arrays:
    values = {key: torch.tensor(value) for key, value in inputs.items()}
    first, second = (values[f"{name}_weight"].shape[0] for name in ("conv1", "conv2"))
    norms = [CumulativeBatchNorm2d(width, decay=params["decay"], eps=params["eps"]) for width in (first, second)]
    convolutions = nn.Conv2d(3, first, 3, padding=1, bias=False), nn.Conv2d(first, second, 3, stride=2, padding=1)
    network = nn.Sequential(convolutions[0], norms[0], nn.ReLU(), convolutions[1], norms[1])
    layers = {"conv1": network[0], "bn1": norms[0], "conv2": network[3], "bn2": norms[1]}
    with torch.no_grad():
        for name, layer in layers.items():
            for key, parameter in layer.named_parameters():
                parameter.copy_(values[f"{name}_{key}"])
        for name in ("bn1", "bn2"):
            statistics = {key: values[f"{name}_{key}"] for key in ("running_mean", "running_var")}
            load_norm(layers[name], {**statistics, "running_iter": values["running_iter"]}, accumulators=True)
        for batch in values["batches"]:
            network.train()(batch)
        found = {"probe_output": network.eval()(values["probe"]), "running_iter": norms[1]._running_iter[0]}
    found |= {f"{name}_{key}": getattr(layers[name], key) for name in ("bn1", "bn2") for key in ("running_mean", "running_var")}
    return {key: value.numpy() for key, value in found.items()}


def predict(inputs: Arrays, params: dict) -> Arrays:
    logits, size = torch.tensor(inputs["logits"]), tuple(params["size_hw"])
    protocol = preset_round("gta5-cityscapes", "pyramid").evaluate["target"]

    def network(image: Tensor) -> Output:
        return Output(logits=logits, features=image)

    label = predict_label(network, logits, size, align_corners=protocol.align_corners, upsample=protocol.upsample)
    best = upsample(logits, size, protocol.align_corners).topk(2, dim=1).values[0]
    return {"pred": label[0].numpy().astype(np.uint8), "decisive": (best[0] - best[1] > 1e-4).numpy().astype(np.uint8)}


def iou(inputs: Arrays, params: dict) -> Arrays:
    confusion = confusion_matrix(torch.tensor(inputs["label"]), torch.tensor(inputs["pred"]), params["num_classes"])
    scores = score(confusion, absent=preset_round("gta5-cityscapes", "pyramid").evaluate["target"].absent)
    return {"confusion": confusion.numpy(), "iou": np.array(scores.iou), "miou": np.array(round(100 * scores.miou, 2))}


def network_forward(inputs: Arrays, params: dict) -> Arrays:
    """The weights go through the layout that the plugin recognises, as a released file does."""
    model = build_ppm(params["arch"].removesuffix("_dilated8"), params["num_classes"], CumulativeBatchNorm2d).eval()
    content = {key: torch.tensor(value) for key, value in fill_state_dict(params["layout"]).items()}
    loaded = load_state(model, convert_checkpoint(content, recognize_layout(content, LAYOUTS)), where="reference vectors")
    assert not loaded.missing
    image = torch.tensor(inputs["image"])
    with torch.no_grad():
        *_, before, last = model.backbone.stages(image)
        whole = model(image).logits
        found = {"stage3_mean": before.mean((2, 3)), "stage4_mean": last.mean((2, 3)), "seg": model.classifier(last), "aux": model.classifier.auxiliary(before)}
    found["upsampled"] = whole[:, params["upsampled_channels"]]
    return {key: (value / params["output_divisor"]).numpy() for key, value in found.items()}


NETWORK_OPS: dict[str, Operation] = {
    "pycda.label_map.gta5": label_map("gta5"),
    "pycda.label_map.cityscapes": label_map("cityscapes"),
    "pycda.preprocess.source": preprocess,
    "pycda.preprocess.target": preprocess,
    "pycda.preprocess.eval": preprocess,
    "pycda.sgd": sgd,
    "pycda.lr.poly": rates("gta5-cityscapes", "pyramid"),
    "pycda.lr.step": rates("gta5-cityscapes-spatial", "pyramid"),
    "pycda.sync_bn.train": sync_batch_norm,
    "pycda.adabn_convert": convert,
    "pycda.predict": predict,
    "pycda.iou": iou,
    "pycda.network_forward.resnet101_ppm": network_forward,
    "pycda.network_forward.resnet18_ppm": network_forward,
}
