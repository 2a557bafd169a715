"""Operations of the reference vectors that belong to the losses, the mixing, the augmentation and the training step."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from udacore_mic import Settings
from udacore_mic.adaptation import Draws, ask_teacher, move_teacher, source_losses, target_losses
from udacore_mic.augmentation import Augmentation, Jitter, augment, gaussian_blur, jitter_colours
from udacore_mic.checkpoints import RELEASED
from udacore_mic.detail import Box
from udacore_mic.losses import counting_cells, downscale_label, feature_distance, segmentation_loss
from udacore_mic.masking import block_mask, masked_batch
from udacore_mic.mixing import Labelled, choose_values, class_mix, paste_mask, values_present
from udacore_mic.networks import Detail, Network, build_network
from udacore_mic.pseudo_labels import label_pixels
from udacore_mic.reference import Reference
from udacore_mic.transformer import MiTSettings

from udacore import hookimpl
from udacore.config.schema import MarginConfig, PartConfig, PixelConfig, RoundConfig, ScheduleConfig
from udacore.config.transforms import Crop, Flip, ResizeWithin
from udacore.data.randomness import redraw
from udacore.data.samplers import Wanted, draw_class, rare_class_probability, rare_file_probability, rich_files
from udacore.data.sidecars import margin_mask
from udacore.data.transforms import Sample, apply_transforms, normalize
from udacore.inference import slide
from udacore.interface import IGNORE, Losses, Pixels, SourceBatch, Step, TargetBatch
from udacore.losses import upsample
from udacore.metrics import confusion_matrix, score
from udacore.models import Teacher
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import load_state
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.steps import take_steps

TINY = MiTSettings(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), heads=(1, 2, 3, 4), drop_path=0.0)
GROUPS, NO_DECAY = {r"^classifier\.": 10.0}, (r"^backbone\..*norm",)
RGB = Pixels(scale=255, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def tensors(inputs: Arrays) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in inputs.items()}


class Weights(nn.Module):
    """A network that is nothing but parameters of these names."""

    def __init__(self, inputs: Arrays, prefix: str, names: list[str]) -> None:
        super().__init__()
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.tensor(inputs[f"{prefix}.{name}"])))


def ema_update(inputs: Arrays, params: dict) -> Arrays:
    student, teacher = (Weights(inputs, which, params["names"]) for which in ("student", "teacher"))
    average = Teacher(teacher, params["alpha"])
    average.updates.fill_(params["iteration"])
    average.load_state_dict(average.state_dict())
    average.update(student)
    return {f"teacher.{name}": average.network.get_buffer(name).numpy() for name in params["names"]}


def segmentation(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    weight = torch.tensor(inputs["weight"]) if "weight" in inputs else None
    loss = segmentation_loss(logits, torch.tensor(inputs["label"]), weight)
    loss.backward()
    return {"loss": loss.detach().numpy(), "grad_logits": logits.grad.numpy()}


def downscale(inputs: Arrays, params: dict) -> Arrays:
    label = torch.tensor(inputs["label"])
    return {"label": downscale_label(label, params["factor"], params["min_ratio"], params["num_classes"]).numpy()}


def distance(inputs: Arrays, params: dict) -> Arrays:
    feature, label = leaf(inputs["feature"]), torch.tensor(inputs["label"])
    counts = counting_cells(label, feature.shape[3], params["classes"], params["min_ratio"], params["num_classes"])
    reference = torch.tensor(inputs["imagenet_feature"])
    loss = params["weight"] * feature_distance(feature, reference, counts, empty=float("nan"))
    loss.backward()
    return {"loss": loss.detach().numpy(), "mask": counts.numpy(), "grad_feature": feature.grad.numpy()}


def pseudo_label(inputs: Arrays, params: dict) -> Arrays:
    found = label_pixels(
        torch.tensor(inputs["logits"]), params["threshold"], trust=torch.tensor(inputs["valid"]) if "valid" in inputs else None,
        ignore_top=params.get("ignore_top", 0), ignore_bottom=params.get("ignore_bottom", 0),
    )  # fmt: skip
    return {name: getattr(found, name).numpy() for name in ("label", "quality", "weight")}


def index_of(values: np.ndarray, num_classes: int) -> np.ndarray:
    """Values of a label as columns of the masks, 255 last."""
    return np.where(values == IGNORE, num_classes, values)


def chance_of(places: list[list[int]], present: Tensor) -> Tensor:
    """Numbers of which those of the `places` among the values present are the largest, in
    descending order, for each image."""
    columns = present.nonzero()[:, 0]
    chance = torch.zeros(len(places), len(present))
    for row, drawn in zip(chance, places, strict=True):
        row[columns[torch.tensor(drawn)]] = torch.linspace(1, 0.5, len(drawn))
    return chance


def class_choice(inputs: Arrays, params: dict) -> Arrays:
    label, num_classes = torch.tensor(inputs["label"]), 19
    present = values_present(label, num_classes)
    count, random = int(present.sum()), np.random.RandomState(params["seed"])
    places = [random.choice(count, (count + 1) // 2, replace=False).tolist() for _ in label]
    chosen = choose_values(present, chance_of(places, present))
    values = torch.cat([torch.arange(num_classes), torch.tensor([IGNORE])])
    drawn = torch.stack([values[present][torch.tensor(row)] for row in places])
    # The masks do not know in which order their values were drawn: the sets agree, or the result says so.
    same = [set(row.tolist()) == set(values[own].tolist()) for row, own in zip(drawn, chosen, strict=True)]
    assert all(same)
    return {"present": values[present].numpy(), "chosen": drawn.numpy(), "mask": paste_mask(label, chosen).long().numpy()}


def mix(inputs: Arrays, params: dict) -> Arrays:
    given, num_classes = tensors(inputs), 19
    chosen = torch.zeros(len(inputs["chosen"]), num_classes + 1, dtype=torch.bool)
    chosen.scatter_(1, torch.tensor(index_of(inputs["chosen"], num_classes)), True)
    mask = paste_mask(given["source_label"], chosen)
    source = Labelled(given["source_image"], given["source_label"], None)
    mixed = class_mix(mask, source, Labelled(given["target_image"], given["pseudo_label"], given["pseudo_weight"]))
    return {"image": mixed.image.numpy(), "label": mixed.label.numpy(), "weight": mixed.weight.numpy(), "mask": mask.long().numpy()}


def jitter_of(inputs: Arrays) -> Jitter:
    factors = np.stack([inputs[name] for name in ("brightness", "contrast", "saturation", "hue")], 1)
    order = np.broadcast_to(inputs["order"].astype(np.int64), factors.shape).copy()
    return Jitter(factors=torch.tensor(factors), order=torch.tensor(order))


def colour_jitter(inputs: Arrays, params: dict) -> Arrays:
    pixels = Pixels(scale=255, mean=tuple(params["mean"]), std=tuple(params["std"]))
    return {"image": jitter_colours(torch.tensor(inputs["image"]), jitter_of(inputs), pixels).numpy()}


def blur(inputs: Arrays, params: dict) -> Arrays:
    image = torch.tensor(inputs["image"])
    return {"image": gaussian_blur(image, [params["sigma"]] * len(image)).numpy()}


def augmentation_of(inputs: Arrays, params: dict) -> Augmentation:
    """The decisions and numbers of a case with one call of the jitter and one sigma."""
    return Augmentation(
        jitter=jitter_of(inputs) if params["jitter_draw"] > params["jitter_threshold"] else None,
        sigma=[params["sigma"]] * len(inputs["brightness"]) if params["blur_draw"] > 0.5 else None,
    )


def augmented(inputs: Arrays, params: dict) -> Arrays:
    pixels = Pixels(scale=255, mean=tuple(params["mean"]), std=tuple(params["std"]))
    return {"image": augment(torch.tensor(inputs["image"]), augmentation_of(inputs, params), pixels).numpy()}


def blocks(inputs: Arrays, params: dict) -> Arrays:
    return {"mask": block_mask(torch.tensor(inputs["noise"]), params["ratio"], tuple(params["size"])).numpy()}


MODES = {"separatetrg": "target", "separate": "both", "separatesrc": "source"}
"""Names of the published program for which pictures are masked; `aug` behind them means augmented."""


def masked_inputs(inputs: Arrays, params: dict) -> Arrays:
    given, mode = tensors(inputs), params["mode"]
    source = Labelled(given["source_image"], given["source_label"], None)
    target = Labelled(given["target_image"], given["pseudo_label"], given["pseudo_weight"])
    shown = masked_batch(MODES[mode.removesuffix("aug")], source, target)
    image = augment(shown.image, augmentation_of(inputs, params), RGB) if mode.endswith("aug") else shown.image
    image = image * block_mask(given["noise"], params["ratio"], tuple(image.shape[2:]))
    return {"image": image.numpy(), "label": shown.label.numpy(), "weight": shown.weight.numpy()}


def iou(inputs: Arrays, params: dict) -> Arrays:
    counts = confusion_matrix(torch.tensor(inputs["label"]), torch.tensor(inputs["prediction"]), params["num_classes"])
    found = score(counts, absent="nan")
    return {
        "iou": np.array(found.iou), "accuracy": np.array(found.accuracy), "all_accuracy": np.array(found.pixel_accuracy),
        "miou": np.array(found.miou), "miou16": np.array(found.miou * 19 / 16),
    }  # fmt: skip


# Rare classes, which the core samples


def class_order(counts: np.ndarray) -> np.ndarray:
    """Classes that occur, in ascending order of their pixels: that of the published program."""
    totals = counts.sum(0)
    return np.array([number for number in np.argsort(totals, kind="stable") if totals[number]])


def class_probability(counts: np.ndarray, temperature: float) -> np.ndarray:
    return rare_class_probability(counts, temperature, counts.sum(0) > 0)


def rcs_class_probabilities(inputs: Arrays, params: dict) -> Arrays:
    order = class_order(inputs["counts"])
    return {"classes": order, "probability": class_probability(inputs["counts"], params["temperature"])[order]}


def rcs_file_probabilities(inputs: Arrays, params: dict) -> Arrays:
    return {"probability": rare_file_probability(inputs["counts"], params["temperature"], params["min_pixels"])}


def rcs_sample(inputs: Arrays, params: dict) -> Arrays:
    counts, random, least = inputs["counts"], np.random.RandomState(params["seed"]), params["min_pixels"]
    order, files = class_order(counts), rich_files(counts, least)
    probability = class_probability(counts, params["temperature"])[order]
    found: dict[str, list[int]] = {"class": [], "file": [], "crop": [], "target": []}
    for _ in range(params["draws"]):
        number = int(order[draw_class(probability, random.random_sample())])
        file = int(files[number][random.randint(len(files[number]))])
        wanted, crops = Wanted(number, least * params["min_crop_ratio"]), inputs["crops"][file]
        numbers = iter(range(len(crops)))
        crop = redraw(lambda numbers=numbers: next(numbers), lambda n, crops=crops, wanted=wanted: wanted.is_in(crops[n]))
        for name, value in zip(found, (number, file, crop, random.randint(params["targets"])), strict=True):
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


# Data


class GivenDraws:
    """The numbers that the published program drew, in place of a generator."""

    def __init__(self, draws: dict[str, list[Any]]) -> None:
        self.whole, self.shares = list(draws["randint"]), list(draws["rand"])

    def random(self) -> float:
        return float(self.shares.pop(0))

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        return int(self.whole.pop(0))


def transform(inputs: Arrays, params: dict) -> Arrays:
    share, size = params["cat_max_ratio"], tuple(params["crop"][::-1])
    crop = Crop(size=size, pad="end", fill=(124, 116, 104), max_share=share if share < 1 else None)
    steps = {"resize_within": ResizeWithin(size=tuple(params["scale"])), "crop": crop, "flip": Flip()}
    extra = {}
    if "margins" in params:
        extra["valid"] = margin_mask(inputs["image"].shape[:2], MarginConfig(**dict(zip(MARGINS, params["margins"], strict=True))))
    sample = apply_transforms(Sample(image=inputs["image"], label=inputs.get("label"), extra=extra), steps, GivenDraws(params["draws"]))
    result = {"image": normalize(sample.image, PixelConfig())}
    if sample.label is not None:
        result["label"] = sample.label.astype(np.int64)
    if extra:  # the published program pads its masks with 255, which would weigh; ours are 0 there
        result["valid"] = np.where(True if sample.valid is None else sample.valid, sample.extra["valid"], np.uint8(255))
    return result


MARGINS = ("top", "bottom", "left", "right")

# Evaluation


def at_original(logits: Tensor, params: dict) -> Arrays:
    """Logits at the size of the label, and the classes."""
    enlarged = upsample(logits, tuple(params["original"]), False)
    return {"logits_original": enlarged.numpy(), "prediction": enlarged.argmax(1).numpy()}


def slide_inference(inputs: Arrays, params: dict) -> Arrays:
    windows = iter(torch.tensor(inputs["window_logits"])[:, None])
    image = torch.zeros(1, 3, *params["size"])
    logits = slide(lambda _: next(windows), image, tuple(params["window"]), tuple(params["stride"]), align_corners=False)
    return {"logits": logits.numpy(), **at_original(logits, params)}


def whole_inference(inputs: Arrays, params: dict) -> Arrays:
    given, size = torch.tensor(inputs["logits"]), tuple(params["size"])
    logits = slide(lambda _: given, torch.zeros(1, 3, *size), size, size, align_corners=False)
    return at_original(logits, params)


# The optimiser


def learning_rate(inputs: Arrays, params: dict) -> Arrays:
    schedule = ScheduleConfig(
        name="poly", power=params["power"], horizon=params["max_iters"], warmup=params["warmup_iters"], warmup_from=params["warmup_ratio"]
    )
    assert params["min_lr"] == 0
    factors = np.array([rate(schedule, int(step), params["max_iters"]) for step in inputs["step"]])
    return {"lr": params["base_lr"] * factors, "lr_head": params["base_lr"] * params["head_factor"] * factors}


# A whole training step


class Observed(torch.optim.AdamW):
    """AdamW in the middle of a training, which keeps the gradients that it was given."""

    def __init__(self, parameters: Any, *, begun: int, squares: float, **options: Any) -> None:
        super().__init__(parameters, **options)
        self.begun, self.squares = begun, squares

    def step(self, closure: Any = None) -> Any:
        for parameter in (each for group in self.param_groups for each in group["params"]):
            parameter.seen = parameter.grad.clone()
            zeros = torch.zeros_like(parameter)
            self.state[parameter] = {"step": torch.tensor(float(self.begun)), "exp_avg": zeros, "exp_avg_sq": zeros + self.squares}
        return super().step(closure)


def theirs(key: str) -> str:
    return key.replace("classifier.", "decode_head.", 1)


def step_model(params: dict) -> Network:
    """The three networks of a case, with the weights of the fill rule read as a training checkpoint of the authors."""
    detail = Detail(window=tuple(params["crop"]), attention=16) if params["kind"] == "hrda" else None
    weights = {key: torch.tensor(widened(value)) for key, value in fill_state_dict(params["layout"]).items()}

    def part(prefix: str) -> dict[str, Tensor]:
        own = {key.replace(prefix, "model.", 1): value for key, value in weights.items() if key.startswith(prefix)}
        return convert_checkpoint({"state_dict": own}, RELEASED)

    model = build_network(TINY, params["num_classes"], detail=detail, width=16, dropout=0.0)
    teacher = Teacher(model, params["alpha"])
    load_state(model, part("model."), where="case")
    teacher.network.load_state_dict(part("ema_model."))
    model.imagenet, model.teacher = Reference(copy.deepcopy(model.backbone)), teacher
    model.imagenet.load_state_dict({key: value for key, value in part("imnet_model.").items() if key.startswith("backbone.")})
    teacher.updates.fill_(params["iteration"])
    teacher.load_state_dict(teacher.state_dict())
    return model


def step_settings(params: dict) -> Settings:
    return Settings(
        alpha=params["alpha"], threshold=params["threshold"], ignore_top=params["ignore_top"], ignore_bottom=params["ignore_bottom"],
        feature_distance=params["feature_distance_weight"], feature_share=params["feature_distance_min_ratio"],
        feature_classes=tuple(f"class {number}" for number in params["feature_distance_classes"]),
        jitter=params["jitter_strength"], jitter_threshold=params["jitter_threshold"], mask_ratio=params["mask_ratio"],
        masked=MODES[params["mask_mode"].removesuffix("aug")] if params["mask_mode"] else "none",
    )  # fmt: skip


def jitter_call(call: dict) -> Jitter:
    factors = torch.tensor([call[f"{name}_factor"] for name in ("brightness", "contrast", "saturation", "hue")]).T
    return Jitter(factors=factors, order=torch.tensor(call["order"]).expand(len(factors), 4))


def step_draws(inputs: Arrays, params: dict) -> tuple[Draws, list[Box | None]]:
    """The draws of a case, and the boxes of its passes in their order."""
    given, images = params["draws"], len(inputs["source_image"])
    uniform, sigma, jitters = list(given["python_uniform"]), list(given["sigma"]), list(given["jitter"])
    present = values_present(torch.tensor(inputs["source_label"]), params["num_classes"])
    boxes: list[Box | None] = [None] * 3
    for number, (top, left) in enumerate(zip(given["offsets"][::2], given["offsets"][1::2], strict=True)):
        boxes[number] = (8 * top, 8 * top + params["crop"][0], 8 * left, 8 * left + params["crop"][1])

    def augmentation(calls: int, sigmas: int) -> Augmentation:
        jitters_now, blurs_now = uniform.pop(0) > params["jitter_threshold"], uniform.pop(0) > 0.5
        taken = [jitter_call(jitters.pop(0)) for _ in range(calls)] if jitters_now else []
        jitter = Jitter(factors=torch.cat([x.factors for x in taken]), order=torch.cat([x.order for x in taken])) if taken else None
        return Augmentation(jitter=jitter, sigma=[sigma.pop(0) for _ in range(sigmas)] * (images // sigmas) if blurs_now else None)

    mixed = augmentation(images, images)
    masked = augmentation(1, 1) if (params["mask_mode"] or "").endswith("aug") else Augmentation()
    draws = Draws(
        chance=chance_of(given["choice"], present), mixed=mixed, masked=masked, mixed_box=boxes[1], masked_box=boxes[2],
        noise=torch.tensor(inputs["noise"]) if params["mask_mode"] else None,
    )  # fmt: skip
    assert not uniform + sigma + jitters
    return draws, boxes


def in_float64(operation: Operation) -> Operation:
    """The operation with its numbers, weights among them, as float64.

    In float32 the rounding of one place at the kink of a ReLU decides on a gradient, in one case or another on each machine.
    """

    def run(inputs: Arrays, params: dict) -> Arrays:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return operation({name: widened(array) for name, array in inputs.items()}, params)
        finally:
            torch.set_default_dtype(before)

    return run


def widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


@in_float64
def training_step(inputs: Arrays, params: dict) -> Arrays:
    model, settings = step_model(params), step_settings(params)
    draws, boxes = step_draws(inputs, params)
    seen: dict[str, np.ndarray] = {}

    @hookimpl
    def source_loss(step: Step) -> Losses:
        own = {name: value.clone() for name, value in model.teacher.named_buffers() if "running_" in name}
        move_teacher(step)
        # In a run the teacher's statistics are the network's before the first update, which copies them. Not so in the case.
        model.teacher.load_state_dict(own, strict=False)
        return source_losses(step, step.source, boxes[0])

    @hookimpl
    def target_loss(step: Step) -> Iterator[Losses]:
        pseudo = ask_teacher(step, step.target)
        seen.update(pseudo_label=pseudo.label.numpy(), quality=pseudo.quality.numpy())
        yield from target_losses(step, step.source, step.target, pseudo, draws)

    method = types.ModuleType("udacore_mic_case")
    method.__dict__.update(source_loss=source_loss, target_loss=target_loss, UDACORE_API=1, Settings=Settings)
    options = {"betas": (0.9, 0.999), "weight_decay": 0.01, "begun": params["optimizer_step"], "squares": params["exp_avg_sq"]}
    segmenter = PartConfig(optimizer=f"{__name__}:Observed", lr=params["lr"], options=options, groups=GROUPS, no_decay=NO_DECAY)
    config = RoundConfig(steps=1, parts={"segmenter": segmenter, "imagenet": PartConfig(frozen=True)}, method=settings, batch=2)
    given = tensors(inputs)
    whole = {"name": ("a", "b"), "valid": torch.ones_like(given["source_label"], dtype=torch.bool)}
    source = SourceBatch(image=given["source_image"], label=given["source_label"], **whole)
    extra = {settings.trust: given["valid"]} if "valid" in given else {}
    (row,) = take_steps(method, config, model, [source], [TargetBatch(image=given["target_image"], extra=extra, **whole)])
    state = model.state_dict()
    if row.get("loss/feature_distance") == [0.0]:
        row["loss/feature_distance"] = [float("nan")]  # no cell counts: the published program notes NaN, with a gradient of 0
    return {
        **seen,
        **{f"loss.{name.removeprefix('loss/')}": np.array(values[0]) for name, values in row.items() if name.startswith("loss/")},
        **{f"grad.{theirs(name)}": each.seen.numpy() for name, each in model.named_parameters() if hasattr(each, "seen")},
        **{f"new.model.{theirs(key)}": value.numpy() for key, value in state.items() if not key.startswith(("teacher.", "imagenet."))},
        **{f"new.ema_model.{theirs(key)}": value.numpy() for key, value in model.teacher.network.state_dict().items()},
    }


OPS: dict[str, Operation] = {
    "mic.ema_update": ema_update,
    "mic.segmentation_loss": segmentation,
    "mic.downscale_label": downscale,
    "mic.feature_distance": distance,
    "mic.pseudo_label": pseudo_label,
    "mic.class_choice": class_choice,
    "mic.class_mix": mix,
    "mic.colour_jitter": colour_jitter,
    "mic.gaussian_blur": blur,
    "mic.augment": augmented,
    "mic.block_mask": blocks,
    "mic.masked_inputs": masked_inputs,
    "mic.iou": iou,
    "mic.rcs_class_probabilities": rcs_class_probabilities,
    "mic.rcs_file_probabilities": rcs_file_probabilities,
    "mic.rcs_sample": rcs_sample,
    "mic.transform": transform,
    "mic.learning_rate": learning_rate,
    "mic.slide_inference": slide_inference,
    "mic.whole_inference": whole_inference,
    "mic.training_step": training_step,
}
