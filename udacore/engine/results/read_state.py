"""The parameters and buffers that a prediction reads: a round's end that changes none needs no new score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Reading(TorchDispatchMode):
    """Notes the memory of every tensor that an operation is given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs or {})):
            if isinstance(leaf, Tensor) and leaf.numel():
                self.seen.add(leaf.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


@contextmanager
def noted_reads(model: nn.Module) -> Iterator[set[str]]:
    """A set that holds, once the block has ended, the names of the entries of the
    state_dict that were read in it."""
    reading, names = _Reading(), set[str]()
    with reading:
        yield names
    for name, value in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        if value.numel() and value.untyped_storage().data_ptr() in reading.seen:
            names.add(name)
