"""Groups of an optimiser's parameters: rates and options by pattern of the names, falling
with the depth of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from udacore.config.patterns import fill_depth, read_depth
from udacore.config.schema import PartConfig
from udacore.errors import ConfigError

Depth = tuple[int, ...]


def group_parameters(named: Sequence[tuple[str, nn.Parameter]], config: PartConfig, part: str) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with `params`, `name` and `lr_factor`; the first pattern
    that matches a name decides.

    Of a pattern with `{depth}` every depth is a group of its own. The deepest has the pattern's `lr_factor`,
    the one before it `decay` times that, and so on. ConfigError for a pattern that no name matches.
    """
    places = [_find_place(name, config) for name, _ in named]
    for pattern in config.groups:
        if all(read_depth(pattern, name) is None for name, _ in named):
            raise ConfigError(f"parts.{part}.groups: no parameter matches {pattern!r}; the first is {named[0][0]!r}")
    groups: dict[tuple[str, Depth, bool], dict[str, Any]] = {}
    for (name, parameter), (pattern, depth) in zip(named, places, strict=True):
        # Groups come in the order in which the parameters first need them: a checkpoint's
        # optimiser state counts on it.
        spared = any(read_depth(p, name) is not None for p in config.no_decay)
        if (pattern, depth, spared) not in groups:
            depths = sorted({other for known, other in places if known == pattern})
            options = _read_options(config, pattern, above=len(depths) - 1 - depths.index(depth))
            if spared:
                options["weight_decay"] = 0.0
            groups[pattern, depth, spared] = {"params": [], "name": fill_depth(pattern, depth) or part, **options}
        groups[pattern, depth, spared]["params"].append(parameter)
    return list(groups.values())


def _find_place(name: str, config: PartConfig) -> tuple[str, Depth]:
    """The first pattern that matches a name, and its depth; empty for none."""
    for pattern in config.groups:
        depth = read_depth(pattern, name)
        if depth is not None:
            return pattern, depth
    return "", ()


def _read_options(config: PartConfig, pattern: str, above: int) -> dict[str, Any]:
    """Options of a group, `above` the number of layers between it and the deepest."""
    own = config.groups.get(pattern, 1.0)
    options = dict(own) if isinstance(own, Mapping) else {"lr_factor": float(own)}
    options.setdefault("lr_factor", 1.0)
    if "decay" in options:
        options["lr_factor"] *= options.pop("decay") ** above
    return options
