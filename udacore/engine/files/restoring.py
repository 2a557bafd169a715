"""Restoring a round's model, optimisers and random states from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from udacore.engine.optimisation.parts import Part
from udacore.errors import ConfigError, DataError, list_names, near_matches, one_line
from udacore.models.fitting import describe_mismatch
from udacore.models.weights import load_state

_LIKE_PARAMETER = {
    "momentum_buffer",
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "exp_inf",
    "square_avg",
    "grad_avg",
    "acc_delta",
    "sum",
}
"""What optimisers remember of each parameter, in its shape."""


def restore_model(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load the state_dict that a run saved, in place.

    DataError, which begins with `where`, unless its entries are those of the model, all of them.
    """
    try:
        loaded = load_state(model, state, where=where)
    except ConfigError as error:
        raise DataError(f"{error}; a run goes on only from a checkpoint of its own") from error
    if loaded.missing or loaded.unexpected:
        raise DataError(describe_mismatch(where, loaded.missing, loaded.unexpected))


def restore_optimizers(parts: Mapping[str, Part], saved: Mapping[str, Any], where: str) -> None:
    """Load the state_dict of each part's optimiser, in place.

    DataError, which begins with `where`, for one that does not fit.
    """
    for name in saved:
        if name not in parts:
            raise DataError(
                f"{where}: optimizers: the round trains no part {name!r}{near_matches(name, parts)}"
            )
    if lacking := [name for name in parts if name not in saved]:
        raise DataError(f"{where}: optimizers: holds nothing of the part {list_names(lacking)}")
    for name, content in saved.items():
        optimizer = parts[name].optimizer
        built = [dict(group) for group in optimizer.param_groups]
        fault = _find_odd_setting(content["param_groups"], built)
        if fault is not None:
            raise DataError(f"{where}: optimizers: {name!r} does not take it ({one_line(fault, 200)})")
        try:
            optimizer.load_state_dict(content)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(
                f"{where}: optimizers: {name!r} does not take it ({one_line(str(error), 150)})"
            ) from error
        fault = _find_fault(optimizer, built)
        if fault is not None:
            raise DataError(f"{where}: optimizers: {name!r} does not take it ({one_line(fault, 200)})")


def restore_scalers(parts: Mapping[str, Part], saved: Mapping[str, Mapping[str, float]], where: str) -> None:
    """Load the scale of each part's losses, in place. DataError, which begins with `where`,
    unless each part has one."""
    scaled = {name: part.scaler for name, part in parts.items() if part.scaler is not None}
    if set(saved) != set(scaled):
        there, here = list_names(sorted(saved)) or "no part", list_names(sorted(scaled)) or "no part"
        raise DataError(f"{where}: scalers: holds those of {there}, this round scales the losses of {here}")
    for name, scaler in scaled.items():
        scaler.restore(saved[name])


def _find_odd_setting(groups: list[Mapping[str, Any]], built: list[dict[str, Any]]) -> str | None:
    """The first setting of a saved group that has another type than the optimiser was built with."""
    for number, (group, own) in enumerate(
        zip(groups, built, strict=False)
    ):  # their number is compared by torch
        for key, value in own.items():
            if key in group and not _are_alike(group[key], value):
                found = type(group[key]).__name__
                return f"group {number}: {key} is a {found}, a {type(value).__name__} is asked"
    return None


def _find_fault(optimizer: Optimizer, built: list[dict[str, Any]]) -> str | None:
    """What the optimiser has loaded without a word and would stumble over in its next step."""
    for number, (group, own) in enumerate(zip(optimizer.param_groups, built, strict=True)):
        lacking = [key for key in own if key not in group]
        if lacking:
            return f"group {number} lacks {lacking[0]!r}"
    own_parameters = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for parameter, state in optimizer.state.items():
        if id(parameter) not in own_parameters:
            return "it holds the state of more parameters than there are"
        for key, value in state.items():
            if (
                key in _LIKE_PARAMETER
                and value is not None
                and getattr(value, "shape", None) != parameter.shape
            ):
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                return f"{key} of a parameter of shape {tuple(parameter.shape)} is {found}"
            if key == "step" and not (
                isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
            ):
                return f"step of a parameter is a {type(value).__name__}"
    return None


def _are_alike(value: object, own: object) -> bool:
    """Whether a setting of an optimiser has the type it was built with. One that was None may be anything."""
    if own is None:
        return True
    if isinstance(own, bool):
        return isinstance(value, bool)
    if isinstance(own, int | float | Tensor):
        return isinstance(value, int | float | Tensor) and not isinstance(value, bool)
    return isinstance(value, type(own)) or (
        isinstance(own, tuple | list) and isinstance(value, tuple | list) and len(own) == len(value)
    )
