"""The form of a checkpoint: names, types and shapes, checked on reading."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from udacore.errors import list_names, near_matches, one_line

_FILES = re.compile(r"steps|metrics\.jsonl|log\.txt|tensorboard/[^/\0]+")
_STATE_LENGTH = 624


def find_fault(content: Mapping[Any, object]) -> str | None:
    """What is wrong with the content of a checkpoint, in words with the key; None if nothing is.

    content  what should be the fields of `RunState`, by name
    """
    unknown = [key if isinstance(key, str) else type(key).__name__ for key in content if key not in _FORM]
    if unknown:
        return f"it has the unknown entry {one_line(repr(unknown[0]), 100)}{near_matches(unknown[0], _FORM)}"
    missing = [key for key in _FORM if key not in content and key not in _OPTIONAL]
    if missing:
        return f"it lacks the entry {list_names(missing, 8)}"
    for key, (find, asked) in _FORM.items():
        fault = find(content[key]) if key in content else None
        if fault is not None:
            return f"{key}: {asked} is asked, {one_line(fault, 200)}"
    return None


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 0 or more, that a machine word holds."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _got(value: object) -> str:
    return f"got {_show(value)}"


def _show(value: object) -> str:
    """A value as it is written; of one that may be long, or nest without an end, the type."""
    return f"{value!r:.60}" if _is_short(value) else f"a {type(value).__name__}"


def _is_short(value: object) -> bool:
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)


def _no_text(value: object) -> str | None:
    return None if isinstance(value, str) else _got(value)


def _no_count(value: object) -> str | None:
    return None if is_count(value) else _got(value)


def _no_score(value: object) -> str | None:
    return None if value is None or _is_number(value) else _got(value)


def _no_state(value: object) -> str | None:
    """For a state_dict."""
    if not isinstance(value, Mapping):
        return _got(value)
    for key, entry in value.items():
        if not isinstance(key, str):
            return f"a key of it is no text, {_got(key)}"
        if not isinstance(entry, Tensor):
            return f"{one_line(key, 100)} is no tensor, {_got(entry)}"
    return None


def _no_optimizers(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return _got(value)
    for part, entry in value.items():
        if not isinstance(part, str) or not isinstance(entry, Mapping):
            return f"at {_show(part)} {_got(entry)}"
        state, groups = entry.get("state"), entry.get("param_groups")
        if not isinstance(state, Mapping) or not all(isinstance(inner, Mapping) for inner in state.values()):
            return f"{_show(part)} has no 'state' of mappings"
        if not isinstance(groups, list) or not all(_is_group(group) for group in groups):
            return f"{_show(part)} has no 'param_groups' of mappings with 'params'"
    return None


def _is_group(group: object) -> bool:
    return (
        isinstance(group, Mapping)
        and isinstance(group.get("params"), list)
        and all(isinstance(key, str) for key in group)
    )


def _no_digests(value: object) -> str | None:
    """For the digests of files."""
    if not isinstance(value, Mapping):
        return _got(value)
    wrong = [part for part, digest in value.items() if not isinstance(part, str) or not re.fullmatch("[0-9a-f]{64}", str(digest))]
    return f"at {_show(wrong[0])} {_got(value[wrong[0]])}" if wrong else None


def _no_scalers(value: object) -> str | None:
    """For the scale of each part under fp16."""
    if not isinstance(value, Mapping):
        return _got(value)
    for part, entry in value.items():
        if not isinstance(part, str) or not isinstance(entry, Mapping) or set(entry) != {"scale", "since", "skipped"}:
            return f"at {_show(part)} {_got(entry)}"
        if not _is_number(entry["scale"]) or not 0 < entry["scale"] < math.inf:
            return f"scale of {_show(part)}: {_got(entry['scale'])}"
        if wrong := [key for key in ("since", "skipped") if not is_count(entry[key])]:
            return f"{wrong[0]} of {_show(part)}: {_got(entry[wrong[0]])}"
    return None


def _no_numbers(value: object) -> str | None:
    """For what each rank has recorded since its last log line."""
    if not isinstance(value, list):
        return _got(value)
    for share in value:
        if not isinstance(share, Mapping):
            return f"a share is no mapping, {_got(share)}"
        for name, entries in share.items():
            if (
                not isinstance(name, str)
                or not isinstance(entries, list)
                or not entries
                or not all(map(_is_number, entries))
            ):
                return f"at {_show(name)} {_got(entries)}"
    return None


def _no_lengths(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return _got(value)
    wrong = [
        (key, size)
        for key, size in value.items()
        if not isinstance(key, str) or not _FILES.fullmatch(key) or not is_count(size)
    ]
    return f"at {_show(wrong[0][0])} {_got(wrong[0][1])}" if wrong else None


def _no_random_states(value: object) -> str | None:
    """For the states of all ranks: each is tried on a generator of its own."""
    if not isinstance(value, list):
        return _got(value)
    for number, state in enumerate(value):
        if not isinstance(state, Mapping) or set(state) != set(_GENERATORS):
            return f"that of process {number} is not of {list_names(_GENERATORS, 4)}"
        for name, attempt in _GENERATORS.items():
            try:
                attempt(state[name])
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, RuntimeError) as error:
                return f"{name} of process {number} does not take its state ({one_line(str(error), 100)})"
    return None


def as_bytes(values: Any) -> Tensor:
    """A list of whole numbers from 0 to 255 as a uint8 tensor; ValueError for anything else."""
    if not isinstance(values, list) or not all(is_count(value) and value < 256 for value in values):
        raise ValueError("a list of bytes is asked")
    return torch.tensor(values, dtype=torch.uint8)


def as_numpy_state(values: Any) -> tuple[str, np.ndarray, int, int, float]:
    """The five values of NumPy's state as its `set_state` takes them; ValueError for anything else."""
    kind, key, position, has_gauss, cached = values
    are_words = (
        isinstance(key, list)
        and len(key) == _STATE_LENGTH
        and all(is_count(word) and word < 2**32 for word in key)
    )
    if (
        not are_words
        or not is_count(position)
        or position > _STATE_LENGTH
        or has_gauss not in (0, 1)
        or not isinstance(cached, float)
    ):
        raise ValueError("five values are asked: a kind, 624 words, a position, and what is left of a pair")
    return kind, np.array(key, dtype=np.uint32), position, has_gauss, cached


