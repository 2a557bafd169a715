"""Parts of a model, their optimisers, and the averaging of gradients over processes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

import attrs
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from udacore import ranks
from udacore.config.references import SEGMENTER
from udacore.config.schema import PartConfig, RoundConfig
from udacore.engine.optimisation.parameter_groups import group_parameters
from udacore.engine.optimisation.scaling import LossScaler
from udacore.errors import ConfigError, near_matches
from udacore.schedules import rate


@attrs.frozen(kw_only=True)
class Part:
    """A trained part: its parameters that want a gradient, the optimiser that moves them, and under fp16
    the scale of its losses."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    optimizer: Optimizer
    config: PartConfig
    scaler: LossScaler | None = None

    def set_rate(self, step: int, steps: int, epoch: int) -> None:
        """Give every group the learning rate of this step."""
        factor = rate(self.config.schedule, step, steps, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * group["lr_factor"] * factor


def part_of(name: str, model: nn.Module, config: RoundConfig) -> str:
    """The part that a parameter or buffer belongs to: its top-level child, if
    that has an entry under `parts`."""
    child = name.partition(".")[0]
    return child if child in config.parts and child in dict(model.named_children()) else SEGMENTER


def present_parts(model: nn.Module, config: RoundConfig) -> tuple[str, ...]:
    """The segmenter, and the children of the model that are parts."""
    return (SEGMENTER, *(name for name, _ in model.named_children() if name in config.parts and name != SEGMENTER))


def trained_parts(model: nn.Module, config: RoundConfig) -> tuple[str, ...]:
    """The parts that the round trains; ConfigError if one of them is not in the model."""
    present = present_parts(model, config)
    for name in config.trains or ():
        if name not in present:
            raise ConfigError(f"trains: the model of this round has no part {name!r}{near_matches(name, present)}")
    wanted = present if config.trains is None else config.trains
    return tuple(name for name in present if name in wanted and not (name in config.parts and config.parts[name].frozen))


def make_parts(
    model: nn.Module, config: RoundConfig, trains: tuple[str, ...], scale_on: torch.device | None = None
) -> dict[str, Part]:
    """Optimisers for the trained parts; all other parameters stop asking for gradients.

    scale_on  the device on which the losses are scaled, for fp16; None: they are not
    """
    named: dict[str, list[tuple[str, nn.Parameter]]] = {name: [] for name in trains}
    for name, parameter in model.named_parameters():
        owner = part_of(name, model, config)
        if owner not in named or (owner in config.parts and any(re.search(pattern, name) for pattern in config.parts[owner].freeze)):
            parameter.requires_grad_(False)  # autograd then keeps no graph for what is not trained
        elif parameter.requires_grad:
            named[owner].append((name, parameter))
    parts = {}
    for name in trains:
        if not named[name]:
            continue
        part_config = config.parts.get(name, PartConfig())
        optimizer = create_optimizer(group_parameters(named[name], part_config, name), part_config, name)
        scaler = None if scale_on is None else LossScaler(scale_on)
        parameters = tuple(parameter for _, parameter in named[name])
        parts[name] = Part(name=name, parameters=parameters, optimizer=optimizer, config=part_config, scaler=scaler)
    return parts


def set_modes(model: nn.Module, config: RoundConfig, trains: Iterable[str]) -> None:
    """Train mode for what is trained; a frozen network in train mode would move its batch statistics."""
    trains = set(trains)
    model.train(SEGMENTER in trains)
    for name, child in model.named_children():
        if name in config.parts and name != SEGMENTER:
            child.train(name in trains)


def create_optimizer(parameters: list[Any], config: PartConfig, part: str) -> Optimizer:
    """The optimiser that a part's settings name, over parameters or groups of them; ConfigError if there
    is none or it refuses its options."""
    try:
        optimizer: Optimizer = _optimizer_class(config.optimizer, part)(parameters, lr=config.lr, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"parts.{part}: {config.optimizer} does not take these options: {error}") from error
    return optimizer


def _optimizer_class(word: str, part: str) -> type:
    module, colon, name = word.rpartition(":")
    try:
        found = getattr(importlib.import_module(module) if colon else torch.optim, name)
    except (ImportError, AttributeError) as error:
        known = [] if colon else [n for n, c in vars(torch.optim).items() if isinstance(c, type)]
        raise ConfigError(f"parts.{part}.optimizer: there is no {word!r}{near_matches(word, known)}") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise ConfigError(f"parts.{part}.optimizer: {word!r} is no optimiser")
    return found


def average_gradients(parts: Iterable[Part]) -> None:
    """Mean of each part's gradients over ranks: once before a step, flat, in the order of the parameters.

    A parameter without gradient on all ranks keeps None; on some, it counts as zero there. Which ones have a
    gradient is agreed upon through the host, so that the device is not waited for.
    """
    if ranks.size() == 1:
        return
    parameters = [parameter for part in parts for parameter in part.parameters]
    used = _agree([parameter.grad is not None for parameter in parameters])
    chosen = [parameter for parameter, is_used in zip(parameters, used, strict=True) if is_used]
    if not chosen:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in chosen]
    flat = torch.cat([g.reshape(-1).to(torch.promote_types(g.dtype, torch.float32)) for g in gradients])
    dist.all_reduce(flat)
    flat /= ranks.size()
    for parameter, piece in zip(chosen, torch.split(flat, [p.numel() for p in chosen]), strict=True):
        mean: Tensor = piece.view_as(parameter).to(parameter.dtype)
        if parameter.grad is None:
            parameter.grad = mean.clone()
        else:
            parameter.grad.copy_(mean)


def _agree(flags: list[bool]) -> list[bool]:
    """Whether each flag is set on any rank."""
    anywhere = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(anywhere, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in anywhere.tolist()]
