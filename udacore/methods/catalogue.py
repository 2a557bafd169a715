"""The lines of `uda plugins list`: what metadata say about installed methods; an import adds the rest."""

from __future__ import annotations

import importlib.util
from importlib import metadata

import attrs

from udacore.methods.discovery import InstalledPlugin, core_fits, list_plugins


@attrs.frozen(kw_only=True)
class Entry(InstalledPlugin):
    """A line of `uda plugins list`: what metadata say, and

    api     version of the hooks that the module states; None if it states none, or was not imported
    hooks   names of the hooks that it implements, in the contract's order; None if it was not imported
    origin  file of the module; None if it was not imported
    state   `installed`, or what stands in the way; `ok` or `broken: ...` once an import was tried
    """

    api: int | None = None
    hooks: tuple[str, ...] | None = None
    origin: str | None = None
    state: str


def make_catalogue() -> list[Entry]:
    """All installed methods by name, from metadata alone: no method is imported."""
    return [Entry(**attrs.asdict(plugin), state=_state(plugin)) for plugin in list_plugins()]


def _state(plugin: InstalledPlugin) -> str:
    if plugin.duplicate:
        return "name claimed twice"
    if not core_fits(plugin.cores):
        return f"needs udacore {plugin.cores}, not {metadata.version('udacore')}"
    return "installed" if _is_found(plugin.module) else "its module is not found"


def _is_found(entry: str) -> bool:
    """Whether an import would find the outermost package of an entry point; what lies
    within it needs an import."""
    try:
        return importlib.util.find_spec(entry.partition(":")[0].strip().partition(".")[0]) is not None
    except (ImportError, ValueError):  # a name such as ".."
        return False
