"""FADA, fine-grained adversarial alignment.

A discriminator looks at the features of each pixel and answers with 2K channels: "source and class k",
"target and class k". It learns from the segmenter's own soft predictions; the segmenter learns that a target
pixel should look like the source's half, with its own distribution over the classes. So features are aligned
class by class. At last a fresh network learns the target from the hard predictions of the aligned one.

Haoran Wang, Tong Shen, Wei Zhang, Lingyu Duan, Tao Mei: Classes Matter: A Fine-grained Adversarial Approach
to Cross-domain Semantic Segmentation. ECCV 2020, arXiv 2007.09222.

Rounds: `source` trains on labels, `adversarial` aligns the features (`adversarial: true`, part
`discriminator`), `distill` trains on pseudo labels. The same hooks serve all three; they look at the settings
and at what is drawn, never at a round's name.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from udacore import hookimpl
from udacore.config.schema import ModelConfig
from udacore.inference import predict_label
from udacore.interface import Losses, Output, RoundEnd, RoundInfo, Step
from udacore.losses import match_features
from udacore.models import build_segmenter, use_domain
from udacore_fada.checkpoints import LAYOUTS as LAYOUTS
from udacore_fada.discriminator import Discriminator
from udacore_fada.losses import Encoding, domain_cross_entropy, segmentation_loss
from udacore_fada.settings import Settings as Settings

UDACORE_API = 1
CITATION = """
@inproceedings{wang2020fada,
  title = {Classes Matter: A Fine-grained Adversarial Approach to Cross-domain Semantic Segmentation},
  author = {Wang, Haoran and Shen, Tong and Zhang, Wei and Duan, Lingyu and Mei, Tao},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2020},
  eprint = {2007.09222},
  archivePrefix = {arXiv}
}
"""

KEPT = "source"
"""Under which name `source_loss` leaves its `Seen` for `target_loss`."""


@attrs.frozen
class Seen:
    """What the discriminator needs of one domain: images' size (H, W), and the segmenter's features
    and logits without graph."""

    size: tuple[int, int]
    features: Tensor
    logits: Tensor


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, and where the round aligns features the part `discriminator`."""
    model = build_segmenter(architecture, len(round.classes))
    if settings.adversarial:
        model.discriminator = Discriminator(model.feature_channels, model.num_classes, settings.width)
    return model


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy on the label; in adversarial rounds under the temperature, and what the
    discriminator needs is kept."""
    if step.source is None:
        return {}
    output = step.model(step.source.image, domain="source")
    temperature = 1.0
    if step.settings.adversarial:
        temperature = step.settings.temperature
        features = match_features(output.features, output.logits, step.model.align_corners)
        step.kept[KEPT] = Seen(_size(step.source.image), features.detach(), output.logits.detach())
    return {"cross_entropy": segmentation_loss(output.logits, step.source.label, temperature, align_corners=step.model.align_corners)}


@hookimpl
def target_loss(step: Step) -> Losses:
    """The adversarial losses of both players where both domains are drawn, and cross-entropy on pseudo
    labels where there are some."""
    aligns = step.settings.adversarial and KEPT in step.kept
    if step.target is None or not (aligns or step.target.pseudo_label is not None):
        return {}
    output = step.model(step.target.image, domain="target")
    losses: dict[str, Tensor] = {}
    if aligns:
        losses |= _adversarial_losses(step, step.kept[KEPT], output, _size(step.target.image))
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = segmentation_loss(output.logits, step.target.pseudo_label, align_corners=step.model.align_corners)
    return losses


def _adversarial_losses(step: Step, source: Seen, target: Output, size: tuple[int, int]) -> dict[str, Tensor]:
    """The three terms of an update (algorithms/fada 5.6), all with the weights and features from before it.

    The answer to the target features serves both players: the discriminator's gradient stops at its own
    parameters, the segmenter's passes through it to the features. The latter comes last, so that its graph is
    freed on the way.
    """
    settings, model = step.settings, step.model

    def compare(features: Tensor, logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        encoding = Encoding(size=size, temperature=settings.temperature, clip=settings.clip, align_corners=model.align_corners)
        return domain_cross_entropy(model.discriminator(features), logits, encoding)

    source_as_source, _ = compare(source.features, source.logits, source.size)
    features = match_features(target.features, target.logits, model.align_corners)
    target_as_source, target_as_target = compare(features, target.logits.detach(), size)
    return {
        "discriminator/source": settings.discriminator_weight * source_as_source,
        "discriminator/target": settings.discriminator_weight * target_as_target,
        "adversarial": settings.adversarial_weight * target_as_source,
    }


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


@hookimpl
def make_pseudo_labels(round: RoundEnd) -> Iterable[tuple[str, np.ndarray]]:
    """The most probable class of every pixel, however unsure, at the image's size (algorithms/fada 8)."""
    core = round.pseudo_labels
    for batch in round.target(size=core.size):
        for image, name, size in zip(batch.image, batch.name, batch.size, strict=True):
            with use_domain(round.model, "target"):  # at each image: what is yielded to may forward the source
                label = predict_label(round.model, image[None], size, flip=core.flip)[0]
            yield name, label.to(torch.uint8).cpu().numpy()
