"""A second device simulated on the CPU: mixing tensors of the two fails as it would on a GPU."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from udacore.testing.checks.report import ContractError, short

MAKERS = {
    "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_strided", "eye", "fft_fftfreq", "fft_rfftfreq", "from_numpy",
    "frombuffer", "full", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones", "rand", "randint", "randn", "randperm",
    "scalar_tensor", "sparse_coo_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
}  # fmt: skip
"""Functions of torch that make a tensor on the CPU unless told where."""
TO_HOST = {"numpy", "__array__"}
CROSSING = {"copy_", "__getitem__", "__setitem__", "index_put", "index_put_", "set_"}
"""Operations that may join a tensor of a device with one of the CPU."""
DEVICE = torch.device("cuda", 7)
"""What `x.device` says of a tensor on the second device, so that a method takes the
way that it has for GPUs."""
CPU = torch.device("cpu")
_CACHED: Any = type(functools.cache(len))
MARK = "_lies_on_the_cpu"


class OtherDevice(TorchFunctionMode):
    """While this is open, all tensors that exist count as lying on another device, and new ones on the CPU
    unless they were made there.

    left  tensors that exist and that nobody would have moved: they lie on the CPU

    Raises ContractError with the line of the method where a tensor was made without `device=`,
    or meets one from the CPU.
    """

    def __init__(self, where: str, left: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.where = where
        self.left = list(left)

    def __enter__(self) -> Any:
        mark(self.left, True)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", message=".*CUDA is not available")  # autocast, told of a device that is not there
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._warnings.__exit__(*error)
        for tensor in self.left:
            tensor.__dict__.pop(MARK, None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__" and (asked := getattr(getattr(func, "__self__", None), "__name__", "")) in ("device", "is_cuda"):
            return not is_host(args[0]) if asked == "is_cuda" else CPU if is_host(args[0]) else DEVICE
        tensors = list(find_tensors((args, tuple(kwargs.values()))))
        if name == "to":
            return self._move(args, kwargs)
        if name == "cuda":
            raise self._failure("calls .cuda(); use .to(x.device)")
        if name == "cpu":
            return mark(args[0].view_as(args[0]), True)
        if name in TO_HOST and any(not is_host(tensor) for tensor in tensors):
            raise self._failure("hands a tensor of the device to NumPy; call .cpu() first")
        if kwargs.get("device") is not None:
            host = self._is_host_device(kwargs["device"])
            kwargs["device"] = CPU
        else:
            host = True if name in MAKERS and not tensors else self._agree(name, args, tensors)
        if not host and isinstance(kwargs.get("generator"), torch.Generator):
            raise self._failure("draws on the device with a generator of the CPU; draw first, then .to(x.device)")
        result = func(*args, **kwargs)
        return mark(result, host) if host else result

    def _move(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """`x.to(...)`: a view of its own if only the device changes."""
        host = is_host(args[0])
        for goal in (*args[1:2], *(kwargs[key] for key in ("device", "other") if key in kwargs)):
            if isinstance(goal, Tensor):
                host = is_host(goal)
            elif isinstance(goal, str | int | torch.device):
                host = self._is_host_device(goal)
        words = [CPU if isinstance(word, str | int | torch.device) and not isinstance(word, bool) else word for word in args[1:2]] + list(args[2:])
        named = {key: CPU if key == "device" and value is not None else value for key, value in kwargs.items()}
        result = args[0].to(*words, **named)
        return mark(result.view_as(result) if result is args[0] else result, host)

    def _is_host_device(self, device: Any) -> bool:
        if isinstance(device, torch.device) and device in (CPU, DEVICE):
            return device == CPU
        if device == "cpu":
            return True
        raise self._failure(f"names the device {str(device)!r}; use x.device")

    def _agree(self, name: str, args: Any, tensors: list[Tensor]) -> bool:
        """Whether the operation happens on the CPU; ContractError if it would have to happen on both."""
        hosts = [tensor for tensor in tensors if is_host(tensor)]
        if not hosts:
            return False
        if len(hosts) == len(tensors):
            return True
        if name in CROSSING:
            return is_host(args[0])
        if any(tensor.dim() for tensor in hosts):
            raise self._failure(f"{name}: joins a tensor of the device with one made on the CPU; make it with device=x.device, or a buffer of the model")
        return False

    def _failure(self, text: str) -> ContractError:
        frame = sys._getframe(2)
        while frame.f_back is not None and any(part in frame.f_code.co_filename for part in ("/torch/", "/testing/checks/devices.py")):
            frame = frame.f_back
        return ContractError(f"{self.where}: {short(frame.f_code.co_filename)}, line {frame.f_lineno}, {text}")


def find_left(holder: Any, package: str | None, model: nn.Module) -> list[Tensor]:
    """Tensors that do not move with the model: those of a method's modules, and attributes of the
    model that are no buffers.

    What its functions have cached is forgotten, so that it is made anew where it can be watched.
    """
    own = getattr(holder, "__name__", type(holder).__module__)
    inside = f"{package}." if package and package != "udacore" else f"{own}."
    names = [name for name in sys.modules if name == own or f"{name}.".startswith(inside)]
    spaces = [{} if inspect.ismodule(holder) else getattr(holder, "__dict__", {}), *(vars(sys.modules[name]) for name in names)]
    for space in spaces:
        for value in space.values():
            if isinstance(value, _CACHED) and value.__module__ in names:
                value.cache_clear()
    spaces += [{name: value for name, value in vars(module).items() if name[0] != "_"} for module in model.modules()]
    values = [value for space in spaces for name, value in space.items() if not name.startswith("__")]
    found = {id(tensor): tensor for tensor in find_tensors(values)}
    moved = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return [tensor for key, tensor in found.items() if key not in moved]


def is_host(tensor: Tensor) -> bool:
    """Whether the tensor lies on the CPU while the rest lies elsewhere."""
    return bool(tensor.__dict__.get(MARK, False)) if hasattr(tensor, "__dict__") else False


def mark(value: Any, host: bool) -> Any:
    """`value`, its tensors noted as lying on the CPU or not."""
    for tensor in find_tensors(value):
        tensor.__dict__[MARK] = host
    return value


def find_tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from find_tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        inner: Iterable[Any] = value
        for entry in inner:
            yield from find_tensors(entry)
