"""What every method has to hold."""

from __future__ import annotations

import pytest

from udacore.testing import MethodContract


class TestContract(MethodContract):
    """Without the rounds that repeat another one."""

    method = "proca"
    overrides = ("rounds.distill-3=null", "rounds.distill-4=null")


@pytest.mark.long
class TestContractOfAllRounds(MethodContract):
    method = "proca"
