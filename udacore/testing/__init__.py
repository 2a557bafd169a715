"""Test kit for methods: the contract to inherit, miniature data sets, interrupted runs, broken methods.

    from udacore.testing import MethodContract

    class TestContract(MethodContract):
        method = "my-method"

`MethodContract` needs pytest; nothing else here does. The fixtures are in `udacore.testing.pytest_plugin`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udacore.testing.checks import fast_checks
    from udacore.testing.contract import MethodContract

__all__ = ["MethodContract", "fast_checks"]

_WHERE = {"MethodContract": "udacore.testing.contract", "fast_checks": "udacore.testing.checks"}


def __getattr__(name: str) -> Any:
    """Both need torch, and one of them pytest: only when asked for."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'udacore.testing' has no attribute {name!r}")
