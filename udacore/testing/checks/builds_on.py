"""The method that a method builds on, whose preset is used where it has none."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from udacore.config.presets import list_presets, package_of
from udacore.config.resolve import CORE, STREETS
from udacore.errors import UdaError
from udacore.methods.beside import PREFIX
from udacore.methods.discovery import Method, list_plugins, load_plugin


def find_bases(method: Method) -> list[str]:
    """Names of the installed methods that a method builds on: whose settings it derives, or of
    which it imports something.

    The nearest come first: those of the settings' classes, then those that its modules import, then what
    these build on. Nothing is imported that is not there already, but the methods found.
    """
    found: list[str] = []
    left = [method]
    while left:
        current = left.pop(0)
        for name in _direct_bases(current):
            if name not in found and name != method.name:
                found.append(name)
                with contextlib.suppress(UdaError):  # a method that is broken is checked by its own author
                    left.append(load_plugin(name))
    return found


def find_base_with_streets(method: Method) -> str | None:
    """The nearest of them that brings a preset `streets`; None if there is none."""
    packages = {plugin.name: package_of(plugin.module.partition(":")[0]) for plugin in list_plugins()}
    return next((name for name in find_bases(method) if (own := packages[name]) and STREETS in list_presets(own)), None)


def _direct_bases(method: Method) -> Iterator[str]:
    owners = {plugin.module.partition(":")[0].strip(): plugin.name for plugin in list_plugins()}
    own = str(method.package or getattr(method.module, "__name__", ""))
    owners = {module: name for module, name in owners.items() if not (_is_in(module, CORE) or _is_in(module, own) or name == method.name)}
    for used in _used_modules(method):
        yield from (name for module, name in owners.items() if _is_in(used, module))


def _used_modules(method: Method) -> Iterator[str]:
    """Names of modules from which the method has its settings' bases, and functions, classes and
    modules in its namespaces."""
    yield from (base.__module__ for base in method.settings.__mro__)
    for module in own_modules(method):
        for value in list(vars(module).values()):
            yield value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", None) or "")


def own_modules(method: Method) -> list[Any]:
    """The modules of a method that are loaded: of its package, or its file and
    what it imports from beside it."""
    first = method.module if isinstance(method.module, ModuleType) else sys.modules.get(getattr(method.module, "__module__", ""))
    found = [first] if first is not None else []
    if method.package not in (None, CORE):
        found += [module for name, module in sorted(sys.modules.items()) if _is_in(name, str(method.package)) and module is not first]
    beside = [value for module in found for value in vars(module).values() if isinstance(value, ModuleType)]
    return found + [module for module in beside if module.__name__.startswith(PREFIX) and module not in found]


def _is_in(module: str, package: str) -> bool:
    return bool(package) and (module == package or module.startswith(f"{package}."))