def as_python_state(values: Any) -> tuple[Any, ...]:
    """The three values of `random.setstate`; it checks them itself."""
    version, words, gauss = values
    if gauss is not None and not isinstance(gauss, float):
        raise ValueError("what is left of a pair is a number or nothing")
    return version, tuple(words), gauss


_GENERATORS: dict[str, Callable[[Any], object]] = {
    "torch": lambda values: torch.Generator().set_state(as_bytes(values)),
    "cuda": as_bytes,  # only a device can try it
    "numpy": lambda values: np.random.RandomState().set_state(as_numpy_state(values)),
    "python": lambda values: random.Random().setstate(as_python_state(values)),
}

_FORM: dict[str, tuple[Callable[[object], str | None], str]] = {
    "round": (_no_text, "the name of a round"),
    "step": (_no_count, "a number of steps"),
    "model": (_no_state, "a state_dict, tensors by name,"),
    "optimizers": (_no_optimizers, "the state_dict of each part's optimiser"),
    "random": (_no_random_states, "a list with the random states of each process"),
    "numbers": (_no_numbers, "a list with numbers by name for each process"),
    "best": (_no_score, "a score or nothing"),
    "written": (_no_lengths, "the length of each file of the run"),
    "scalers": (_no_scalers, "scale, since and skipped of each part"),
    "frozen": (_no_digests, "SHA-256 of files by part"),
}
"""Entry of a checkpoint -> what finds a fault with its value, and what is asked, in words."""

_OPTIONAL = ("scalers", "frozen")
"""Entries that files do not have where there is nothing to say."""
