"""What the network learns in a step, from batches and draws (algorithms/mic 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from udacore import ConfigError
from udacore.interface import Output, SourceBatch, Step, TargetBatch
from udacore.losses import upsample
from udacore.models import Teacher
from udacore_mic.augmentation import Augmentation, augment
from udacore_mic.detail import Box
from udacore_mic.losses import counting_cells, detail_losses, feature_distance, segmentation_loss
from udacore_mic.masking import hide, masked_batch
from udacore_mic.mixing import Labelled, choose_values, class_mix, paste_mask, values_present
from udacore_mic.pseudo_labels import PseudoLabels, label_pixels

Terms = dict[str, Tensor]


@attrs.frozen(kw_only=True)
class Draws:
    """What is drawn for the losses on the target (algorithms/mic 5.8).

    chance               N K + 1 numbers on the host: the values of a source label with the largest are pasted
    mixed, masked        what becomes of the mixed and of the masked images
    noise                N 1 rows columns numbers on the host, a block's each; None: nothing is masked
    mixed_box, masked_box  the detail crop of each pass; None for networks without one
    """

    chance: Tensor
    mixed: Augmentation = attrs.field(factory=Augmentation)
    masked: Augmentation = attrs.field(factory=Augmentation)
    noise: Tensor | None = None
    mixed_box: Box | None = None
    masked_box: Box | None = None


def move_teacher(step: Step) -> None:
    """The teacher's part of a step, before any loss: it follows the weights as they are."""
    if not isinstance(getattr(step.model, "teacher", None), Teacher):
        raise ConfigError("the network has no teacher; where it is built: model.teacher = udacore.models.Teacher(model, settings.alpha)")
    if step.micro == 0:  # the optimiser has stepped since the last time
        step.model.teacher.update(step.model)


def source_losses(step: Step, source: SourceBatch, box: Box | None) -> Terms:
    """Cross-entropy on the labels, and the distance to the features of the frozen backbone, which
    shares the graph."""
    settings, model = step.settings, step.model
    reference = _reference(model, source.image) if settings.feature_distance else None
    output = _forward(model, source.image, "source", box)
    losses = _terms("source", output, box, Labelled(source.image, source.label, None), step)
    if reference is not None:
        names = step.round.classes
        classes = [names.index(name) for name in settings.feature_classes if name in names]
        counts = counting_cells(source.label, output.features.shape[3], classes, settings.feature_share, len(names))
        losses["feature_distance"] = settings.feature_distance * feature_distance(output.features, reference, counts)
    return losses


def target_losses(
    step: Step, source: SourceBatch, target: TargetBatch, pseudo: PseudoLabels, draws: Draws
) -> Iterator[Terms]:
    """The loss on mixed images and, where something is masked, that on masked ones, one after the other."""
    settings, pixels = step.settings, step.round.pixels
    labelled = Labelled(source.image, source.label, None), Labelled(target.image, pseudo.label, pseudo.weight)
    chosen = choose_values(values_present(source.label, len(step.round.classes)), _on(source.image, draws.chance))
    mixed = class_mix(paste_mask(source.label, chosen), *labelled)
    mixed = mixed._replace(image=augment(mixed.image, draws.mixed, pixels))
    yield _weighed(settings.mix, _learn("mixed", mixed, draws.mixed_box, step))
    del mixed
    if draws.noise is not None:
        masked = masked_batch(settings.masked, *labelled)
        image = hide(augment(masked.image, draws.masked, pixels), _on(masked.image, draws.noise), settings.mask_ratio)
        yield _weighed(settings.mask_weight, _learn("masked", masked._replace(image=image), draws.masked_box, step))


def ask_teacher(step: Step, target: TargetBatch) -> PseudoLabels:
    """What the teacher says of the target's images, in training mode: by their own batch statistics."""
    settings, teacher = step.settings, step.model.teacher
    height, width = target.image.shape[-2:]
    logits = upsample(teacher(target.image, domain="target").logits, (height, width), bool(teacher.align_corners))
    return label_pixels(
        logits, settings.threshold, valid=target.valid, trust=target.extra.get(settings.trust),
        ignore_top=settings.ignore_top, ignore_bottom=settings.ignore_bottom,
    )  # fmt: skip


def _learn(name: str, given: Labelled, box: Box | None, step: Step) -> Terms:
    return _terms(name, _forward(step.model, given.image, "target", box), box, given, step)


def _forward(model: Any, image: Tensor, domain: str, box: Box | None) -> Output:
    output: Output = model(image, domain=domain) if box is None else model(image, domain=domain, box=box)
    return output


def _terms(name: str, output: Output, box: Box | None, given: Labelled, step: Step) -> Terms:
    """The segmentation loss, and where there is a detail crop the share of its own logits."""
    if box is None:
        return {name: segmentation_loss(output.logits, given.label, given.weight, bool(step.model.align_corners))}
    share = step.settings.detail_weight
    whole, detail = detail_losses(output.logits, output.heads["detail"], box, given.label, given.weight, share)
    return {name: whole, f"{name}_detail": detail}


def _weighed(weight: float, losses: Terms) -> Terms:
    return losses if weight == 1 else {name: weight * loss for name, loss in losses.items()}


def _on(like: Tensor, numbers: Tensor) -> Tensor:
    """Numbers from the host on the device of `like`, without waiting for it."""
    return numbers.to(like.device, non_blocking=True)


@torch.no_grad()
def _reference(model: Any, image: Tensor) -> Tensor:
    """Features of the frozen backbone, of what the network's own are made from."""
    context = getattr(model, "context", None)  # networks from elsewhere have one scale
    features: Tensor = model.imagenet(image if context is None else context(image))
    return features


def check_sizes(source: Tensor, target: Tensor) -> None:
    """ConfigError for images N 3 H W that cannot be mixed, since their sizes differ."""
    if source.shape != target.shape:
        given = " and ".join(f"{len(x)} of {x.shape[3]} x {x.shape[2]}" for x in (source, target))
        raise ConfigError(
            f"mixing needs source and target images of one size, not {given}; end both transforms with the same crop"
        )
