"""What every method has to hold."""

from __future__ import annotations

from udacore.testing import MethodContract


class TestContract(MethodContract):
    method = "pycda"
