"""PLCA, pixel-level cycle association.

From every source pixel the walk goes to the most similar pixel of a target image, and from there back to the
most similar source pixel. Where it ends in the class that it began with, both steps are trusted and their
similarities, each against all that compete with it, are pushed up: pixels of one class attract each other
across the domains, and repel all others. This is done on features and on class probabilities, together with
the supervised losses on the source, in one stage.

Guoliang Kang, Yunchao Wei, Yi Yang, Yueting Zhuang, Alexander G. Hauptmann: Pixel-Level Cycle Association: A
New Perspective for Domain Adaptive Semantic Segmentation. NeurIPS 2020, arXiv 2011.00147.

One round that draws both domains under `update: joint`: a cycle's gradient reaches both graphs. A round that
draws the source alone trains with the supervised losses. The hooks look at what is drawn, never at a round's
name.
"""

from __future__ import annotations

import logging
import zlib

import torch
from torch import Tensor, nn

from udacore import hookimpl, ranks
from udacore.config.schema import ModelConfig
from udacore.interface import Losses, Output, RoundInfo, Step
from udacore.losses import match_features, segmentation_loss, upsample
from udacore_clp.adversarial import discriminator_loss, generator_loss
from udacore_clp.checkpoints import LAYOUTS as LAYOUTS
from udacore_clp.diagnostics import association_statistics
from udacore_clp.discriminator import Discriminator
from udacore_clp.objective import association_losses, smoothness_losses, source_losses
from udacore_clp.sampling import Generators, Maps, choose_pixels
from udacore_clp.segmenters import build_network
from udacore_clp.settings import Settings as Settings

UDACORE_API = 1
CITATION = """
@inproceedings{kang2020plca,
  title = {Pixel-Level Cycle Association: A New Perspective for Domain Adaptive Semantic Segmentation},
  author = {Kang, Guoliang and Wei, Yunchao and Yang, Yi and Zhuang, Yueting and Hauptmann, Alexander G.},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2020},
  eprint = {2011.00147},
  archivePrefix = {arXiv}
}
"""

KEPT = "outputs"
"""Under which name `source_loss` leaves the outputs of both domains (source, target), with their graphs."""

VOICE = logging.getLogger("udacore.clp")


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, and with the adversarial option the part `discriminator`."""
    model = build_network(architecture, len(round.classes))
    if settings.adversarial:
        model.discriminator = Discriminator(model.num_classes)
    return model


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy and Lovász on the label (algorithms/clp 5.7). The target goes through the network
    first, and both outputs are kept."""
    if step.source is None:
        return {}
    # Both forwards move the same running statistics of batch norm, so their order tells (algorithms/clp 3.2).
    target = None if step.target is None else step.model(step.target.image, domain="target")
    source = step.model(step.source.image, domain="source")
    step.kept[KEPT] = (source, target)
    return source_losses(source.logits, step.source.label, step.settings.lovasz_weight, align_corners=step.model.align_corners)


@hookimpl
def target_loss(step: Step) -> Losses:
    """Cycle association, the smoothness of both domains' predictions, and what further
    losses the settings ask for.

    A round without source gets the core's loss: cross-entropy on pseudo labels, if it has some.
    """
    if step.source is None or step.target is None:
        return None
    source, target = step.kept[KEPT]
    _say_what_is_local(step)
    losses: dict[str, Tensor] = {}
    if step.settings.association_weight:
        losses |= _association_losses(step, source, target)
    if step.settings.lsr_weight:
        found = smoothness_losses(source.logits, target.logits, step.settings.lsr_threshold)
        losses |= {f"lsr_{domain}": step.settings.lsr_weight * loss for domain, loss in found.items()}
    if step.settings.adversarial:
        losses |= _adversarial_losses(step, source, target)
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = segmentation_loss(target.logits, step.target.pseudo_label, step.model.align_corners)
    return losses


def _association_losses(step: Step, source: Output, target: Output) -> dict[str, Tensor]:
    """Those on features and predictions of the pixels that are sampled (algorithms/clp 5.1, 5.5)."""
    assert step.source is not None
    settings = step.settings
    pixels = choose_pixels(
        _maps(source, step.model.align_corners), _maps(target, step.model.align_corners), step.source.label,
        sampling=settings.sampling, factor=settings.sampling_factor, generators=_generators(step),
    )  # fmt: skip
    found = association_losses(*pixels, alpha=settings.alpha if settings.aggregation else None, multi_level=settings.multi_level)
    if settings.diagnostics:
        _, targets, label = pixels
        for level, association in found.items():
            for name, value in association_statistics(association, label, targets.size[0] * targets.size[1]).items():
                step.record(f"cycles/{level}/{name}", value)
    return {f"association_{level}": settings.association_weight * association.loss for level, association in found.items()}


def _maps(output: Output, align_corners: bool) -> Maps:
    return Maps(match_features(output.features, output.logits, align_corners), output.logits)


def _generators(step: Step) -> tuple[Generators, Generators]:
    """One for each source and each target image, by its name."""
    assert step.source is not None
    assert step.target is not None
    number = int(torch.randint(2**62, (), generator=step.generator))
    named = [[f"{number} {domain} {name}" for name in batch.name] for domain, batch in (("source", step.source), ("target", step.target))]
    source, target = ([torch.Generator().manual_seed(zlib.crc32(words.encode())) for words in each] for each in named)
    return source, target


def _adversarial_losses(step: Step, source: Output, target: Output) -> dict[str, Tensor]:
    """Those of both players (algorithms/clp 5.9); class maps of both domains have the
    size of the source's label.

    The answer to the target's map serves both: the discriminator's gradient stops at its own parameters, the
    segmenter's passes through it.
    """
    assert step.source is not None
    height, width = step.source.label.shape[-2:]
    maps = [upsample(output.logits.float(), (height, width), step.model.align_corners).softmax(1) for output in (source, target)]
    source_scores, target_scores = step.model.discriminator(maps[0].detach()), step.model.discriminator(maps[1])
    return {
        "adversarial": step.settings.adversarial_weight * generator_loss(target_scores),
        "discriminator/domain": discriminator_loss(source_scores, target_scores),
    }


def _say_what_is_local(step: Step) -> None:
    if ranks.size() > 1 and step.index == 0 and step.micro == 0:
        VOICE.info(
            f"round {step.round.name!r}: cycles stay within a process, as published, and their mean is taken there: with another number of "
            f"processes than {ranks.size()} the association losses differ; Lovász and batch norm are pooled"
        )
