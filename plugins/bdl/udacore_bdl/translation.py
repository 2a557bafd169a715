"""Translation between the domains: the networks of a translation round, their losses, and images from
them (algorithms/bdl 7).

A is the source, B the target. G_A translates A to B, G_B back; D_A judges images of B,
real and by G_A, D_B those of A.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from udacore_bdl.discriminators import PatchDiscriminator
from udacore_bdl.generators import Generator
from udacore_bdl.image_pool import Draws, ImagePool
from udacore_bdl.losses import cycle_loss, least_squares_loss, perceptual_loss, score_images, to_segmenter
from udacore_bdl.settings import Settings

Network = Callable[[Tensor], Tensor]
Terms = dict[str, Tensor]


class Translators(nn.Module):
    """Both generators: `G_A` source to target, `G_B` target to source."""

    def __init__(self, width: int, blocks: int, halvings: int) -> None:
        super().__init__()
        self.G_A = Generator(width, blocks, halvings)
        self.G_B = Generator(width, blocks, halvings)


class Critics(nn.Module):
    """Both patch discriminators: `D_A` of target images, `D_B` of source images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.D_A = PatchDiscriminator(width)
        self.D_B = PatchDiscriminator(width)


class Pools(nn.Module):
    """Earlier translations: `fake_A` (source-like) and `fake_B` (target-like)."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.fake_A = ImagePool(capacity)
        self.fake_B = ImagePool(capacity)


def add_translation(model: nn.Module, settings: Settings) -> None:
    """Give a segmenter the further children of a translation round: `translators`, `critics` and `pools`."""
    model.translators = Translators(settings.ngf, settings.blocks, settings.halvings)
    model.critics = Critics(settings.ndf)
    model.pools = Pools(settings.pool_size)


def reference_scores(model: Any, real: dict[str, Tensor], settings: Settings) -> dict[str, Tensor]:
    """The segmenter's logits of real images (N 3 H W in [-1, 1], by domain), without gradient; {}
    where nothing is compared."""
    if settings.lambda_translated == 0 and settings.lambda_semantic == 0:
        return {}
    with torch.no_grad():
        return dict(zip(real, _scores(model, list(real.values()), settings), strict=True))


def _scores(model: Any, images: list[Tensor], settings: Settings) -> list[Tensor]:
    def network(image: Tensor) -> Tensor:
        logits: Tensor = model(to_segmenter(image, settings.perceptual_pixels)).logits
        return logits

    return score_images(network, images, joined=settings.perceptual_batches == "joined")


def direction_terms(model: Any, real: Tensor, direction: str, settings: Settings, reference: Tensor | None) -> tuple[Terms, Tensor]:
    """The generators' losses that begin with one domain's images (N 3 H W in [-1, 1]),
    weighted, and the translation.

    direction  "A": there by G_A, back by G_B; "B": the other way
    reference  the segmenter's logits of the images (`reference_scores`), or None: nothing is compared

    Terms: `gan_A`, `cycle_A`, `identity_B` (of the generator that leads to these images' own domain),
    `semantic_A` and `reconstruction_A`; those of weight 0 are not computed. The translation comes without
    graph.
    """
    other = "B" if direction == "A" else "A"
    there, back = getattr(model.translators, f"G_{direction}"), getattr(model.translators, f"G_{other}")
    weight = settings.lambda_a if direction == "A" else settings.lambda_b
    fake = there(real)
    rebuilt = back(fake)
    critic = getattr(model.critics, f"D_{direction}")
    terms = {f"gan_{direction}": least_squares_loss(critic(fake), True), f"cycle_{direction}": weight * cycle_loss(rebuilt, real)}
    if settings.lambda_identity > 0:
        terms[f"identity_{other}"] = weight * settings.lambda_identity * cycle_loss(back(real), real)
    weights = {f"semantic_{direction}": (settings.lambda_translated, fake), f"reconstruction_{direction}": (weight * settings.lambda_semantic, rebuilt)}
    compared = {name: each for name, each in weights.items() if each[0] > 0}
    if compared and reference is not None:
        scores = _scores(model, [image for _, image in compared.values()], settings)
        for (name, (factor, _)), logits in zip(compared.items(), scores, strict=True):
            terms[name] = factor * perceptual_loss(logits, reference)
    return terms, fake.detach()


def critic_terms(model: Any, real: dict[str, Tensor], fake: dict[str, Tensor], draws: Draws) -> Terms:
    """Both critics' losses `D_A` and `D_B`, from real images and translations by domain ("A", "B"), the
    latter through the pools."""
    terms = {}
    for name, judged in (("D_A", "B"), ("D_B", "A")):
        critic = getattr(model.critics, name)
        shown = getattr(model.pools, f"fake_{judged}").query(fake[judged], draws)
        terms[name] = 0.5 * (least_squares_loss(critic(real[judged]), True) + least_squares_loss(critic(shown), False))
    return terms


def translated_size(width: int, height: int, load_width: int) -> tuple[int, int]:
    """(width, height) at which the authors translate an image: `load_width` wide, the height cut, then
    raised to a multiple of 4."""
    scaled = height if width == load_width else load_width * height // width
    return load_width, -(-scaled // 4) * 4


def to_picture(image: Tensor) -> np.ndarray:
    """A translation 3 H W in [-1, 1] as H W 3 uint8, cut and not rounded (algorithms/bdl 7.7)."""
    bright = (image.detach().float() + 1) / 2 * 255
    return bright.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
