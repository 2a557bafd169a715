"""BDL, bidirectional learning of image translation and segmentation.

Translators (a CycleGAN) make labelled source images look like the target; a segmenter learns from them, from
an adversarial loss on its class maps of the target, and from its own confident predictions there. In the
other direction the segmenter judges the translators: an image, its translation and its reconstruction must
score alike.

Yunsheng Li, Lu Yuan, Nuno Vasconcelos: Bidirectional Learning for Domain Adaptation of Semantic Segmentation.
CVPR 2019, arXiv 1904.10620.

Rounds: `source`, then in turns `translate-k` (`translate`, trains the parts `translators` and `critics` with
the segmenter as perceptual network, and writes the translated source at its end), `adapt-k` (`lambda_adv`,
the part `discriminator`) and `self-training-k` (pseudo labels too). The hooks look at the settings and at
what is drawn, never at a round's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor, nn

from udacore import hookimpl
from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError
from udacore.interface import Losses, RoundEnd, RoundInfo, Step
from udacore.losses import cross_entropy, upsample
from udacore.pseudo_labels import make_thresholded_labels
from udacore_bdl.checkpoints import LAYOUTS as LAYOUTS
from udacore_bdl.discriminators import OutputDiscriminator
from udacore_bdl.image_pool import draws_from
from udacore_bdl.losses import SOURCE, TARGET, domain_loss
from udacore_bdl.segmenters import build_network
from udacore_bdl.settings import Settings as Settings
from udacore_bdl.translation import add_translation, critic_terms, direction_terms, reference_scores, to_picture

UDACORE_API = 1
CITATION = """
@inproceedings{li2019bdl,
  title = {Bidirectional Learning for Domain Adaptation of Semantic Segmentation},
  author = {Li, Yunsheng and Yuan, Lu and Vasconcelos, Nuno},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2019},
  eprint = {1904.10620},
  archivePrefix = {arXiv}
}
"""


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, with `translators`, `critics` and `pools`, or with the `discriminator`
    of its class maps, or neither."""
    model = build_network(settings, architecture, len(round.classes))
    if settings.translate:
        add_translation(model, settings)
    elif settings.lambda_adv > 0:
        model.discriminator = OutputDiscriminator(len(round.classes), settings.discriminator_width)
    return model


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy on the label; in a translation round the terms that begin with source images."""
    if step.source is None:
        return {}
    if step.settings.translate:
        return {} if step.round.control else _translate_source(step)
    logits = _enlarged_logits(step, step.source.image, "source")
    if step.settings.lambda_adv > 0 and step.target is not None:
        step.kept["probability"] = logits.detach().softmax(1)
    return {"cross_entropy": cross_entropy(logits, step.source.label)}


@hookimpl
def target_loss(step: Step) -> Losses:
    """The adversarial loss on the class map, cross-entropy on pseudo labels, and the
    discriminator's own loss.

    In a translation round: the terms that begin with target images, and both critics'.
    """
    if step.target is None:
        return {}
    if step.settings.translate:
        return {} if step.round.control else _translate_target(step)
    is_adversarial = step.settings.lambda_adv > 0 and "probability" in step.kept
    if not (is_adversarial or step.target.pseudo_label is not None):
        return {}
    logits = _enlarged_logits(step, step.target.image, "target")
    losses: dict[str, Tensor] = _adversarial_losses(step, logits) if is_adversarial else {}
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = step.settings.lambda_pseudo * cross_entropy(logits, step.target.pseudo_label)
    return losses


def _enlarged_logits(step: Step, image: Tensor, domain: str) -> Tensor:
    height, width = image.shape[-2:]
    logits: Tensor = step.model(image, domain=domain).logits
    return upsample(logits, (height, width), step.model.align_corners)


def _adversarial_losses(step: Step, logits: Tensor) -> dict[str, Tensor]:
    """One forward of the discriminator on the target serves both sides: each loss
    changes its own part only."""
    score = step.model.discriminator(logits.softmax(1))
    to_source = domain_loss(score, SOURCE)
    step.record("unweighted_adversarial", to_source)
    return {
        "adversarial": step.settings.lambda_adv * to_source,
        "discriminator/source": 0.5 * domain_loss(step.model.discriminator(step.kept["probability"]), SOURCE),
        "discriminator/target": 0.5 * domain_loss(score, TARGET),
    }


def _translate_source(step: Step) -> dict[str, Tensor]:
    pictures = {name: batch.image for name, batch in (("A", step.source), ("B", step.target)) if batch is not None}
    step.kept["reference"] = reference_scores(step.model, pictures, step.settings)
    terms, step.kept["fake_B"] = direction_terms(step.model, pictures["A"], "A", step.settings, step.kept["reference"].get("A"))
    return {f"translators/{name}": value for name, value in terms.items()}


def _translate_target(step: Step) -> dict[str, Tensor]:
    if step.target is None or step.source is None:
        raise ConfigError(f"rounds.{step.round.name}.draws: translation needs both domains, source and target")
    terms, fake = direction_terms(step.model, step.target.image, "B", step.settings, step.kept["reference"].get("B"))
    real = {"A": step.source.image, "B": step.target.image}
    critics = critic_terms(step.model, real, {"A": fake, "B": step.kept["fake_B"]}, draws_from(step.generator))
    translators = {f"translators/{name}": value for name, value in terms.items()}
    return {**translators, **{f"critics/{name}": value for name, value in critics.items()}}


@hookimpl
def on_round_end(round: RoundEnd) -> Mapping[str, float] | None:
    """Translate every source image, at the size of the round's resize step, if this
    round trained translators.

    A matched control never looks at the target: there the images are written as they are, at the same size.
    """
    if not round.settings.translate:
        return None
    translate = _leave if round.round.control else round.model.translators.G_A
    for batch in round.source(labels=False):
        for name, image in zip(batch.name, translate(batch.image), strict=True):
            round.write_image(name, to_picture(image))
    return None


def _leave(image: Tensor) -> Tensor:
    """The image, half a grey level brighter: what cuts it to whole levels afterwards gives it back."""
    return image + 1 / 255


@hookimpl
def make_pseudo_labels(round: RoundEnd) -> Iterable[tuple[str, np.ndarray]]:
    """The argmax where its probability reaches the median of its class, but at most `cap`;
    maps of the input's size."""
    return make_thresholded_labels(
        round,
        percent=round.settings.fraction,
        cap=round.settings.cap,
        precision="float64",
        flip=round.pseudo_labels.flip,
        size=round.pseudo_labels.size,
        upsample="probability",
        label_size="input",
    )
