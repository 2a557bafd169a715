"""The hooks of a run, and labels for exceptions of methods.

What is installed is found and loaded in `discovery`; its names are here too.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import pluggy

from udacore.errors import PluginError, list_names, near_matches
from udacore.methods.discovery import (
    InstalledPlugin,
    Method,
    find_plugin,
    import_plugin,
    is_file,
    list_plugins,
    load_plugin,
)

__all__ = [
    "DEFAULT",
    "InstalledPlugin",
    "Method",
    "build_hooks",
    "find_plugin",
    "hook_names",
    "hooks_of",
    "import_plugin",
    "is_file",
    "label_errors",
    "list_plugins",
    "load_plugin",
]

DEFAULT = "source-only"
"""Name of the core's own plugin, which answers where a method is silent."""

def build_hooks(method: Method) -> pluggy.HookRelay:
    """The five hooks of one run: the method's answers first, the core's own plugin where it is silent.

    Each call makes a manager of its own, so that methods never meet. Raises PluginError for a function marked
    as a hook that is none, for an argument that the hook does not have, and for a method without any hook.
    """
    from udacore import hookspecs, source_only

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(source_only, name=DEFAULT)
    if method.module is source_only:
        return manager.hook
    _check_names(method, manager)
    _warn_of_what_will_go(method, manager)
    try:
        manager.register(method.module, name=f"{method.name} ({method.origin})")
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_signature_problem(method) or f"plugin {method.name!r}: {' '.join(str(error).split())}") from error
    return manager.hook


def hook_names() -> tuple[str, ...]:
    """The hooks, in the order in which `hookspecs` explains them."""
    from udacore import hookspecs

    return tuple(name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec"))


def hooks_of(method: Method) -> tuple[str, ...]:
    """Which hooks the method implements."""
    marked = {hook for hook, _ in _implementations(method)}
    return tuple(name for name in hook_names() if name in marked)


def _implementations(method: Method) -> list[tuple[str, Any]]:
    """Hook name and function of all that the method marks as a hook and does not call optional."""
    from udacore import hookspecs

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    found = []
    for name in dir(method.module):
        marks = manager.parse_hookimpl_opts(method.module, name)
        if marks is not None and not marks.get("optionalhook"):
            found.append((marks.get("specname") or name, getattr(method.module, name)))
    return found


def _check_names(method: Method, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would pass over in silence: misspelt hooks, hooks without
    their mark, no hook at all."""
    names = hook_names()
    implemented = [hook for hook, _ in _implementations(method)]
    for hook in implemented:
        if hook not in names:
            raise PluginError(f"plugin {method.name!r}: there is no hook {hook!r}{near_matches(hook, names)}")
    own = getattr(method.module, "__name__", None)
    for name in set(names) - set(implemented):
        function = getattr(method.module, name, None)
        if inspect.isfunction(function) and function.__module__ == own:
            raise PluginError(f"plugin {method.name!r}: {name} would never be called; mark it with @udacore.hookimpl")
    if not implemented:
        said = f"plugin {method.name!r} ({method.origin}) implements no hook"
        raise PluginError(f"{said}; mark functions with @udacore.hookimpl: {', '.join(names)}")


def _warn_of_what_will_go(method: Method, manager: pluggy.PluginManager) -> None:
    """The specifications' warnings, at the line where the author wrote the function: pluggy itself
    would name a decorator's."""
    for hook, function in _implementations(method):
        spec = getattr(manager.hook, hook).spec
        asked = inspect.signature(function).parameters
        found = [spec.warn_on_impl, *(warning for name, warning in (spec.warn_on_impl_args or {}).items() if name in asked)]
        code = getattr(inspect.unwrap(function), "__code__", None)
        place = (code.co_filename, code.co_firstlineno) if code is not None else (method.origin, 0)
        for warning in found:
            if warning is not None:
                warnings.warn_explicit(warning, type(warning), *place)
    for name in hook_names():
        spec = getattr(manager.hook, name).spec
        spec.warn_on_impl = spec.warn_on_impl_args = None  # said


def _signature_problem(method: Method) -> str | None:
    """Text that sets both signatures side by side, for the first hook that asks
    for an argument it cannot get."""
    from udacore import hookspecs

    for hook, function in _implementations(method):
        possible = list(inspect.signature(getattr(hookspecs, hook)).parameters)
        given = inspect.signature(function).parameters.values()
        asked = [p.name for p in given if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        unknown = [name for name in asked if name not in possible]
        if unknown:
            mine = f"{function.__name__}({list_names(asked, most=8)})"
            said = f"plugin {method.name!r}: {mine} asks for {list_names(map(repr, unknown))}, but the hook is {hook}({', '.join(possible)})"
            return said + near_matches(unknown[0], possible)
    return None


@contextmanager
def label_errors(method_name: str, hook: str, round: str, step: int | None = None, place: str = "") -> Iterator[None]:
    """While this is open, an exception keeps its traceback and gains a note with
    plugin, hook, round and step.

    `place` goes on from there, such as ", yield 2" for a hook that gives its losses one after another.

    Raises PluginError in place of SystemExit: a hook that ends the program would end a run half done, as if
    it had succeeded. What the hook prints goes to stderr, since stdout is for results.
    """
    place = (f"round {round!r}" if step is None else f"round {round!r}, step {step}") + place
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:
        error.add_note(f"in hook {hook} of plugin {method_name!r}, {place}")
        raise
    except (SystemExit, GeneratorExit) as error:
        said = f"{type(error).__name__}({', '.join(map(repr, error.args))})"
        raise PluginError(f"plugin {method_name!r}, {hook}, {place}: raised {said}; a hook that cannot go on raises an error") from error
