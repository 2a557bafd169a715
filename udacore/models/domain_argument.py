"""`model(image, domain="target")` for networks whose forward does not know the argument."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from udacore.models.normalization import DomainBatchNorm2d, use_domain


def accept_domain(model: nn.Module) -> None:
    """Let a network be called with the keyword `domain`, whether its forward takes it or not.

    A forward that does not take it never gets it; domain-specific batch norm in the network is switched
    instead, as `udacore.models.use_domain` does. Submodules of the network's own class, such as a teacher
    that was copied from it, are treated alike. Weights, parameters and buffers stay as they are.
    """
    for module in model.modules():
        if type(module) is type(model) and not _accepts_domain(module):
            switch = _Switch() if any(isinstance(layer, DomainBatchNorm2d) for layer in module.modules()) else None
            # Hooks rather than another `forward`: a copy of the network keeps them, and they act on the copy.
            module.register_forward_pre_hook(switch.enter if switch else _drop, with_kwargs=True)
            if switch:
                module.register_forward_hook(switch.leave, always_call=True)


def _accepts_domain(module: nn.Module) -> bool:
    """Whether a call with `domain` is possible as it is, be it for the forward or for the
    hooks of an earlier visit."""
    if any(hook is _drop or isinstance(getattr(hook, "__self__", None), _Switch) for hook in module._forward_pre_hooks.values()):
        return True
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a compiled forward may have no signature; its own error is then the clearest
        return True
    return any(each.kind is each.VAR_KEYWORD or (each.name == "domain" and each.kind is not each.POSITIONAL_ONLY) for each in parameters)


def _drop(module: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return arguments, {name: value for name, value in named.items() if name != "domain"}


class _Switch:
    """Chooses the layers of a domain around a forward; calls may be nested, as of a
    network in its own teacher."""

    def __init__(self) -> None:
        self.open: list[AbstractContextManager[None] | None] = []

    def enter(self, module: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self.open.append(None)  # `leave` is called even where what follows raises
        if named.get("domain") is not None:
            block = use_domain(module, named["domain"])
            block.__enter__()
            self.open[-1] = block
        return _drop(module, arguments, named)

    def leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        block = self.open.pop()
        if block is not None:
            block.__exit__(None, None, None)
