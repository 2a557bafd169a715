"""Operations of the reference vectors that the core answers: data, thresholds, scores, rates and optimisers as the presets set them."""

from __future__ import annotations

import functools

import attrs
import numpy as np
import torch
import udacore_bdl
from udacore_bdl.checkpoints import DEEPLAB, FCN8S
from udacore_bdl.translation import translated_size

from udacore.config.schema import PixelConfig, RoundConfig, ScheduleConfig
from udacore.data import colour, geometry
from udacore.inference import predict_label
from udacore.interface import Output, RoundInfo
from udacore.labels import get_label_space, lookup_table, remap, subset_indices
from udacore.metrics import confusion_matrix, score
from udacore.models.layouts import convert_checkpoint
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation
from udacore.testing.runs import configure
from udacore.testing.steps import make_optimizers
from udacore.thresholds import ThresholdCounter, apply_thresholds, find_thresholds

SPACE = get_label_space("cityscapes19")
PRESETS = {"DeepLab": "gta5-cityscapes", "VGG": "gta5-cityscapes-vgg16"}
LAYOUTS = {"DeepLab": DEEPLAB, "VGG": FCN8S}


@functools.cache
def preset_round(model: str, name: str = "adapt-1") -> RoundConfig:
    config = configure("bdl", PRESETS[model])
    return config.rounds[name]


def optimizer_layout(inputs: Arrays, params: dict) -> Arrays:
    """The optimiser that the core makes of the preset, by the authors' names."""
    config = preset_round(params["model"])
    info = RoundInfo(name="adapt-1", index=2, steps=1, trains=("segmenter",), classes=SPACE.classes)
    with torch.device("meta"):
        network = udacore_bdl.build_model(settings=config.method, architecture=config.model, round=info)
    named = dict(network.named_parameters())
    optimizer = make_optimizers(network, config, ("segmenter",))["segmenter"]
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    rows = []
    for key, tensor in network.state_dict().items():
        ours = key.partition(".")[0] in ("backbone", "classifier") and not key.endswith(("running_mean", "running_var", "num_batches_tracked", "branches"))
        if not ours:
            continue
        theirs = key.removeprefix("backbone.").replace("classifier.", "layer5." if params["model"] == "DeepLab" else "")
        assert convert_checkpoint({theirs: tensor}, LAYOUTS[params["model"]]).keys() == {key}
        group = groups.get(id(named.get(key)))
        factor = group["lr_factor"] if group else 0.0
        rows.append((theirs, group.get("repeats", 1) if factor else 0, factor, key in named and named[key].requires_grad))
    names, repeats, factors, flags = zip(*rows, strict=True)
    return {"names": np.array(names), "repeats": np.array(repeats), "lr_multiplier": np.array(factors, float), "requires_grad": np.array(flags)}


