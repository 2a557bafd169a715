"""SGD in which a parameter may be updated several times a step (algorithms/bdl 6.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class RepeatedSGD(Optimizer):
    """SGD with momentum whose groups may say `repeats`: r updates of a parameter in one
    step, with one gradient.

    The authors' program lists a parameter of the backbone once for each module around it, and torch 0.4
    updated it once for each time it was listed, adding the weight decay to the gradient anew. With gradient
    g, buffer b (0 at first):

        d = g;  r times:  d = d + weight_decay w;  b = momentum b + d;  w = w - lr b

    With one repeat this is torch's SGD. A parameter without gradient is left alone: no decay either.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.9, weight_decay: float = 5e-4, repeats: int = 1) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "repeats": repeats})
        for group in self.param_groups:
            if not isinstance(group["repeats"], int) or group["repeats"] < 1:
                raise ValueError(f"repeats must be a whole number of at least 1, got {group['repeats']!r}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is called first, with gradients, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self._buffer(parameter) for parameter in parameters]
        for _ in range(group["repeats"]):
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        buffer: Tensor = state["momentum_buffer"]
        return buffer
