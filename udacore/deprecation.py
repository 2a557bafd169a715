"""The version of the hooks, and the warnings for what is about to change: hooks, their
arguments, names that moved."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

UDACORE_API = 1
"""Version of the hooks; a plugin may state `UDACORE_API = 1` and is refused by a core with another one."""


class HookDeprecation(FutureWarning):
    """A plugin implements a hook, or asks for an argument of one, that will go;
    shown to everybody who runs it.

    Given to pluggy by the hook's specification, which makes it at the line of the plugin's function:

        @hookspec(firstresult=True, warn_on_impl=deprecate("on_epoch_end", "on_round_end", since="0.2",
        gone="0.3")) @hookspec(firstresult=True, warn_on_impl_args={"batch": deprecate("the argument batch",
        "step.target", since="0.2", gone="0.3")})
    """


def deprecate(what: str, instead: str, *, since: str, gone: str) -> HookDeprecation:
    """The warning for `what`, deprecated in core version `since` and removed in `gone`;
    `instead` is what to use.

    >>> print(deprecate("the argument 'batch' of target_loss", "step.target", since="0.2", gone="0.3"))
    the argument 'batch' of target_loss is deprecated since udacore 0.2 and will be
    gone in 0.3; use step.target
    """
    return HookDeprecation(f"{what} is deprecated since udacore {since} and will be gone in {gone}; use {instead}")


def forward_names(module: str, moved: Mapping[str, str], *, gone: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names moved: finds them at their new place, with a
    warning at the caller's line.

    module  `__name__` of the module
    moved   old name -> new place, such as `udacore.labels.IGNORE`
    gone    core version in which the old names go

    The function raises AttributeError for other names, and where the new place is in a
    package that is not installed.
    """

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, new = moved[name].rpartition(".")
        try:
            found = getattr(importlib.import_module(place), new)
        except ModuleNotFoundError as error:
            raise AttributeError(f"{name} moved to {place}, which is not installed") from error
        warnings.warn(f"{module}.{name} is now {moved[name]}; the old name goes in udacore {gone}", DeprecationWarning, stacklevel=2)
        return found

    return find
