"""DAFormer's training without its network: a teacher's labels on target images, into which
source classes are pasted.

A moving average of the network, the teacher, labels the target image. Half of the classes of a source image
are cut out and pasted onto it, image and label alike, and the network learns from the mixture. What comes
from the teacher counts as much as the teacher is sure: by the share of pixels whose probability reaches a
threshold. The source is drawn by the rarity of its classes, which is the core's sampler `rare_class`.

Letters: N images, K classes, H x W the image's size in pixels.
"""

from __future__ import annotations

import zlib
from math import exp
from typing import NamedTuple

import attrs
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import conv2d, pad
from udacore import ConfigError, MethodSettings, hookimpl, option, ranks
from udacore.config.schema import ModelConfig
from udacore.interface import IGNORE, Losses, RoundInfo, Step
from udacore.losses import cross_entropy, upsample
from udacore.models import Teacher, build_segmenter

UDACORE_API = 1
"""The version of the hooks that this is written for."""

CITATION = """@inproceedings{hoyer2022daformer,
  title = {{DAFormer}: Improving Network Architectures and Training Strategies for Domain-Adaptive Semantic Segmentation},
  author = {Hoyer, Lukas and Dai, Dengxin and Van Gool, Luc},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
}
@inproceedings{tranheden2021dacs,
  title = {{DACS}: Domain Adaptation via Cross-domain Mixed Sampling},
  author = {Tranheden, Wilhelm and Olsson, Viktor and Pinto, Juliano and Svensson, Lennart},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision},
  year = {2021},
}"""

SIGMA = (0.15, 1.15)
"""The blur's smallest and largest standard deviation, in pixels (the authors' program)."""


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """What users may choose, under `method:`."""

    weight: float = option(1.0, "weight of the loss on mixed images", at_least=0)
    alpha: float = option(0.999, "what the teacher keeps of itself in an update; at most 1 - 1 / (updates + 1)", at_least=0, at_most=1)
    threshold: float = option(0.968, "probability from which a pixel of the teacher's counts as sure", at_least=0, at_most=1)
    share: float = option(0.5, "share of a source image's classes that is pasted, rounded up", at_least=0, at_most=1)
    ignore_top: int = option(0, "upper rows of the target input whose pseudo labels count nothing", at_least=0)
    ignore_bottom: int = option(0, "lower rows of the target input whose pseudo labels count nothing", at_least=0)
    jitter: float = option(0.0, "strength of the colour jitter of mixed images; 0: off", at_least=0, at_most=1)
    jitter_probability: float = option(0.8, "how often colours are jittered", at_least=0, at_most=1)
    blur_probability: float = option(0.0, "how often mixed images are blurred", at_least=0, at_most=1)


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The core's segmenter, and its `teacher`."""
    model: nn.Module = build_segmenter(architecture, len(round.classes))
    model.teacher = Teacher(model, settings.alpha)
    return model


@hookimpl
def target_loss(step: Step) -> Losses:
    """Cross-entropy on target images with pasted source classes. The source alone is the core's business."""
    model, settings, source, target = step.model, step.settings, step.source, step.target
    if target is None:
        return {}
    if step.micro == 0:  # the optimiser has stepped since the last time
        model.teacher.update(model)
    pseudo = pseudo_labels(model.teacher, target.image, target.valid, settings)
    step.record("sure", pseudo.sure)
    image, label, weight = target.image, pseudo.label, pseudo.weight
    if source is not None:
        if source.image.shape != image.shape:
            given = " and ".join(f"{len(x)} of {x.shape[3]} x {x.shape[2]}" for x in (source.image, image))
            raise ConfigError(f"mixing needs source and target images of one size, not {given}; end both transforms with the same crop")
        mask = class_masks(source.label, len(step.round.classes), settings.share, generators(step.generator, source.name))
        image = torch.where(mask[:, None], source.image, image)
        label = torch.where(mask, source.label, label)
        weight = torch.where(mask, 1.0, weight)
    image = augment(image, settings, generators(step.generator, target.name))
    logits = upsample(model(image, domain="target").logits, (image.shape[2], image.shape[3]), model.align_corners)
    return {"mixed": settings.weight * cross_entropy(logits, label, weight=weight)}


