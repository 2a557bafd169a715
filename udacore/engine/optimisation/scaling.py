"""Scaling of losses under fp16: without it small gradients become 0, and with too much
of it large ones overflow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

LOWEST = 1.0
"""At this scale a gradient that is not finite is the method's fault, and no longer that of fp16's range."""


class LossScaler:
    """torch's `GradScaler` of one part, which also counts the steps that it left out."""

    def __init__(self, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type)
        self.skipped = 0

    @property
    def scale(self) -> float:
        """What losses are multiplied by; waits for the device."""
        return float(self.scaler.get_scale())

    def multiply(self, loss: Tensor) -> Tensor:
        """The loss, a scalar, times the scale."""
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def divide(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale; once before each step."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """Take the optimiser's step unless a gradient is not finite, then adapt the
        scale; whether it was taken."""
        before = self.scale
        self.scaler.step(optimizer)
        self.scaler.update()
        taken = self.scale >= before  # it falls where a step was left out, and nowhere else
        self.skipped += not taken
        return taken

    def state(self) -> dict[str, float]:
        """What must survive a restart, as plain numbers."""
        state = self.scaler.state_dict()
        return {"scale": state["scale"], "since": state["_growth_tracker"], "skipped": self.skipped}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` gave."""
        own = {**self.scaler.state_dict(), "scale": float(state["scale"]), "_growth_tracker": int(state["since"])}
        self.scaler.load_state_dict(own)
        self.skipped = int(state["skipped"])
