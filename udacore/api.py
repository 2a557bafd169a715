"""The old name of `udacore.deprecation`, which works until version 0.3."""

from udacore.deprecation import forward_names

__getattr__ = forward_names(
    __name__, {name: f"udacore.deprecation.{name}" for name in ("UDACORE_API", "HookDeprecation", "deprecate")}, gone="0.3"
)
