"""ProCA, prototypical contrast adaptation.

Each class has a prototype: the running mean of the features of all its pixels, begun on labelled source
images and carried on with source labels and confident target pixels. Every pixel of both domains is
classified against all prototypes by the cosine of their angles, so that its own class's prototype draws it
and the others push it away: once with the backbone's features and once with the logits. At last a fresh
network learns from pseudo labels.

Zhengkai Jiang, Yuxi Li, Ceyuan Yang, Peng Gao, Yabiao Wang, Ying Tai, Chengjie Wang: Prototypical Contrast
Adaptation for Domain Adaptive Semantic Segmentation. ECCV 2022, arXiv 2207.06654, doi
10.1007/978-3-031-19830-4_3.

Rounds: `source` trains on labels and initialises the prototypes at its end (`initialise_prototypes`), `adapt`
adds the contrast (`contrast`, `update: joint`), `distill` trains on pseudo labels. The same hooks serve all
three; they look at the settings and at what is drawn, never at a round's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from udacore import hookimpl, ranks
from udacore.config.schema import ModelConfig
from udacore.interface import IGNORE, Losses, RoundEnd, RoundInfo, Step
from udacore.losses import match_features, segmentation_loss
from udacore.models import build_segmenter, make_batch_norm
from udacore.pseudo_labels import make_thresholded_labels
from udacore_proca.adaptation import Pixels, bank_losses, contrast_losses, source_pixels, target_pixels
from udacore_proca.checkpoints import LAYOUTS as LAYOUTS
from udacore_proca.checkpoints import read_prototypes, write_prototypes
from udacore_proca.losses import supervised_loss
from udacore_proca.memory_bank import MemoryBank, ProjectionHead
from udacore_proca.prototypes import Prototypes
from udacore_proca.settings import Settings as Settings

UDACORE_API = 1
CITATION = """
@inproceedings{jiang2022proca,
  title = {Prototypical Contrast Adaptation for Domain Adaptive Semantic Segmentation},
  author = {Jiang, Zhengkai and Li, Yuxi and Yang, Ceyuan and Gao, Peng and Wang, Yabiao and Tai, Ying and Wang, Chengjie},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2022},
  doi = {10.1007/978-3-031-19830-4_3}
}
"""

INITIALISATION_BATCH = 4


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, and what it remembers as a child: `prototypes`, or `bank` with its `projection`."""
    model = build_segmenter(architecture, len(round.classes))
    if settings.variant == "memory_bank":
        norm = make_batch_norm(architecture.batch_norm)
        model.bank = MemoryBank(model.num_classes, settings.bank_rows, settings.embedding)
        model.projection = ProjectionHead(model.feature_channels, settings.embedding, settings.projection, norm)
        return model
    model.prototypes = Prototypes(model.num_classes, model.feature_channels)
    if settings.prototype_folder is not None:
        read_prototypes(Path(settings.prototype_folder), model.prototypes)
    return model


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy and Lovasz-Softmax on the label; the contrast is left to
    `target_loss`, with the graph."""
    if step.source is None:
        return {}
    output = step.model(step.source.image, domain="source")
    if step.settings.contrast and step.target is not None:
        features = match_features(output.features, output.logits, step.model.align_corners)
        step.kept["source"] = source_pixels(features, output.logits, step.source.label)
    return supervised_loss(output.logits, step.source.label, step.settings.lovasz_weight, align_corners=step.model.align_corners)


@hookimpl
def target_loss(step: Step) -> Losses:
    """The contrast of both domains where it is on, and cross-entropy on pseudo labels
    where the round has some."""
    contrasts = "source" in step.kept
    if step.target is None or not (contrasts or step.target.pseudo_label is not None):
        return {}
    output = step.model(step.target.image, domain="target")
    losses: dict[str, Tensor] = {}
    if contrasts:
        features = match_features(output.features, output.logits, step.model.align_corners)
        target = target_pixels(features, output.logits, step.settings.delta, step.target.valid)
        step.record("confident_target", (target.label != IGNORE).float().mean())
        losses |= _contrast(step, target)
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = segmentation_loss(output.logits, step.target.pseudo_label, step.model.align_corners)
    return losses


def _contrast(step: Step, target: Pixels) -> dict[str, Tensor]:
    source: Pixels = step.kept["source"]
    if step.settings.variant == "memory_bank":
        return bank_losses(step.model.bank, step.model.projection, source, target, step.settings, step.generator)
    return contrast_losses(step.model.prototypes, source, target, step.settings)


@hookimpl
def on_round_end(round: RoundEnd) -> Mapping[str, float] | None:
    """Begin the prototypes with every source image, if this round is to do so."""
    if not round.settings.initialise_prototypes or round.settings.variant == "memory_bank":
        return None

    def batches() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        for batch in round.source(batch=INITIALISATION_BATCH):
            output = round.model(batch.image, domain="source")
            assert batch.label is not None
            yield match_features(output.features, output.logits, round.model.align_corners), output.logits, batch.label

    prototypes: Prototypes = round.model.prototypes
    prototypes.initialise(batches())
    if ranks.is_main():
        write_prototypes(round.folder, prototypes)
    return {"prototype_pixels": float(prototypes.feature.count.sum())}


@hookimpl
def make_pseudo_labels(round: RoundEnd) -> Iterable[tuple[str, np.ndarray]]:
    """The argmax where its probability reaches the class's threshold: the quantile
    `percent`, but at most `cap`."""
    core = round.pseudo_labels
    return make_thresholded_labels(round, percent=round.settings.percent, cap=round.settings.cap, flip=core.flip, size=core.size)
