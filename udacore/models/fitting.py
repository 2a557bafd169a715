"""Checks that a state_dict fits a network, by shape and kind of number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_STATISTICS = ("running_mean", "running_var", "weight", "bias")
"""Buffers of layers that normalise over a batch, and of those that hold it frozen."""


def find_unequal(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """The entries of `state` that have another shape, or kind of number, than the model's entry of that name.

    Buffers may have any shape, since banks and pools grow while a method runs, except those of batch norm:
    they are as many as its channels.
    """
    norms = [module._buffers for module in model.modules() if module._buffers.get("running_mean") is not None]
    fixed = {
        id(buffers.get(name)) for buffers in norms for name in _STATISTICS if buffers.get(name) is not None
    }
    parameters = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    found = []
    for key, own in {**parameters, **buffers}.items():
        saved = state.get(key)
        if saved is None:
            continue
        if saved.shape != own.shape and (key in parameters or id(own) in fixed):
            found.append(f"{key}, {tuple(saved.shape)} there and {tuple(own.shape)} here")
        elif _kind(saved) != _kind(own) and (key in parameters or saved.is_complex() or own.is_complex()):
            found.append(f"{key}, {_kind(saved)} there and {_kind(own)} here")
        elif saved.shape != own.shape and _claims_too_much(saved):
            found.append(f"{key}, {tuple(saved.shape)} there, of which the file holds only a part")
    return found


def reshape_buffers(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give buffers the shape of their saved values, in place: banks and pools grow while a method runs."""
    for prefix, module in model.named_modules():
        for name, value in module._buffers.items():
            saved = state.get(f"{prefix}.{name}" if prefix else name)
            if saved is not None and (value is None or value.shape != saved.shape):
                module._buffers[name] = (
                    torch.empty_like(saved) if value is None else value.new_empty(saved.shape)
                )


def describe_mismatch(
    where: str, missing: Sequence[str] = (), unexpected: Sequence[str] = (), unequal: Sequence[str] = ()
) -> str:
    """One line on weights that do not fit; the three lists are as `load_state` finds them."""
    kinds = (("missing there", missing), ("unknown to the model", unexpected), ("of another shape", unequal))
    reasons = [
        f"{kind}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for kind, names in kinds
        if names
    ]
    return f"{where}: weights of another architecture: {'; '.join(reasons)}"


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex numbers"
    return (
        "real numbers"
        if tensor.is_floating_point()
        else "truth values"
        if tensor.dtype == torch.bool
        else "whole numbers"
    )


def _claims_too_much(tensor: Tensor) -> bool:
    """Whether a tensor has more elements than there are numbers behind it, as `expand` makes it."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
