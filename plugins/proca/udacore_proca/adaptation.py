"""The adaptation step: update what is remembered, and contrast the pixels of both domains with it
(algorithms/proca 5.3, 10)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from udacore.interface import IGNORE
from udacore_proca.losses import mask_confident, prototype_contrast_loss
from udacore_proca.memory_bank import MemoryBank, ProjectionHead, bank_contrast_loss, sample_anchors
from udacore_proca.prototypes import Estimator, Prototypes, downsample_labels, flatten_pixels
from udacore_proca.settings import Settings


@attrs.frozen(kw_only=True)
class Pixels:
    """The pixels of one domain's batch, with their graph.

    features  N A h w
    logits    N C h w
    label     N h w int64: the class that a pixel counts for, 255 = none
    """

    features: Tensor
    logits: Tensor
    label: Tensor


def source_pixels(features: Tensor, logits: Tensor, label: Tensor) -> Pixels:
    """Labelled pixels: `label` (N H W) is reduced to the size of the features."""
    height, width = features.shape[-2:]
    return Pixels(features=features, logits=logits, label=downsample_labels(label, (height, width)))


def target_pixels(features: Tensor, logits: Tensor, delta: float, valid: Tensor | None = None) -> Pixels:
    """Pixels with the class of their largest raw logit where that reaches `delta`; `valid`
    (N H W) leaves out padding."""
    label = mask_confident(logits, delta)
    if valid is not None:
        height, width = label.shape[-2:]
        label = label.where(downsample_labels(valid, (height, width)), IGNORE)
    return Pixels(features=features, logits=logits, label=label)


def contrast_losses(prototypes: Prototypes, source: Pixels, target: Pixels, settings: Settings) -> dict[str, Tensor]:
    """Update the prototypes in place, with the target and then the source, and contrast both
    domains with the result.

    Returns the weighted terms `feature_contrast` and, with `multi_level`, `output_contrast`. Each domain is
    averaged over its own valid pixels, so both weigh the same whatever their sizes. The former's gradient
    reaches the backbone only, the latter's the classifier too.
    """
    domains = (target, source)
    features = [(flatten_pixels(domain.features), domain.label.flatten()) for domain in domains]
    losses = {"feature_contrast": settings.feature_weight * _contrast_level(prototypes.feature, features, settings)}
    if settings.multi_level:
        logits = [(flatten_pixels(domain.logits), domain.label.flatten()) for domain in domains]
        losses["output_contrast"] = settings.output_weight * _contrast_level(prototypes.output, logits, settings)
    return losses


def _contrast_level(estimator: Estimator, domains: list[tuple[Tensor, Tensor]], settings: Settings) -> Tensor:
    momentum = settings.momentum if settings.prototype_update == "momentum" else None
    for x, label in domains:
        estimator.update(x, label, momentum=momentum)
    return torch.stack([prototype_contrast_loss(estimator.mean, x, label, settings.tau) for x, label in domains]).sum()


def bank_losses(
    bank: MemoryBank, projection: ProjectionHead, source: Pixels, target: Pixels, settings: Settings, generator: torch.Generator
) -> dict[str, Tensor]:
    """Contrast anchors of both domains with the bank, then write both into it, the source first.

    Source anchors are half wrongly predicted ones where there are so many; those of the target are all
    agreeing, since there the prediction is the label. Returns `source_contrast` and `target_contrast`,
    weighted. The random choices come from `generator`.
    """
    losses, seen = {}, []
    for name, domain in (("source", source), ("target", target)):
        x, label = flatten_pixels(projection(domain.features)), domain.label.flatten()
        prediction = domain.logits.detach().argmax(1).flatten() if name == "source" else label
        limits = {"max_samples": settings.anchors, "min_samples": settings.anchors_per_class}
        anchors, classes = sample_anchors(x, label, prediction, _random_order(label, generator), **limits)
        losses[f"{name}_contrast"] = settings.bank_weight * bank_contrast_loss(anchors, classes, bank.queue, settings.bank_temperature)
        seen.append((x, label))
    for x, label in seen:
        bank.update(x, label, _random_order(label, generator), settings.bank_pixels)
    return losses


def _random_order(label: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(label.shape, generator=generator).to(label.device)
