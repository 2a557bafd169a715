"""Hot spots of a step: losses with their gradients, prototypes (algorithms/proca 5, algorithms/fada 5)."""

from __future__ import annotations

import torch
from torch import Tensor
from udacore_proca import Settings
from udacore_proca.adaptation import contrast_losses, source_pixels, target_pixels
from udacore_proca.losses import mask_confident, prototype_contrast_loss, supervised_loss
from udacore_proca.prototypes import Estimator, Prototypes

from hot_spots import plain
from hot_spots.inputs import DELTA, TAU, K, Outputs, Pair, Place, case, with_gradients
from udacore.losses import lovasz_softmax, soft_cross_entropy


@case("prototype update")
def prototype_update(place: Place) -> Pair:
    pixels, channels = place.pick((14400, 2048), (300, 32))
    x, label = place.random(pixels, channels), place.label(1, pixels)[0, 0]
    estimator = Estimator(K, channels).to(place.device)
    estimator.update(x.flip(0), label)
    mean, count = estimator.mean.clone(), estimator.count.clone()

    def ours() -> Outputs:
        estimator.mean.copy_(mean)
        estimator.count.copy_(count)
        estimator.update(x, label)
        return {"mean": estimator.mean.clone(), "count": estimator.count.clone()}

    def dense() -> Outputs:
        means, counts = plain.update_prototypes(mean, count.float(), x, label)
        return {"mean": means, "count": counts.long()}

    return Pair(size=f"{pixels} pixels x {K} x {channels}", plain=dense, ours=ours)


@case("contrast loss + gradient")
def contrast(place: Place) -> Pair:
    pixels, channels = place.pick((14400, 2048), (300, 32))
    x, label, prototype = place.random(pixels, channels), place.label(1, pixels)[0, 0], place.random(K, channels, seed=1)
    return Pair(
        size=f"{pixels} pixels x {K} x {channels}",
        plain=lambda: with_gradients(lambda x: plain.contrast(prototype, x, label, TAU), x),
        ours=lambda: with_gradients(lambda x: prototype_contrast_loss(prototype, x, label, TAU), x),
    )


@case("target mask")
def target_mask(place: Place) -> Pair:
    height, width = place.pick((64, 128), (8, 16))
    logits = place.logits(height, width) - 1.5
    return Pair(
        size=f"1 x {K} x {height} x {width}",
        plain=lambda: {"mask": plain.mask_confident(logits, DELTA)},
        ours=lambda: {"mask": mask_confident(logits, DELTA)},
    )


@case("Lovasz-Softmax + gradient")
def lovasz(place: Place) -> Pair:
    height, width = place.pick((720, 1280), (72, 96))
    probability, label = place.logits(height, width).softmax(1), place.label(height, width)
    return Pair(
        size=f"1 x {K} x {height} x {width}",
        plain=lambda: with_gradients(lambda p: plain.lovasz(p, label), probability),
        ours=lambda: with_gradients(lambda p: lovasz_softmax(p, label), probability),
        exact=lambda: with_gradients(lambda p: plain.lovasz(p, label), probability.double()),
    )


@case("soft-label cross-entropy + gradient")
def soft_labels(place: Place) -> Pair:
    height, width = place.pick((720, 1280), (36, 64))
    logits, soft = place.random(1, 2 * K, height, width), place.logits(height, width).softmax(1)
    return Pair(
        size=f"1 x {2 * K} x {height} x {width}",
        plain=lambda: with_gradients(lambda z: plain.soft_cross_entropy(z, soft), logits),
        ours=lambda: with_gradients(lambda z: soft_cross_entropy(z, soft), logits),
    )


@case("ProCA's losses of a step + gradients")
def adapt(place: Place) -> Pair:
    (height, width), (small_height, small_width), channels = place.pick(((720, 1280), (512, 1024), 2048), ((64, 96), (48, 80), 32))
    label, settings = place.label(height, width), Settings(tau=TAU, delta=DELTA)
    source, target = (height // 8, width // 8), (small_height // 8, small_width // 8)
    leaves = [place.random(1, channels, *source), place.logits(*source), place.random(1, channels, *target, seed=2), place.logits(*target, seed=2)]
    prototypes = Prototypes(K, channels).to(place.device)

    def ours() -> Outputs:
        for buffer in prototypes.buffers():
            buffer.zero_()

        def loss(*leaves: Tensor) -> Tensor:
            domains = source_pixels(*leaves[:2], label), target_pixels(*leaves[2:], settings.delta)
            terms = {**supervised_loss(leaves[1], label, settings.lovasz_weight), **contrast_losses(prototypes, *domains, settings)}
            return torch.stack(list(terms.values())).sum()

        return {**with_gradients(loss, *leaves), "feature": prototypes.feature.mean.clone(), "output": prototypes.output.mean.clone()}

    def dense(dtype: torch.dtype = torch.float32) -> Outputs:
        zeros = place.random(K, 1).to(dtype) * 0
        states = [(zeros.expand(K, size).clone(), zeros[:, 0]) for size in (channels, K)]
        means: list[Tensor] = []

        def loss(*leaves: Tensor) -> Tensor:
            value, found = plain.adapt(leaves, label, states, settings.delta, settings.tau)
            means.extend(found)
            return value

        return {**with_gradients(loss, *(each.to(dtype) for each in leaves)), "feature": means[0], "output": means[1]}

    # float32(0.9) and 0.9 mask alike unless a logit lies between them; the seeds are such that none does.
    size = f"{height} x {width} and {small_height} x {small_width}, stride 8, A = {channels}"
    return Pair(size=size, plain=dense, ours=ours, exact=lambda: dense(torch.float64))
