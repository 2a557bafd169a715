"""The operations of the reference vectors, each answered by a public function of the plugin or of udacore.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more. Those of
the networks, the data and the optimisers stand in `golden_network_ops.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from udacore_pycda.losses import source_loss
from udacore_pycda.prior import pool_prior, spatial_prior
from udacore_pycda.pyramid import Pyramid, Weights, pseudo_labels, target_losses

sys.path.append(str(Path(__file__).resolve().parent))
from golden_network_ops import NETWORK_OPS

Arrays = dict[str, np.ndarray]
PPM_CORNERS = False


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def source(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seg, aux, label = leaf(inputs["seg"]), leaf(inputs["aux"]), torch.tensor(inputs["label"])
    main, second = (source_loss(logits, label, PPM_CORNERS, params["replicas"]) for logits in (seg, aux))
    value = main + params["lambda_aux"] * second
    value.backward()
    return {
        "value": value.detach().numpy(), "main": main.detach().numpy(), "aux": second.detach().numpy(),
        "grad_seg": seg.grad.numpy(), "grad_aux": aux.grad.numpy(),
    }  # fmt: skip


def pyramid(inputs: Arrays, params: dict[str, Any]) -> Pyramid:
    valid = inputs.get("valid", np.ones_like(inputs["logits"][:, 0], np.uint8))
    chosen = {"threshold": params.get("threshold", 0.5), "box_sizes": params.get("box_sizes", ())}
    return Pyramid(logits=leaf(inputs["logits"]), valid=torch.tensor(valid), **chosen)


def with_gradient(seen: Pyramid, value: Tensor) -> Arrays:
    value.backward()
    return {"value": value.detach().numpy(), "grad_logits": seen.logits.grad.numpy()}


def pixel(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seen = pyramid(inputs, params)
    value, count = seen.pixel_loss()
    return {**with_gradient(seen, value), "count": count.numpy()}


def region(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seen = pyramid(inputs, params)
    value, count = seen.region_loss(params["merge_pixels"])
    return {**with_gradient(seen, value), "count": count.numpy()}


def labels(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    logits, valid = torch.tensor(inputs["logits"]), torch.tensor(inputs["valid"])
    found = pseudo_labels(logits, valid, params["threshold"], params["box_sizes"])
    by_side = {f"labels_{side}": each.label.numpy() for side, each in found.items()}
    return {**by_side, **{f"selected_{side}": each.selected.to(torch.uint8).numpy() for side, each in found.items()}}


def image(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seen = pyramid(inputs, params)
    mean = seen.mean_prediction().detach().numpy()
    return {**with_gradient(seen, seen.image_loss(params["target"], torch.tensor(inputs["histogram"]))), "mean_prediction": mean}


def pooled(inputs: Arrays, params: dict[str, Any]) -> dict[int, Tensor]:
    return {side: pool_prior(inputs["prior"], side) for side in params["box_sizes"]}


def spatial(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seen = pyramid(inputs, params)
    return with_gradient(seen, seen.spatial_loss(pooled(inputs, params)))


def target(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    seen = pyramid(inputs, params)
    weights = Weights(pseudo=params["lambda_pseudo"], balance=params["lambda_balance"], spatial=params.get("lambda_spatial", 0.0))
    prior = pooled(inputs, params) if "prior" in inputs else None
    choice = {"merge_pixels": params["merge_pixels"], "image_target": params["image_target"]}
    losses = target_losses(seen, weights, histogram=torch.tensor(inputs["histogram"]), prior=prior, **choice)
    return with_gradient(seen, torch.stack(list(losses.values())).sum())


def prior(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    found = spatial_prior(inputs["counts"], params["num_classes"])
    return {"prior": found, **{f"pooled_{side}": pool_prior(found, side).numpy() for side in params["box_sizes"]}}


Operation = Callable[[Arrays, dict[str, Any]], Arrays]
OPS: dict[str, Operation] = {
    "pycda.source_loss": source,
    "pycda.pixel_loss": pixel,
    "pycda.region_loss": region,
    "pycda.pseudo_labels": labels,
    "pycda.image_loss": image,
    "pycda.spatial_loss": spatial,
    "pycda.target_loss": target,
    "pycda.target_loss_spatial": target,
    "pycda.spatial_prior": prior,
    **NETWORK_OPS,
}
