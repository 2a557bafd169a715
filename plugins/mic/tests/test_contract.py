"""What every method has to hold."""

from __future__ import annotations

import pytest

from udacore.testing import MethodContract


class TestContract(MethodContract):
    method = "mic"


@pytest.mark.long
class TestContractOfTwoScales(MethodContract):
    method = "mic"
    overrides = ("method.detail_size=[32,16]",)
