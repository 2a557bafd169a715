"""udacore: unsupervised domain adaptation for semantic segmentation, each method a plugin.

What a plugin author imports: `hookimpl`, `MethodSettings`, `option`, and for annotations
the types of `interface`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from udacore.deprecation import UDACORE_API, HookDeprecation
from udacore.errors import ConfigError, DataError, PluginError, UdaError
from udacore.options import MethodSettings, option

if TYPE_CHECKING:
    from udacore.interface import Losses, Output, PassBatch, RoundEnd, RoundInfo, SourceBatch, Step, TargetBatch

__version__ = metadata.version("udacore")
hookimpl = pluggy.HookimplMarker("udacore")

__all__ = [
    "UDACORE_API",
    "ConfigError",
    "DataError",
    "HookDeprecation",
    "Losses",
    "MethodSettings",
    "Output",
    "PassBatch",
    "PluginError",
    "RoundEnd",
    "RoundInfo",
    "SourceBatch",
    "Step",
    "TargetBatch",
    "UdaError",
    "__version__",
    "hookimpl",
    "option",
]


def __getattr__(name: str) -> Any:
    """The interface types need torch, which takes seconds to import: only when asked for."""
    if name in __all__:
        from udacore import interface

        return getattr(interface, name)
    raise AttributeError(f"module 'udacore' has no attribute {name!r}")
