"""Memory that a method's `build_model` allocates, counted before it is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch.overrides import TorchFunctionMode

from udacore.errors import ConfigError, PluginError, list_names, one_line

_OF_A_SIZE = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)


class CountedAllocation(TorchFunctionMode):
    """While it is open, a tensor that would bring what was allocated beyond `memory` is
    refused; it changes no result.

    Counted are tensors made by size on the CPU, as every layer makes its parameters, whether they are kept or
    not. None for `memory`: nothing is refused. Raises ConfigError where settings of the method are larger
    than their defaults (it names them), else PluginError.
    """

    def __init__(self, memory: int | None, where: str, settings: Any) -> None:
        """`where`: plugin, hook and round, for the message."""
        super().__init__()
        self.memory, self.where, self.settings, self.taken = memory, where, settings, 0

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """The same call, after the size of what it makes was counted."""
        kwargs = kwargs or {}
        if func in _OF_A_SIZE and str(kwargs.get("device", "cpu")) != "meta":
            size = args[0] if args and not isinstance(args[0], int) else args or kwargs.get("size", ())
            self._count(size, kwargs.get("dtype"))
        return func(*args, **kwargs)

    def _count(self, size: Sequence[int], dtype: torch.dtype | None) -> None:
        numbers = 1
        for side in size:
            numbers *= int(side)
        self.taken += numbers * (dtype or torch.get_default_dtype()).itemsize
        if self.memory is None or self.taken <= self.memory:
            return
        shape = " x ".join(str(int(side)) for side in size)
        said = f"{self.where}: a tensor of {shape} would bring the model to {self.taken} bytes"
        said += f", and there are {self.memory} bytes of memory"
        if large := list(large_settings(self.settings)):
            raise ConfigError(f"{said}; larger than by default: {one_line(list_names(large, most=6), 120)}")
        raise PluginError(said)


def large_settings(settings: Any) -> list[str]:
    """`method.NAME=VALUE` of a method's whole numbers that are larger than their
    defaults, the largest first."""
    found: dict[str, int] = {}
    for field in attrs.fields(type(settings)) if attrs.has(type(settings)) else ():
        value = getattr(settings, field.name)
        if type(value) is int and not (isinstance(field.default, int) and value <= field.default):
            found[f"method.{field.name.rstrip('_')}={value}"] = value
    return sorted(found, key=lambda text: -found[text])
