"""Presets inside packages: the core's, those of the run's method, and `plugin/preset`
of any installed method."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from importlib import metadata, resources
from importlib.resources.abc import Traversable

from udacore.errors import ConfigError, near_matches

GROUP = "udacore.plugins"
"""Entry points under which installed methods are found."""

CORE = "udacore"
_OF_PLUGIN = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)")


def list_presets(package: str) -> list[str]:
    """The names of the presets that a package brings in its folder `presets`,
    sorted; empty if it has none."""
    try:
        folder = resources.files(package) / "presets"
    except (ModuleNotFoundError, TypeError):
        return []
    if not folder.is_dir():
        return []
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_preset(name: str, packages: Sequence[str]) -> Traversable:
    """The file `presets/<name>.yaml` of the first package that has it; a ConfigError names near matches."""
    for package in packages:
        if name in list_presets(package):
            return resources.files(package) / "presets" / f"{name}.yaml"
    possible = sorted({preset for package in packages for preset in list_presets(package)})
    raise ConfigError(f"no preset and no file is called {name!r}{near_matches(name, possible)}")


def plugin_of(name: str) -> str | None:
    """The installed method of which `plugin/preset` names a preset; None if the text
    means nothing of the kind."""
    match = _OF_PLUGIN.fullmatch(name)
    return match[1] if match and match[1] in {entry.name for entry in metadata.entry_points(group=GROUP)} else None


def split_preset(name: str, packages: Sequence[str]) -> tuple[str, Sequence[str]]:
    """`plugin/preset` as the preset's name and the packages in which it, and what it extends, is looked for.

    Other names come back as they are. ConfigError if the method has no such preset;
    the method is not imported.
    """
    plugin = plugin_of(name)
    if plugin is None:
        return name, packages
    own = package_of(next(iter(metadata.entry_points(group=GROUP, name=plugin))).module)
    preset, presets = name.partition("/")[2], list_presets(own) if own else []
    if preset not in presets:
        raise ConfigError(f"plugin {plugin!r} has no preset {preset!r}{near_matches(preset, presets)}")
    return preset, tuple(dict.fromkeys((str(own), CORE)))


def package_of(module: str) -> str | None:
    """The package in which a module lies, which is not imported; None if there is
    none, or it cannot be found."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return (spec.parent or None) if spec is not None else None
