"""The core's own method: cross-entropy on the source, self-training where a round has pseudo labels.

It answers wherever a method is silent, and is the baseline when chosen by its name. A plugin like any other:
it uses nothing that a stranger could not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import nn

from udacore import hookimpl
from udacore.config.schema import ModelConfig
from udacore.interface import Losses, RoundEnd, RoundInfo, Step
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter, use_domain
from udacore.pseudo_labels import make_thresholded_labels


@hookimpl
def build_model(architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter that the configuration names, with one output a class."""
    return build_segmenter(architecture, len(round.classes))


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy on the label, the logits enlarged to its size."""
    if step.source is None:
        return {}
    logits = step.model(step.source.image).logits
    return {"source": segmentation_loss(logits, step.source.label, step.model.align_corners)}


@hookimpl
def target_loss(step: Step) -> Losses:
    """Cross-entropy on the pseudo label; no loss if the round has none."""
    if step.target is None or step.target.pseudo_label is None:
        return {}
    with use_domain(step.model, "target"):
        logits = step.model(step.target.image).logits
    return {"pseudo_label": segmentation_loss(logits, step.target.pseudo_label, step.model.align_corners)}


@hookimpl
def on_round_end() -> Mapping[str, float] | None:
    """Nothing to look over: nothing is remembered."""
    return None


@hookimpl
def make_pseudo_labels(round: RoundEnd) -> Iterable[tuple[str, np.ndarray]]:
    """The argmax of the probability where it reaches the class's threshold, by the core's
    `pseudo_labels` settings."""
    settings = round.pseudo_labels
    return make_thresholded_labels(round, percent=settings.percent, cap=settings.cap, flip=settings.flip, size=settings.size)
