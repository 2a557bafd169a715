"""FADA's hot spots: losses of the discriminator and of those who deceive it, and its own
passes (algorithms/fada 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from udacore_fada.discriminator import Discriminator
from udacore_fada.losses import Encoding, domain_cross_entropy

from hot_spots.inputs import K, Outputs, Pair, Place, case, with_gradients

TEMPERATURE, CLIP = 1.8, 0.9


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def padded(answers: Tensor, soft: Tensor, domain: str) -> Tensor:
    """Cross-entropy of enlarged answers with an encoding of 2K channels, half of them zero."""
    halves = [soft, torch.zeros_like(soft)]
    encoding = torch.cat(halves if domain == "source" else halves[::-1], 1)
    return (-encoding * enlarge(answers, (soft.shape[2], soft.shape[3])).log_softmax(1)).sum(1).mean()


def soften(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return (enlarge(logits, size) / TEMPERATURE).softmax(1).clamp(max=CLIP)


@case("FADA's three losses of a step + gradients")
def losses(place: Place) -> Pair:
    size = place.pick((512, 1024), (64, 96))
    small = size[0] // 8, size[1] // 8
    source, target = (place.logits(*small, seed=seed) for seed in (0, 2))
    answers = [place.random(1, 2 * K, *small, seed=seed) for seed in (4, 5)]
    encoding = Encoding(size=size, temperature=TEMPERATURE, clip=CLIP)

    def plain(of_source: Tensor, of_target: Tensor) -> Tensor:
        soft = soften(target, size)
        seen = padded(of_source, soften(source, size), "source"), padded(of_target, soft, "source"), padded(of_target, soft, "target")
        return 0.5 * seen[0] + 0.001 * seen[1] + 0.5 * seen[2]

    def ours(of_source: Tensor, of_target: Tensor) -> Tensor:
        as_source, _ = domain_cross_entropy(of_source, source, encoding)
        deceived, as_target = domain_cross_entropy(of_target, target, encoding)
        return 0.5 * as_source + 0.001 * deceived + 0.5 * as_target

    return Pair(
        size=f"1 x {2 * K} at {size[0]} x {size[1]}, stride 8",
        plain=lambda: with_gradients(plain, *answers),
        ours=lambda: with_gradients(ours, *answers),
    )


@case("FADA's discriminator, all passes of a step")
def discriminator(place: Place) -> Pair:
    channels, (height, width) = place.pick((1024, (64, 128)), (16, (8, 12)))
    torch.manual_seed(0)
    model = Discriminator(channels, K, place.pick(256, 8)).to(place.device)
    weights = list(model.parameters())
    source, target = (place.random(1, channels, height, width, seed=seed) for seed in (0, 1))
    towards = place.random(1, 2 * K, height, width, seed=2)

    def found(features: Tensor | None, gradients: tuple[Tensor, ...]) -> Outputs:
        return {"features": features, **{f"weight {number}": gradient for number, gradient in enumerate(gradients)}}

    def plain() -> Outputs:
        """The target is seen twice, and what the weights gain from the adversarial pass is thrown away."""
        leaf = target.clone().requires_grad_()
        (model(leaf) * towards).mean().backward()
        model.zero_grad()
        for features in (source, target):
            (model(features) * towards).square().mean().backward()
        result = found(leaf.grad, tuple(weight.grad.clone() for weight in weights if weight.grad is not None))
        model.zero_grad()
        return result

    def ours() -> Outputs:
        leaf = target.clone().requires_grad_()
        answers = model(leaf)
        seen = (model(source) * towards).square().mean() + (answers * towards).square().mean()
        gradients = torch.autograd.grad(seen, weights, retain_graph=True)
        (features,) = torch.autograd.grad((answers * towards).mean(), leaf)
        return found(features, gradients)

    return Pair(size=f"1 x {channels} x {height} x {width}", plain=plain, ours=ours)