def schedule_of(form: ScheduleConfig, params: dict, last: int) -> ScheduleConfig:
    """The preset's form of schedule for the run of a case, up to step `last`; for the published run it is the preset's own."""
    if form.name == "step":
        period, count = int(form.at[0]), len(form.at)
        own = attrs.evolve(form, at=tuple(period * (number + 1) for number in range(max(count, last // period))))
        assert own.at[:count] == form.at
        return own
    own = attrs.evolve(form, horizon=params["num_steps"], power=params["power"])
    assert own == form or (params["num_steps"], params["power"]) != (250000, 0.9)
    return own


def learning_rate(inputs: Arrays, params: dict) -> Arrays:
    config = preset_round(params["model"])
    parts = config.parts["segmenter"], config.parts["discriminator"]
    second = 10 if params["model"] == "DeepLab" else 2
    bases = (params["learning_rate"], second * params["learning_rate"], params["learning_rate_d"])
    last = int(max(inputs["iterations"], default=0))
    schedules = [schedule_of(part.schedule, params, last) for part in (parts[0], parts[0], parts[1])]
    rows = [[base * rate(schedule, int(step), config.steps) for base, schedule in zip(bases, schedules, strict=True)] for step in inputs["iterations"]]
    return {"rates": np.array(rows)}


def translation_rate(inputs: Arrays, params: dict) -> Arrays:
    """By the preset's form of schedule; an epoch of 7 steps."""
    first, last = params["start_epoch"], params["niter"] + params["niter_decay"]
    form = preset_round("DeepLab", "translate-1").parts["translators"].schedule
    early = max(0, 2 - params["niter"])  # epochs by which the descent begins before the first one
    own = {"from_": f"{params['niter'] - 2 + early} epochs", "over": f"{params['niter_decay'] + 1} epochs", "stairs": form.stairs}
    schedule = ScheduleConfig(name=form.name, **own)
    if (params["niter"], params["niter_decay"]) == (10, 10):
        assert schedule == form
    steps = [7 * (epoch - 1 + early) for epoch in range(first, last + 1)]
    rates = np.array([[rate(schedule, step + inner, 7 * last, epoch=7) for inner in (0, 6)] for step in steps]).reshape(-1, 2)
    assert (rates[:, 0] == rates[:, 1]).all()
    return {"rates": params["learning_rate"] * rates[:, 0]}


def source_sample(inputs: Arrays, params: dict) -> Arrays:
    size = (params["width"], params["height"])
    image, label = geometry.resize(inputs["image"], inputs["label"], size)
    return {"image": colour.normalize(image, udacore_bdl.Settings().perceptual_pixels), "label": remap(label, lookup_table(SPACE, params["source"]))}


def target_sample(inputs: Arrays, params: dict) -> Arrays:
    image = geometry.resize_image(inputs["image"], (params["width"], params["height"]))
    return {"image": colour.normalize(image, preset_round("DeepLab").pixels)}


def label_mapping(inputs: Arrays, params: dict) -> Arrays:
    name = params["table"].removesuffix("_evaluation")
    raw = inputs["raw"]
    train = remap(raw, lookup_table(SPACE, name))
    # Ids beyond the evaluation's table are 255 here; the original lets them pass, and ignores them as no class.
    beyond = (raw > 33) | (raw.astype(np.int64) < -1)
    return {"train": np.where(beyond, raw, train) if name != params["table"] else train}


def class_thresholds(inputs: Arrays, params: dict) -> Arrays:
    confidence, label = torch.tensor(inputs["confidence"]), torch.tensor(inputs["labels"])

    def thresholds(cap: float) -> torch.Tensor:
        counter = ThresholdCounter(len(SPACE), params["fraction"], cap, "float64")
        return find_thresholds(counter, lambda: zip(confidence, label, strict=True))

    found = thresholds(params["cap"])
    labels = apply_thresholds(confidence, label, found)
    return {"raw_thresholds": thresholds(1.0).numpy(), "thresholds": found.numpy(), "labels": labels.numpy()}


def evaluate(inputs: Arrays, params: dict) -> Arrays:
    logits, size = torch.tensor(inputs["logits"]), (params["height"], params["width"])
    protocol = preset_round("DeepLab").evaluate["target"]

    def network(image: torch.Tensor) -> Output:
        return Output(logits=logits, features=image)

    prediction = predict_label(network, logits, size, align_corners=True, upsample=protocol.upsample)
    label = torch.tensor(remap(inputs["gt_ids"], lookup_table(SPACE, "cityscapes")))
    confusion = confusion_matrix(label, prediction, len(SPACE))
    subsets = {name: subset_indices(SPACE, name) for name in ("synthia16", "synthia13")}
    scores = score(confusion, absent=protocol.absent, subsets=subsets)
    means = 100 * np.array([scores.miou, *scores.subsets.values()])
    return {"predictions": prediction.numpy().astype(np.uint8), "confusion": confusion.numpy(), "iou": np.array(scores.iou), "miou": means}


def confusion(inputs: Arrays, params: dict) -> Arrays:
    counts = confusion_matrix(torch.tensor(inputs["gt"]), torch.tensor(inputs["pred"]), params["num_classes"])
    return {"confusion": counts.numpy()}


def iou(inputs: Arrays, params: dict) -> Arrays:
    scores = score(inputs["confusion"], absent="nan")
    return {"iou": np.array(scores.iou), "miou19": np.array(100 * scores.miou)}


def input_transform(inputs: Arrays, params: dict) -> Arrays:
    height, width = inputs["image"].shape[:2]
    image = geometry.resize_image(inputs["image"], translated_size(width, height, params["load_size"]))
    resized = np.array(image.shape[:2])
    if params["crop_size"]:
        image = geometry.pad_and_crop(image, (params["crop_size"],) * 2, params["crop_top"], params["crop_left"])
    image = geometry.flip(image) if params["flip"] else image
    pixels: PixelConfig = preset_round("DeepLab", "translate-1").pixels
    return {"image": colour.normalize(image, pixels), "resized": resized}


CORE_OPS: dict[str, Operation] = {
    "bdl.optimizer_layout": optimizer_layout,
    "bdl.learning_rate": learning_rate,
    "bdl.translation.learning_rate": translation_rate,
    "bdl.source_sample": source_sample,
    "bdl.target_sample": target_sample,
    "bdl.label_mapping": label_mapping,
    "bdl.class_thresholds": class_thresholds,
    "bdl.evaluate": evaluate,
    "bdl.confusion_matrix": confusion,
    "bdl.iou": iou,
    "bdl.translation.input_transform": input_transform,
}
