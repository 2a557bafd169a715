"""Facts about installed methods without importing them: metadata, and the source of the module with the hooks."""

from __future__ import annotations

import ast
import importlib.util
from importlib import metadata
from pathlib import Path

import attrs

from udacore.deprecation import UDACORE_API
from udacore.methods.discovery import InstalledPlugin, core_fits, list_plugins


@attrs.frozen(kw_only=True)
class Entry:
    """A line of `uda plugins list`.

    name, distribution, version  as in the metadata; module: where the hooks are, `module` or `module:object`
    cores   range of the core's versions that the distribution states, such as `<1,>=0.1`; "" if it states none
    api     version of the hooks that the module states; None if it states none, or not as a plain number
    hooks   names of the hooks that its text implements, in the contract's order; None if it cannot be read
    origin  file of the module; None if it cannot be found
    state   `installed`, or what stands in the way; `ok` or `broken: ...` once it was imported
    duplicate  whether another distribution claims the same name
    """

    name: str
    distribution: str
    version: str
    module: str
    cores: str
    api: int | None
    hooks: tuple[str, ...] | None
    origin: str | None
    state: str
    duplicate: bool


def make_catalogue() -> list[Entry]:
    """All installed methods by name. Reads metadata and source text, imports no method."""
    return [_entry(plugin) for plugin in list_plugins()]


def spec_names() -> tuple[str, ...]:
    """Names of the hooks in the order of the contract, read without its import (which needs torch)."""
    tree = ast.parse(Path(__file__).parent.with_name("hookspecs.py").read_text(encoding="utf-8"))
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and _marks(node, "hookspec"))


def _entry(plugin: InstalledPlugin) -> Entry:
    path = find_source(plugin.module)
    tree = _parse(path)
    api = None if tree is None else _stated_api(tree)
    return Entry(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        module=plugin.module,
        cores=plugin.cores,
        api=api,
        hooks=None if tree is None else _hooks(tree, plugin.module.partition(":")[0].strip()),
        origin=None if path is None else str(path),
        state=_state(plugin, path, api),
        duplicate=plugin.duplicate,
    )


def _state(plugin: InstalledPlugin, path: Path | None, api: int | None) -> str:
    if plugin.duplicate:
        return "name claimed twice"
    if not core_fits(plugin.cores):
        return f"needs udacore {plugin.cores}, not {metadata.version('udacore')}"
    if api not in (None, UDACORE_API):
        return f"for version {api} of the hooks, not {UDACORE_API}"
    return "installed" if path is not None else "its module is not found"


def find_source(entry: str) -> Path | None:
    """The file of an entry point's module, as an import would find it; nothing is imported. None: there is none."""
    top, *rest = entry.partition(":")[0].strip().split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in folders:
        inner = folder.joinpath(*rest)
        for path in (inner / "__init__.py", inner.with_suffix(".py")):
            if path.is_file():
                return path
    return None


def _parse(path: Path | None) -> ast.Module | None:
    if path is None or path.suffix != ".py":
        return None
    try:
        return ast.parse(path.read_bytes())  # it says itself what it is written in
    except (OSError, SyntaxError, ValueError):
        return None


def _stated_api(tree: ast.Module) -> int | None:
    """The number in `UDACORE_API = 1` at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and "UDACORE_API" in [getattr(target, "id", None) for target in node.targets]:
            stated = node.value.value if isinstance(node.value, ast.Constant) else None
            return stated if type(stated) is int else None
    return None


def _hooks(tree: ast.Module, module: str) -> tuple[str, ...]:
    """Hooks marked in the module or in a class of it, or brought in by their names from its own package."""
    found = set()
    package = module.partition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _marks(node, "hookimpl"):
            found.add(_other_name(node) or node.name)
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == package):
            found.update(alias.asname or alias.name for alias in node.names)
    return tuple(name for name in spec_names() if name in found)


def _marks(function: ast.FunctionDef, mark: str) -> bool:
    """Whether the function is decorated with `mark`, `mark(...)` or `x.mark`."""
    heads = [decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in function.decorator_list]
    return any((head.attr if isinstance(head, ast.Attribute) else getattr(head, "id", None)) == mark for head in heads)


def _other_name(function: ast.FunctionDef) -> str | None:
    """The hook that `@hookimpl(specname="...")` names."""
    keywords = [keyword for decorator in function.decorator_list if isinstance(decorator, ast.Call) for keyword in decorator.keywords]
    values = [keyword.value.value for keyword in keywords if keyword.arg == "specname" and isinstance(keyword.value, ast.Constant)]
    return str(values[0]) if values else None
