"""State_dicts inside checkpoints and behind prefixes of DistributedDataParallel,
torch.compile or trainers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from torch import Tensor

from udacore.errors import DataError, list_names, one_line

KEYS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "ema", "model_ema", "state_dict_ema")
"""Entries under which programs keep the weights of a network."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers put before every key: DistributedDataParallel, torch.compile, and
trainers that hold the network."""


def unwrap(content: object, where: str) -> tuple[dict[str, Tensor], list[str]]:
    """The state_dict in what a file holds, and words on what was taken off it.

    Raises DataError, which begins with `where`, if there is none, or several that could be meant.
    """
    said: list[str] = []
    while not is_state(content):
        found = [key for key in KEYS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping) and content[key]]
        states = [key for key in found if isinstance(content, Mapping) and is_state(content[key])] or found
        if not isinstance(content, Mapping) or not states:
            keys = list_names(content, 5) if isinstance(content, Mapping) else type(content).__name__
            hint = "a method's own release is read by `uda import`"
            stranger = _find_stranger(content)
            if stranger is not None:
                raise DataError(f"{where}: no state_dict of tensors: {stranger}; {hint}")
            raise DataError(f"{where}: no state_dict of tensors but {keys or 'an empty one'}; {hint}")
        if len(said) == len(KEYS):  # a pickle may hold itself
            raise DataError(f"{where}: {said[0]} nests without an end")
        if len(states) > 1:
            raise DataError(f"{where}: holds several networks, {list_names(states, 5)}; save the one that is meant to a file of its own")
        said.append(f"the entry {states[0]!r}")
        content = content[states[0]]
    state: dict[str, Tensor] = dict(content)
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None):
        said.append(f"the prefix {prefix!r}")
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    if any("._orig_mod." in key for key in state):  # torch.compile of parts of the network
        said.append("'_orig_mod.' within keys")
        state = {key.replace("._orig_mod.", "."): value for key, value in state.items()}
    return state, said


def _find_stranger(content: object) -> str | None:
    """The first entry that makes no state_dict of a mapping that holds tensors, in
    words; None if it holds none."""
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        return None
    for key, value in content.items():
        if not isinstance(key, str):
            return f"a key of it is no text but {type(key).__name__}"
        if not isinstance(value, Tensor):
            return f"{one_line(key, 120)} is a {type(value).__name__}"
    return None


def is_state(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether something is a state_dict: tensors by name, at least one."""
    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
