"""The contract that every method of udacore keeps. Each failure says what to change."""

from __future__ import annotations

from udacore.testing import MethodContract


class TestContract(MethodContract):
    """The checks are inherited; a setting of the class says where this method differs."""

    method = "daformer-lite"
