"""The version of the hooks, and the warning for names that are about to change."""

from __future__ import annotations

UDACORE_API = 1
"""Version of the hooks; a plugin may state `UDACORE_API = 1` and is refused by a core with another one."""


class HookDeprecation(FutureWarning):
    """A plugin implements a hook, or asks for an argument of one, that will go; shown to everybody who runs it.

    Given to pluggy by the hook's specification, which makes it at the line of the plugin's function:

        @hookspec(firstresult=True, warn_on_impl=deprecate("on_epoch_end", "on_round_end", since="0.2", gone="0.3"))
        @hookspec(firstresult=True, warn_on_impl_args={"batch": deprecate("the argument batch", "step.target", since="0.2", gone="0.3")})
    """


def deprecate(what: str, instead: str, *, since: str, gone: str) -> HookDeprecation:
    """The warning for `what`, deprecated in core version `since` and removed in `gone`; `instead` is what to use.

    >>> print(deprecate("the argument 'batch' of target_loss", "step.target", since="0.2", gone="0.3"))
    the argument 'batch' of target_loss is deprecated since udacore 0.2 and will be gone in 0.3; use step.target
    """
    return HookDeprecation(f"{what} is deprecated since udacore {since} and will be gone in {gone}; use {instead}")
