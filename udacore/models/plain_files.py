"""The reader of .pt and .pth files. Nothing is unpickled, everything is checked."""

from __future__ import annotations

import importlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from udacore.errors import one_line
from udacore.files import find_zip_damage

ASKED = "ordinary tensors, dense and with their values, are asked"


def load_plain(path: Path) -> Any:
    """torch.load of tensors and plain values, on the CPU. ValueError says in a few words why not.

    torch compares no checksums, so they are compared here: a changed byte would be trained on in silence. Its
    own message on a file of objects advises to unpickle it, which is never done here. Every tensor in what is
    returned is dense, has its values in memory, and is neither quantized nor nested.
    """
    if not path.is_file():
        raise ValueError("it is a folder" if path.is_dir() else "it is no ordinary file")
    try:
        damage = find_zip_damage(path)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    if damage is not None:
        raise ValueError(f"damaged: {damage}")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on files that it is about to refuse
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is damaged or holds objects
        found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        reason = (
            f"it holds objects, {found[1]} among them, and nothing is unpickled"
            if found
            else "damaged, or not written by torch.save"
        )
        raise ValueError(reason) from error
    for key, tensor in _tensors_in(content):
        odd = _describe_odd(tensor)
        if odd is not None:
            raise ValueError(f"{one_line(key, 150) or 'it'} is {odd}; {ASKED}")
    return content


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, which holds nothing else."""
    try:
        loaded: dict[str, Tensor] = importlib.import_module("safetensors.torch").load_file(path)
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed, which reads such files: pip install 'udacore[timm]'") from error
    except Exception as error:  # its errors are of a kind of its own
        raise ValueError(f"damaged, or not written by safetensors: {one_line(str(error), 100)}") from error
    return loaded


def _tensors_in(content: object) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its keys, joined by dots. A container that is met again is passed over."""
    left: list[tuple[str, object]] = [("", content)]
    seen: set[int] = set()
    while left:
        place, value = left.pop()
        if isinstance(value, Tensor):
            yield place, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        items = (
            value.items()
            if isinstance(value, Mapping)
            else enumerate(value)
            if isinstance(value, list | tuple)
            else ()
        )
        below = [
            (_join(place, key), inner)
            for key, inner in items
            if isinstance(inner, Tensor | Mapping | list | tuple)
        ]
        left += reversed(below)


def _join(place: str, key: object) -> str:
    """The key below a place; cut, since a file may nest without an end."""
    word = key if isinstance(key, str) else str(key) if isinstance(key, int) else type(key).__name__
    return (f"{place}.{word}" if place else word)[:400]


def _describe_odd(tensor: Tensor) -> str | None:
    """What a tensor is that cannot be computed with as it stands, in words, or None."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    if tensor.device.type == "meta":
        return "a tensor without values (meta)"
    if tensor.is_quantized:
        return f"a quantized tensor ({tensor.dtype})"
    return None
