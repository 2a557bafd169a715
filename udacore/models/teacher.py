"""A teacher: an exponential moving average of a network, kept in buffers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from udacore.errors import near_matches

_DROPS_PATHS = ("DropPath", "StochasticDepth")
"""Classes of timm and torchvision that leave out whole branches."""


class Teacher(nn.Module):
    """A moving average of `model`, to be made a child of it in `build_model` and updated in a loss hook.

        model.teacher = Teacher(model, settings.alpha)      # in build_model, before
        parts that it shall not copy
        if step.micro == 0:                                 # in source_loss or target_loss
            step.model.teacher.update(step.model)
        logits = step.model.teacher(image, domain="target").logits

    model       the network as built; its weights are loaded later, and the first update copies them
    alpha       what the teacher keeps of itself in an update, from 0 to 1
    statistics  own: those of batch norm are copied once, and then the teacher's forwards move them; copied:
                after each update they are the network's
    shared      names of children that the teacher uses as they are, such as a frozen
                backbone: no copy, no memory

    All weights are buffers: no optimiser sees them, they are saved, resumed and moved with the model, and a
    file without them does for a start. `updates` counts the updates, also over later rounds that go on with
    the teacher. The teacher is in the mode of the model, but its dropout is always off. Its forward keeps no
    gradient. Raises ValueError for an alpha outside of 0 to 1 and a shared child that is not there.
    """

    network: nn.Module
    updates: Tensor

    def __init__(
        self, model: nn.Module, alpha: float = 0.999, *, statistics: Literal["own", "copied"] = "own", shared: Sequence[str] = ()
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"Teacher: alpha is a number from 0 to 1, got {alpha!r}")
        if statistics not in ("own", "copied"):
            raise ValueError(f"Teacher: statistics={statistics!r}{near_matches(str(statistics), ('own', 'copied'))}")
        children = dict(model.named_children())
        for name in shared:
            if name not in children:
                raise ValueError(f"Teacher: shared: the model has no child {name!r}{near_matches(name, children)}")
        self.alpha, self.statistics = alpha, statistics
        self.network = _remembered(copy.deepcopy(model, {id(children[name]): children[name] for name in shared}), shared)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._known_updates: int | None = 0

    @property
    def num_classes(self) -> Any:
        """As the network states it."""
        return self.network.num_classes

    @property
    def align_corners(self) -> Any:
        """As the network states it."""
        return self.network.align_corners

    @property
    def head_names(self) -> Any:
        """As the network states it; empty where it does not."""
        return getattr(self.network, "head_names", ())

    @property
    def count(self) -> int:
        """`updates` as a number. The device is waited for only after weights were loaded."""
        if self._known_updates is None:
            self._known_updates = int(self.updates)
        return self._known_updates

    @torch.no_grad()
    def forward(self, image: Tensor, **named: Any) -> Any:
        """What the network gives, without gradient; it takes what the network takes."""
        return self.network(image, **named)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the weights to alpha x teacher + (1 - alpha) x model, in place, where alpha is
        at most 1 - 1 / (updates + 1).

        So the first update copies the model, parameters and buffers alike. ValueError if a
        weight is not in the model.
        """
        alpha = min(1 - 1 / (self.count + 1), self.alpha)
        if self.count == 0:
            self.fill(model)
        else:
            own, theirs = self._pairs(dict(model.named_parameters(remove_duplicate=False)))
            torch._foreach_lerp_(own, theirs, 1 - alpha)
            if self.statistics == "copied":
                torch._foreach_copy_(*self._pairs(dict(model.named_buffers(remove_duplicate=False))))
        self.updates += 1
        self._known_updates = self.count + 1

    @torch.no_grad()
    def fill(self, model: nn.Module) -> None:
        """Copy the parameters and buffers of the model, without counting an update. ValueError if
        one is not in the model."""
        weights = {**dict(model.named_buffers(remove_duplicate=False)), **dict(model.named_parameters(remove_duplicate=False))}
        own, theirs = self._pairs(weights)
        missing = [name for name in dict(self.network.named_buffers()) if name not in weights]
        if missing:
            raise ValueError(f"Teacher: the model has no {missing[0]!r}; update it with the network that it was made from")
        if own:
            torch._foreach_copy_(own, theirs)

    def _pairs(self, weights: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's tensors and those of the same names among the model's, tied ones once."""
        found = [(mine, weights[name]) for name, mine in self.network.named_buffers() if name in weights]
        return [mine for mine, _ in found], [theirs for _, theirs in found]

    def train(self, mode: bool = True) -> Teacher:
        """The model's mode, but for dropout."""
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, _DropoutNd) or type(module).__name__ in _DROPS_PATHS:
                module.training = False
        return self

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(*arguments, **named)
        self._known_updates = None


def _remembered(network: nn.Module, shared: Sequence[str]) -> nn.Module:
    """The network, its parameters buffers, tied ones still tied; shared children are plain
    attributes, in no state_dict."""
    for name in shared:
        child = network._modules.pop(name)
        object.__setattr__(network, name, child)
    made: dict[int, Tensor] = {}
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            delattr(module, name)
            module.register_buffer(name, made.setdefault(id(parameter), parameter.detach()))
    return network
