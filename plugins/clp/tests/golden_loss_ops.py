"""Operations of the reference vectors that are losses, or parts of them; an adapter converts and calls, no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from udacore_clp.adversarial import discriminator_loss, generator_loss
from udacore_clp.aggregation import aggregate
from udacore_clp.association import association_loss, cycle_associate
from udacore_clp.diagnostics import association_statistics
from udacore_clp.objective import association_losses, smoothness_losses, source_losses
from udacore_clp.regularizer import smoothness_loss
from udacore_clp.sampling import Maps, choose_pixels, downsample_label, sample_grid, sample_maps
from udacore_clp.similarity import scored_similarity

from udacore.losses import Pool, cross_entropy, lovasz_softmax, upsample
from udacore.testing.golden import Arrays, Operation


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def tensors(inputs: Arrays) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in inputs.items()}


def with_gradients(loss: Tensor, **leaves: Tensor) -> Arrays:
    """The loss, and its gradient by each leaf as `grad_<name>`."""
    loss.backward()
    gradients = {name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in leaves.items()}
    return {"loss": loss.detach().numpy(), **{f"grad_{name}": gradient.numpy() for name, gradient in gradients.items()}}


def similarity(inputs: Arrays, params: dict) -> Arrays:
    x = tensors(inputs)
    there, back = (scored_similarity(x[a], x[b], params["metric"]) for a, b in (("source", "target"), ("target", "source")))
    return {"s_st": there.numpy(), "s_ts": back.numpy()}


def cycles(inputs: Arrays, params: dict) -> Arrays:
    x = tensors(inputs)
    found = cycle_associate(x["source"], x["target"], params["metric"])
    return {"target_index": found.to_target.numpy(), "source_index": found.back.numpy(), "score": found.score.numpy()}


def aggregation(inputs: Arrays, params: dict) -> Arrays:
    x, alpha = leaf(inputs["x"]), params["alpha"]
    mixed = aggregate(x, params["metric"], alpha)
    (mixed * torch.tensor(inputs["upstream"])).sum().backward()
    average = (mixed.detach() - (1 - alpha) * x.detach()) / alpha
    return {"aggregated": average.numpy(), "mixed": mixed.detach().numpy(), "grad_x": x.grad.numpy()}


def alpha_of(params: dict) -> float | None:
    return params["alpha"] if params["spatial_aggregation"] else None


def association(inputs: Arrays, params: dict) -> Arrays:
    source, target, label = leaf(inputs["source"]), leaf(inputs["target"]), torch.tensor(inputs["source_labels"])
    found = association_loss(source, target, label, kind=params["metric"], alpha=alpha_of(params))
    outputs = with_gradients(found.loss, source=source, target=target)
    half = target.shape[3] // 2
    if half:  # asked for where the right half of the target is a copy of its left
        outputs["grad_target_pair_sum"] = outputs["grad_target"][..., :half] + outputs["grad_target"][..., half : 2 * half]
    return outputs


def statistics(inputs: Arrays, params: dict) -> Arrays:
    x = tensors(inputs)
    found = association_loss(x["source"], x["target"], x["source_labels"], kind=params["metric"], alpha=alpha_of(params))
    pixels = x["target"].shape[2] * x["target"].shape[3]
    return {name: value.numpy() for name, value in association_statistics(found, x["source_labels"], pixels, x["target_labels"]).items()}


def smoothness(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    return with_gradients(smoothness_loss(logits, params["threshold"]), logits=logits)


def lovasz(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    return with_gradients(lovasz_softmax(logits.softmax(1), torch.tensor(inputs["labels"]), params["ignore"]), logits=logits)


def lovasz_of_processes(inputs: Arrays, params: dict) -> Arrays:
    logits, label = leaf(inputs["logits"]), torch.tensor(inputs["labels"])
    probability = logits.softmax(2)
    losses = []
    for rank in range(params["world_size"]):
        pool = Pool(probability=probability.detach(), label=label, rank=rank, present="own")
        losses.append(lovasz_softmax(probability[rank], label[rank], params["ignore"], pool=pool))
    torch.stack(losses).sum().backward()
    return {"loss": torch.stack(losses).detach().numpy(), "grad_logits": logits.grad.numpy()}


def segmentation(inputs: Arrays, params: dict) -> Arrays:
    logits, label = leaf(inputs["logits"]), torch.tensor(inputs["labels"])
    enlarged = upsample(logits, tuple(label.shape[-2:]), align_corners=False)
    return with_gradients(cross_entropy(enlarged, label, ignore=params["ignore"]), logits=logits)


def effective_lovasz_weight(params: dict) -> float:
    return params["lovasz_weight"] * params["world_size"] * params["accumulation"] if params.get("lovasz", True) else 0.0


def source(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["source_logits"])
    losses = source_losses(logits, torch.tensor(inputs["source_labels"]), effective_lovasz_weight(params))
    return with_gradients(torch.stack(list(losses.values())).sum(), source_logits=logits)


def chosen(source: Maps, target: Maps, inputs: Arrays, params: dict) -> tuple[Maps, Maps, Tensor]:
    """What is associated; a grid is given here, not drawn."""
    label = torch.tensor(inputs["source_labels"])
    if params["sampling"] != "grid":
        return choose_pixels(source, target, label, sampling=params["sampling"], factor=params["scale_factor"])
    grids = [[torch.tensor(inputs[f"{name}_{axis}"]) for axis in ("rows", "cols")] for name in ("source", "target")]
    small = sample_grid(downsample_label(label, source.size), *grids[0])
    return sample_maps(source, *grids[0]), sample_maps(target, *grids[1]), small


def objective(inputs: Arrays, params: dict) -> Arrays:
    leaves = {f"{domain}_{level}": leaf(inputs[f"{domain}_{level}"]) for domain in ("source", "target") for level in ("features", "logits")}
    source, target = (Maps(leaves[f"{domain}_features"], leaves[f"{domain}_logits"]) for domain in ("source", "target"))
    supervised = source_losses(source.logits, torch.tensor(inputs["source_labels"]), effective_lovasz_weight(params))
    associations = association_losses(*chosen(source, target, inputs, params), alpha=alpha_of(params), multi_level=params["multi_level"])
    zero = torch.zeros(())
    smooth = {"source": zero, "target": zero}
    if params["multi_level"] and params["lsr_threshold"] > 0:
        smooth = smoothness_losses(source.logits, target.logits, params["lsr_threshold"])
    terms = {
        "association": associations["features"].loss,
        "association_cls": associations["probability"].loss if params["multi_level"] else zero,
        "lsr_S": smooth["source"],
        "lsr_T": smooth["target"],
        "ce_loss": torch.stack(list(supervised.values())).sum(),
    }
    weights = [params["association_weight"]] * 2 + [params["lsr_weight"]] * 2 + [1.0]
    total = sum(weight * term for weight, term in zip(weights, terms.values(), strict=True))
    outputs = with_gradients(total, **leaves)
    return {**outputs, "total": outputs.pop("loss"), **{name: term.detach().numpy() for name, term in terms.items()}}


def label_downsample(inputs: Arrays, params: dict) -> Arrays:
    return {"labels": downsample_label(torch.tensor(inputs["labels"]), tuple(params["size"])).numpy()}


def grid_sampling(inputs: Arrays, params: dict) -> Arrays:
    x = tensors(inputs)
    maps = sample_maps(Maps(x["features"], x["logits"]), x["rows"], x["cols"])
    label = sample_grid(x["labels"], x["rows"], x["cols"])
    return {"features": maps.features.numpy(), "probabilities": maps.logits.softmax(1).numpy(), "labels": label.numpy()}


def adversarial(loss_of: Callable[..., Tensor], *names: str) -> Operation:
    def run(inputs: Arrays, params: dict) -> Arrays:
        scores = {name: leaf(inputs[name]) for name in names}
        return with_gradients(loss_of(*scores.values()), **scores)

    return run


LOSS_OPS: dict[str, Operation] = {
    "clp.scored_similarity": similarity,
    "clp.cycle_association": cycles,
    "clp.spatial_aggregation": aggregation,
    "clp.association_loss": association,
    "clp.association_statistics": statistics,
    "clp.smooth_regulariser": smoothness,
    "clp.lovasz_softmax": lovasz,
    "clp.lovasz_softmax_distributed": lovasz_of_processes,
    "clp.segmentation_cross_entropy": segmentation,
    "clp.source_loss": source,
    "clp.objective": objective,
    "clp.label_downsample": label_downsample,
    "clp.grid_sampling": grid_sampling,
    "clp.adversarial_generator_loss": adversarial(generator_loss, "target_scores"),
    "clp.adversarial_discriminator_loss": adversarial(discriminator_loss, "source_scores", "target_scores"),
}
