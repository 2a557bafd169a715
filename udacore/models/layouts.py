"""Layouts of released checkpoints, and their conversion to our state_dicts. A layout is
data; a method ships its own.

    FADA = Layout(
        name="fada",
        parts={
            "feature_extractor": {r"backbone\\.": "backbone."},
            "classifier": {r"conv2d_list\\.": "classifier.conv2d_list."},
        },
        drop=(r"(module\\.)?layer5\\.",),
        ignore=("iteration", "optimizer_*"),
    )
    state = convert_checkpoint(Path("g2c_sd.pth"), FADA)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import torch
from torch import Tensor

from udacore.errors import ConfigError, list_names, near_matches
from udacore.models.weights import read_file

_DISTRIBUTED = "module."


@attrs.frozen(kw_only=True)
class Layout:
    r"""How a released file is laid out.

    name      what it is called in messages
    parts     entry of the file -> rules; the entry "" stands for the file itself, where it is a plain
              state_dict. A rule maps the beginning of a key (a regular expression) to what takes its place
              (which may hold \1); the first that fits counts, and a key that none fits is an error
    optional  parts that a file may lack
    drop      beginnings of keys (regular expressions) that are known and of no use
    ignore    further entries of the file (glob patterns) that are known and not converted

    Where the classes of the file have an order of its own:
    class_orders  number of classes -> for each class of ours, in our order, its place in the file
    class_axes    beginnings of our keys (regular expressions) -> the axis that runs over the classes
    """

    name: str
    parts: Mapping[str, Mapping[str, str]]
    optional: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    class_orders: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    class_axes: Mapping[str, int] = MappingProxyType({})


def join_files(files: Mapping[str, Any], layouts: Iterable[Layout]) -> Any:
    """What several files of one release hold together, as one checkpoint: entry -> state_dict.

    files  name for messages -> what was read; a file is the entry whose rules know all its keys. A single
           one is returned as it is
    Raises ConfigError where no layout has an entry for each file.
    """
    if len(files) == 1:
        return next(iter(files.values()))
    for layout in layouts:
        entries = {_entry_of(content, layout): content for content in files.values()}
        if None not in entries and len(entries) == len(files):
            return entries
    raise ConfigError(f"{list_names(files)}: no known layout has one entry for each of these files")


def _entry_of(content: Any, layout: Layout) -> str | None:
    """The entry of the layout that a plain state_dict holds alone, or None."""
    if not isinstance(content, Mapping) or not content or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        return None
    keys = _strip(content)
    fitting = (
        entry
        for entry, rules in layout.parts.items()
        if entry and all(_rename(key, rules) or any(re.match(pattern, key) for pattern in layout.drop) for key in keys)
    )
    return next(fitting, None)


def convert_checkpoint(checkpoint: Path | Mapping[str, Any], layout: Layout) -> dict[str, Tensor]:
    """A released checkpoint as a state_dict of ours.

    checkpoint  a file, or what was read from it
    `module.`, the mark of distributed training, is taken off a part only if all its keys have it.

    Raises ConfigError for a file that cannot be read, entries that the layout requires and the file lacks,
    and keys that the layout does not know: these are listed, never ignored. With `class_orders`, also for
    another number of classes.
    """
    where = str(checkpoint) if isinstance(checkpoint, Path) else "checkpoint"
    content = read_file(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    problems: list[str] = []
    state: dict[str, Tensor] = {}
    for entry, keys in _split(content, layout, where).items():
        for key, value in keys.items():
            if not isinstance(key, str):
                problems.append(f"a key that is no text but {type(key).__name__}")
                continue
            if any(re.match(pattern, key) for pattern in layout.drop):
                continue
            renamed = _rename(key, layout.parts[entry])
            if renamed is None or not isinstance(value, Tensor):
                problems.append(f"{entry}.{key}" if entry else key)
            elif renamed in state:
                raise ConfigError(f"{where}: layout {layout.name!r} gives two entries the name {renamed!r}")
            else:
                state[renamed] = _in_our_order(renamed, value, layout, where)
    if problems:
        raise ConfigError(f"{where}: layout {layout.name!r} does not know {_enumerate(problems)}")
    if not state:
        raise ConfigError(f"{where}: layout {layout.name!r} finds no weights in it")
    return state


def _in_our_order(key: str, value: Tensor, layout: Layout, where: str) -> Tensor:
    """The value with its classes in our order, if it has an axis of classes that
    the file orders otherwise."""
    axis = next((axis for pattern, axis in layout.class_axes.items() if re.match(pattern, key)), None)
    if axis is None:
        return value
    classes = value.shape[axis] if value.ndim > axis else 0
    if classes not in layout.class_orders:
        known = " or ".join(map(str, layout.class_orders))
        raise ConfigError(f"{where}: layout {layout.name!r} knows the order of {known} classes; {key!r} has {classes}")
    return value.index_select(axis, torch.tensor(layout.class_orders[classes]))


def recognize_layout(checkpoint: Path | Mapping[str, Any], layouts: Iterable[Layout], *, where: str = "checkpoint") -> Layout:
    """The first layout that knows every entry of a checkpoint.

    where  what is read, for messages; a file says so itself
    Raises ConfigError, with each layout's reason, if there is none.
    """
    where = str(checkpoint) if isinstance(checkpoint, Path) else where
    content = read_file(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    reasons = []
    for layout in layouts:
        try:
            convert_checkpoint(content, layout)
        except ConfigError as error:
            alone = _entry_of(content, layout)
            only = f"it is the {alone!r} of layout {layout.name!r} alone; give `uda import` the file of each entry ({', '.join(layout.parts)})"
            reasons.append(only if alone else str(error).removeprefix("checkpoint: "))
        else:
            return layout
    raise ConfigError(f"{where}: no known layout: {'; '.join(reasons) or 'none was given'}")


def list_left(checkpoint: Mapping[str, Any], layout: Layout) -> list[str]:
    """What a layout knows of a checkpoint and does not convert: further entries, and
    dropped keys as `entry.key`."""
    whole = set(layout.parts) == {""}
    further = [str(entry) for entry in checkpoint if _known(str(entry), layout.ignore) and (whole or entry not in layout.parts)]
    dropped = [
        f"{entry}.{key}" if entry else key
        for entry, keys in _split(checkpoint, layout, "checkpoint").items()
        for key in keys
        if any(re.match(pattern, key) for pattern in layout.drop)
    ]
    return further + dropped


def _split(content: Any, layout: Layout, where: str) -> dict[str, dict[Any, Any]]:
    """The keys of each part, without the mark of distributed training."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: layout {layout.name!r} expects named entries, got {type(content).__name__}")
    if set(layout.parts) == {""}:
        return {"": _strip({key: value for key, value in content.items() if not _known(str(key), layout.ignore)})}
    missing = [entry for entry in layout.parts if entry not in content and entry not in layout.optional]
    if missing:
        raise ConfigError(f"{where}: layout {layout.name!r} expects the entry {missing[0]!r}{near_matches(missing[0], map(str, content))}")
    unknown = [str(entry) for entry in content if entry not in layout.parts and not _known(str(entry), layout.ignore)]
    if unknown:
        raise ConfigError(f"{where}: layout {layout.name!r} does not know {_enumerate(unknown)}")
    parts = {entry: content[entry] for entry in layout.parts if entry in content}
    wrong = [entry for entry, keys in parts.items() if not isinstance(keys, Mapping)]
    if wrong:
        raise ConfigError(f"{where}: layout {layout.name!r} expects a state_dict under {wrong[0]!r}, got {type(parts[wrong[0]]).__name__}")
    return {entry: _strip(keys) for entry, keys in parts.items()}


def _known(entry: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(entry, pattern) for pattern in patterns)


def _strip(keys: Mapping[Any, Any]) -> dict[Any, Any]:
    if all(isinstance(key, str) and key.startswith(_DISTRIBUTED) for key in keys):
        return {key.removeprefix(_DISTRIBUTED): value for key, value in keys.items()}
    return dict(keys)


def _rename(key: str, rules: Mapping[str, str]) -> str | None:
    for pattern, replacement in rules.items():
        match = re.match(pattern, key)
        if match:
            return match.expand(replacement) + key[match.end() :]
    return None


def _enumerate(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"
