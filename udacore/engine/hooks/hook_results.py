"""Checks of what hooks return; a violation is reported with plugin, hook and round."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from udacore.errors import PluginError, list_names


def check_model(model: object, where: str, classes: int) -> nn.Module:
    """The model, if it is what `build_model` must return: a module that states its
    outputs, with finite weights.

    where    begins a message, such as "plugin 'fada', build_model, round 'source'"
    classes  number of classes of the round
    """
    if not isinstance(model, nn.Module):
        raise PluginError(f"{where}: must return a torch.nn.Module, got {type(model).__name__}")
    for attribute in ("align_corners", "num_classes"):
        if not hasattr(model, attribute):
            raise PluginError(f"{where}: the model lacks {attribute!r}; begin with udacore.models.build_segmenter")
    if model.num_classes != classes:
        raise PluginError(f"{where}: the model has num_classes {model.num_classes!r}, the round has {classes} classes")
    broken = find_not_finite(model)
    if broken:
        raise PluginError(f"{where}: the model is built with weights that are not finite: {list_names(broken)}")
    return model


def find_not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters that hold a NaN or an infinity. Waits for the device once."""
    named = [(name, value) for name, value in model.named_parameters() if value.is_floating_point() and value.numel()]
    named = [(name, value) for name, value in named if value.device.type != "meta"]
    if not named:
        return []
    finite = torch.stack([value.detach().isfinite().all().to("cpu", non_blocking=False) for _, value in named])
    return [name for (name, _), is_finite in zip(named, finite.tolist(), strict=True) if not is_finite]


def name_losses(result: object, domain: str, where: str) -> Mapping[str, Any]:
    """What a loss hook returned, as losses by name: a scalar gets the name of its domain, None is no loss."""
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        return {domain: result}
    for name in result:
        if not isinstance(name, str) or not name:
            raise PluginError(f"{where}: the name of a loss is text, got {name!r}")
    return result


def check_loss(value: object, where: str) -> Tensor:
    """The loss, if it is a real scalar with a graph."""
    if not isinstance(value, Tensor) or value.dim() != 0:
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PluginError(f"{where} must be a scalar tensor, got {given}")
    if not value.is_floating_point():
        raise PluginError(f"{where} must be a real number, got {value.dtype}")
    if not value.requires_grad:
        advice = "for nothing to average return a zero made from the logits, or leave it out"
        raise PluginError(f"{where} has no graph; {advice}")
    return value


def reaches(loss: Tensor, parameters: Iterable[Tensor]) -> bool:
    """Whether the graph of a loss ends at one of these parameters."""
    wanted = {id(parameter) for parameter in parameters}
    if id(loss) in wanted:
        return True
    seen: set[Any] = set()
    left = [loss.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, "variable", None)) in wanted:
            return True
        left.extend(following for following, _ in node.next_functions)
    return False


@contextmanager
def checked_outputs(model: nn.Module, where: str, classes: int) -> Iterator[None]:
    """While this is open, logits of the model are checked: N K h w floats, one map for
    each class of the round."""

    def check(module: nn.Module, inputs: Any, output: Any) -> None:
        logits = getattr(output, "logits", None)
        if not isinstance(logits, Tensor):
            return  # a network of the method's own, which its own hooks read
        if logits.dim() != 4 or not logits.is_floating_point():
            raise PluginError(f"{where}: logits must be N K h w floats, got {logits.dtype} {tuple(logits.shape)}")
        if logits.shape[1] != classes:
            raise PluginError(f"{where}: the network has {logits.shape[1]} outputs, the round has {classes} classes")

    handle = model.register_forward_hook(check)
    try:
        yield
    finally:
        handle.remove()


def read_numbers(result: object, where: str) -> dict[str, float]:
    """What `on_round_end` returned, as numbers by name; None is none."""
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        raise PluginError(f"{where}: must return None or numbers by name, got {type(result).__name__}")
    return {_name(name, where): read_number(value, f"{where}: {name!r}") for name, value in result.items()}


def _name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise PluginError(f"{where}: the name of a number is text, got {name!r}")
    return name


def read_number(value: object, where: str) -> float:
    """A real number, which may be a tensor or array of one element."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        return float(value)
    given = f"{type(value).__name__} of shape {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else repr(value)
    raise PluginError(f"{where} must be a number, got {given[:80]}")


def read_pairs(made: object, expected: Collection[str], where: str) -> Iterator[tuple[str, Any]]:
    """The (image name, label map) pairs that `make_pseudo_labels` yields, each an image
    of the target, each once.

    Checked before a map is written: a name becomes a path.
    """
    if isinstance(made, str | bytes | Mapping) or not isinstance(made, Iterable):
        raise PluginError(f"{where}: must yield (image name, label map) pairs, got {type(made).__name__}")
    wanted, seen = set(expected), set()
    for item in made:
        if not (isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) == 2):
            raise PluginError(f"{where}: must yield (image name, label map) pairs, got {type(item).__name__}")
        name, label = item
        if name not in wanted:
            raise PluginError(f"{where}: {name!r} is not an image of the target; the first is {min(wanted, default='')!r}")
        if name in seen:
            raise PluginError(f"{where}: the image {name!r} was labelled twice")
        seen.add(name)
        yield name, label


def check_image_name(name: object) -> str:
    """The name under which a method writes an image, if it is a path below the round's folder."""
    parts = name.split("/") if isinstance(name, str) else [".."]
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part or len(part) > 200 for part in parts):
        raise PluginError(f"write_image: {name!r:.80} is not an image's name, such as 'train/00001'; images lie in the round's folder")
    return "/".join(parts)
