"""Operations of the reference vectors that belong to the losses, the mixing, the augmentation and the training step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from udacore_mic.augmentation import Augmentation, Jitter, augment, gaussian_blur, jitter_colours
from udacore_mic.losses import counting_cells, downscale_label, feature_distance, segmentation_loss
from udacore_mic.masking import block_mask, masked_batch
from udacore_mic.mixing import Labelled, choose_values, class_mix, paste_mask, values_present
from udacore_mic.pseudo_labels import label_pixels

from udacore.interface import IGNORE, Pixels
from udacore.metrics import confusion_matrix, score
from udacore.models import Teacher
from udacore.testing.golden import Arrays, Operation

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
}
