"""The update of a part once its gradients are averaged: divided by the scale,
looked at, clipped, and used."""

from __future__ import annotations

import torch

from udacore.engine.health import Health
from udacore.engine.optimisation.parts import Part
from udacore.engine.optimisation.scaling import LOWEST


def update_part(part: Part, health: Health, step: int) -> dict[str, float | torch.Tensor]:
    """One step of a part's optimiser, after which it has no gradients. A part without
    gradients is left alone.

    Returns numbers to record, by name: with `clip` the norm before it, and under fp16 the scale and whether
    the step was left out (1 or 0), since a gradient was not finite.
    """
    gradients = [parameter.grad for parameter in part.parameters if parameter.grad is not None]
    if not gradients:
        return {}
    if part.scaler is not None:
        part.scaler.divide(part.optimizer)
    norm = torch.nn.utils.get_total_norm(gradients)
    if part.scaler is None or part.scaler.scale <= LOWEST:
        health.see(f"gradient of {part.name}", norm, step)
    if part.config.clip is not None:
        torch.nn.utils.clip_grads_with_norm_(part.parameters, part.config.clip, norm)
    numbers: dict[str, float | torch.Tensor] = {}
    taken = True
    if part.scaler is None:
        part.optimizer.step()
    else:
        numbers[f"{part.name}/scale"] = part.scaler.scale
        taken = part.scaler.step(part.optimizer)
        numbers[f"{part.name}/skipped"] = float(not taken)
    if part.config.clip is not None and taken:
        numbers[f"{part.name}/grad_norm"] = norm
    part.optimizer.zero_grad(set_to_none=True)
    return numbers
