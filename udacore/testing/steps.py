"""Optimiser steps on given batches, for tests of a method's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from udacore.config.schema import RoundConfig
from udacore.engine.machine.device import Machine
from udacore.engine.optimisation.parts import make_parts, set_modes, trained_parts
from udacore.engine.step import Updater
from udacore.interface import RoundInfo, SourceBatch, TargetBatch
from udacore.models.domain_argument import accept_domain
from udacore.plugins import build_hooks
from udacore.testing.checks.subject import load_method

Numbers = dict[str, list[float]]
Source = SourceBatch | Sequence[SourceBatch] | None
Target = TargetBatch | Sequence[TargetBatch] | None


def take_steps(
    method: Any,
    config: RoundConfig,
    model: nn.Module,
    source: Sequence[Source],
    target: Sequence[Target],
    *,
    round: RoundInfo | None = None,
    control: bool = False,
    first: int = 0,
) -> list[Numbers]:
    """Train `model` in place with a method's hooks and the round's optimisers, on the device where it lies.

    method   name of an entry point, path of a .py file, `Method`, or the module that holds the hooks
    config   settings of the round: `method`, `update`, `draws`, `accumulation`, `parts`, `trains`
    source   for each step a batch, a batch for each micro-batch, or None where the round
             does not draw the source
    target   the same for the target; as many steps as `source`
    round    what the hooks see as `step.round`; default: a first round of that configuration. Where
             `config.trains` is not set, its parts are trained
    control  multiply the losses of the target by 0, as a matched control does
    first    index of the first step: rates follow the schedule from there

    Returns for each step what was recorded: losses as `loss/<name>`, one value for each micro-batch.
    Raises what the hooks raise, and PluginError for a hook that breaks its contract.
    """
    trains = trained_parts(model, config) if config.trains is not None or round is None else round.trains
    info = round or RoundInfo(name="round", index=0, steps=int(config.steps), trains=trains, classes=_classes(model))
    loaded = load_method(method)
    accept_domain(model)
    updater = Updater(
        hooks=build_hooks(loaded), method=loaded.name, model=model, parts=make_parts(model, config, trains),
        config=config, round=info, machine=Machine(device=_device(model)), seed=0, epoch=1, control=control,
    )  # fmt: skip
    rows = []
    for index, (left, right) in enumerate(zip(source, target, strict=True), first):
        set_modes(model, config, trains)
        updater.run_step(index, _micro_batches(left, config.accumulation), _micro_batches(right, config.accumulation))
        rows.append(updater.pending_numbers())
        updater.numbers.clear()
    return rows


def make_optimizers(model: nn.Module, config: RoundConfig, trains: Sequence[str] | None = None) -> Mapping[str, Optimizer]:
    """The optimiser of each trained part, its groups at the rates of the first step; each
    group keeps `lr_factor`.

    Parameters of parts that are not trained stop asking for gradients. Raises ConfigError as a run would.
    """
    parts = make_parts(model, config, trained_parts(model, config) if trains is None else tuple(trains))
    for part in parts.values():
        part.set_rate(0, int(config.steps), 1)
    return {name: part.optimizer for name, part in parts.items()}


def _micro_batches(given: Any, count: int) -> list[Any]:
    return [None] * count if given is None else list(given) if isinstance(given, Sequence) else [given]


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def _classes(model: nn.Module) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(int(getattr(model, "num_classes", 0))))
