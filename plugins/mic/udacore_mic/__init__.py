"""DAFormer, HRDA and MIC: three steps of one method, each with all of the one before.

DAFormer: a teacher, the moving average of the network, labels target images; half of the classes of a source
image are pasted into a target image and the network learns the mixture, target pixels weighted by the share
of those that the teacher is sure of. HRDA: the network sees the whole crop at half size and a part of it at
full size. MIC: from a target image most of which is hidden the network must predict what the teacher says of
the whole one.

Lukas Hoyer, Dengxin Dai, Luc Van Gool: DAFormer: Improving Network Architectures and Training Strategies for
Domain-Adaptive Semantic Segmentation. CVPR 2022, arXiv 2111.14887. HRDA: Context-Aware High-Resolution
Domain-Adaptive Semantic Segmentation. ECCV 2022, arXiv 2204.13132. With Haoran Wang: MIC: Masked Image
Consistency for Context-Enhanced Domain Adaptation. CVPR 2023, arXiv 2212.01322.

One round draws both domains, under `update: accumulate`; the hooks look at the settings and at what is drawn, never at a round's name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import attrs
from torch import Generator, Tensor, nn

from udacore import ConfigError, hookimpl
from udacore.config.schema import ModelConfig
from udacore.errors import list_names
from udacore.interface import Losses, RoundInfo, Step
from udacore.models import Teacher
from udacore_mic.adaptation import Draws, ask_teacher, check_sizes, move_teacher, source_losses, target_losses
from udacore_mic.augmentation import Augmentation
from udacore_mic.checkpoints import LAYOUTS as LAYOUTS
from udacore_mic.detail import Box
from udacore_mic.draws import draw_augmentation, draw_chance, draw_decisions, draw_noise, image_generators
from udacore_mic.masking import grid_size
from udacore_mic.networks import Detail, Network, build_network
from udacore_mic.reference import Reference
from udacore_mic.settings import Settings as Settings

UDACORE_API = 1
CITATION = """
@inproceedings{hoyer2022daformer,
  title = {{DAFormer}: Improving Network Architectures and Training Strategies for Domain-Adaptive Semantic Segmentation},
  author = {Hoyer, Lukas and Dai, Dengxin and Van Gool, Luc},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2022},
  eprint = {2111.14887},
  archivePrefix = {arXiv}
}
@inproceedings{hoyer2022hrda,
  title = {{HRDA}: Context-Aware High-Resolution Domain-Adaptive Semantic Segmentation},
  author = {Hoyer, Lukas and Dai, Dengxin and Van Gool, Luc},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2022},
  eprint = {2204.13132},
  archivePrefix = {arXiv}
}
@inproceedings{hoyer2023mic,
  title = {{MIC}: Masked Image Consistency for Context-Enhanced Domain Adaptation},
  author = {Hoyer, Lukas and Dai, Dengxin and Wang, Haoran and Van Gool, Luc},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2023},
  eprint = {2212.01322},
  archivePrefix = {arXiv}
}
"""


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, its `teacher`, and where there is a feature distance the part `imagenet`."""
    encoder = architecture.name if settings.network == "core" else settings.network
    detail = None if settings.detail_size is None else Detail(window=settings.detail_size[::-1], at_once=settings.windows)
    model = build_network(
        encoder, len(round.classes), architecture=architecture, detail=detail, width=settings.width, dropout=settings.dropout
    )
    teacher = Teacher(model, settings.alpha)
    known = [name for name in settings.feature_classes if name in round.classes]
    if settings.feature_distance and not known:
        raise ConfigError(f"method.feature_classes: none of {list_names(settings.feature_classes)} is a class of this round")
    if settings.feature_distance:
        model.imagenet = Reference(copy.deepcopy(model.backbone))
    model.teacher = teacher
    return model


@hookimpl
def source_loss(step: Step) -> Losses:
    """The loss on labels and the feature distance, on one graph; before them the teacher follows."""
    if step.source is None:
        return {}
    move_teacher(step)
    return source_losses(step, step.source, draw_box(step.model, step.source.image, step.generator))


@hookimpl
def target_loss(step: Step) -> Iterator[Losses]:
    """The losses on mixed and on masked images, each given up before the next."""
    if step.target is None:
        return
    if step.source is None:
        raise ConfigError("source classes are pasted into target images, so a round draws both: draws: [source, target]")
    check_sizes(step.source.image, step.target.image)
    draws, pseudo = draw(step), ask_teacher(step, step.target)
    step.record("quality", pseudo.quality)
    yield from target_losses(step, step.source, step.target, pseudo, draws)


def draw(step: Step) -> Draws:
    """The draws of a step's losses on the target: decisions and detail crops from the step's
    generator, all else image by image."""
    settings, chance, source, target = step.settings, step.generator, step.source, step.target
    assert source is not None
    assert target is not None
    thresholds = settings.jitter_threshold, settings.blur_threshold
    decisions, masked_decisions = draw_decisions(chance, *thresholds), draw_decisions(chance, *thresholds)
    mixed = draw_augmentation(image_generators(chance, target.name), decisions, settings.jitter)
    draws = Draws(
        chance=draw_chance(image_generators(chance, source.name), len(step.round.classes)), mixed=mixed,
        mixed_box=draw_box(step.model, target.image, chance),
    )  # fmt: skip
    if settings.masked == "none":
        return draws
    half = len(target.name) // 2
    names = {"target": target.name, "source": source.name, "both": source.name[:half] + target.name[:half]}
    images = image_generators(chance, names[settings.masked])
    height, width = target.image.shape[-2:]
    noise = draw_noise(images, grid_size((height, width), settings.mask_block))
    masked = draw_augmentation(images, masked_decisions, settings.jitter, chance) if settings.masked_augmented else Augmentation()
    return attrs.evolve(draws, masked=masked, noise=noise, masked_box=draw_box(step.model, target.image, chance))


def draw_box(model: nn.Module, image: Tensor, chance: Generator) -> Box | None:
    """A detail crop for a pass of the network over images; None for networks of one scale, also from elsewhere."""
    if not isinstance(model, Network):
        return None
    return model.draw_box((image.shape[2], image.shape[3]), chance)