# The teacher's labels


class Pseudo(NamedTuple):
    """What the teacher says: `label` N H W, how much each pixel counts (`weight` N H W), and
    the share of `sure` pixels."""

    label: Tensor
    weight: Tensor
    sure: Tensor


@torch.no_grad()
def pseudo_labels(teacher: nn.Module, image: Tensor, valid: Tensor, settings: Settings) -> Pseudo:
    """Labels of the target for images N 3 H W; 255 where not `valid`. The share of sure
    pixels is that of all ranks."""
    height, width = image.shape[-2:]
    logits = teacher(image, domain="target").logits
    confidence, label = upsample(logits, (height, width), bool(teacher.align_corners)).softmax(1).max(1)
    sure = quality(confidence, valid, settings.threshold)
    row = torch.arange(height, device=image.device)
    kept = (row >= settings.ignore_top) & (row < height - settings.ignore_bottom)
    return Pseudo(label.masked_fill(~valid, IGNORE), (sure * kept)[:, None].expand_as(confidence), sure)


def quality(confidence: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Share of the valid pixels, over the whole batch and all ranks, whose confidence reaches the
    threshold; 0 without any."""
    counts = ranks.all_sum(torch.stack([((confidence >= threshold) & valid).sum(), valid.sum()]).float())
    return counts[0] / counts[1].clamp(min=1)


# Mixing


def generators(generator: Generator, names: tuple[str, ...]) -> list[Generator]:
    """Random numbers for each image, whatever its place in the batch and on whichever
    rank: one draw, and its name."""
    draw = int(torch.randint(2**31, (), generator=generator))
    return [Generator().manual_seed(zlib.crc32(f"{draw} {name}".encode())) for name in names]


def class_masks(label: Tensor, classes: int, share: float, chance: list[Generator]) -> Tensor:
    """Pixels (N H W bool) of randomly chosen classes of each label (N H W): `share` of those
    that it holds, rounded up."""
    masks = []
    for one, generator in zip(label, chance, strict=True):
        index = one.clamp(max=classes)  # 255 is one more class, which is never chosen
        present = torch.zeros(classes + 1, dtype=torch.bool, device=label.device)
        present = present.index_fill(0, index.flatten(), True)[:classes]
        order = torch.rand(classes, generator=generator).to(label.device).masked_fill(~present, -1)
        place = order.argsort(descending=True).argsort()
        chosen = present & (place < (share * present.sum()).ceil())
        masks.append(torch.cat([chosen, chosen.new_zeros(1)])[index])
    return torch.stack(masks)


# Augmentation, of normalised images


def augment(image: Tensor, settings: Settings, chance: list[Generator]) -> Tensor:
    """Each of the images N 3 H W jittered and blurred, or not, by its own generator."""
    if not (settings.jitter and settings.jitter_probability) and not settings.blur_probability:
        return image
    out = []
    for one, generator in zip(image, chance, strict=True):
        jitters, blurs, low_high, *colour = torch.rand(6, generator=generator).tolist()
        if jitters < settings.jitter_probability:
            one = jitter(one, *(settings.jitter * (2 * c - 1) for c in colour))
        if blurs < settings.blur_probability:
            one = blur(one, SIGMA[0] + low_high * (SIGMA[1] - SIGMA[0]))
        out.append(one)
    return torch.stack(out)


def jitter(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change a normalised image 3 H W: 0 leaves it, -1 takes contrast or colour away; brightness
    is in standard deviations."""
    mean = image.mean()
    image = mean + (image - mean) * (1 + contrast) + brightness
    grey = image.mean(0, keepdim=True)
    return grey + (image - grey) * (1 + saturation)


def blur(image: Tensor, sigma: float, radius: int = 4) -> Tensor:
    """An image 3 H W under a Gaussian; its border is repeated outside."""
    kernel = image.new_tensor([exp(-0.5 * (x / sigma) ** 2) for x in range(-radius, radius + 1)])
    kernel = kernel / kernel.sum()
    channels = pad(image[:, None], (radius, radius, radius, radius), mode="replicate")
    return conv2d(conv2d(channels, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]
