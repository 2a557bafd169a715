"""A method that is left at its defaults is named before the first step."""

from __future__ import annotations

import pytest

from udacore.engine.preflight import describe_idle_method
from udacore.methods.discovery import load_plugin
from udacore.testing.runs import configure


@pytest.mark.parametrize("name", ["bdl", "fada", "proca", "pycda"])
def test_a_preset_of_the_core_leaves_a_method_at_its_defaults(name: str) -> None:
    said = describe_idle_method(configure(name, "streets-adapt"), load_plugin(name))
    assert said.endswith(f"as preset 'streets' of plugin {name!r} does: at its defaults the method may do nothing of its own")


@pytest.mark.parametrize("name", ["bdl", "clp", "fada", "mic", "proca", "pycda", "source-only"])
def test_a_methods_own_preset_does_not(name: str) -> None:
    for preset in ("streets", "gta5-cityscapes"):
        assert describe_idle_method(configure(name, preset), load_plugin(name)) == ""


def test_one_switch_is_enough() -> None:
    config = configure("fada", "streets-adapt", ["rounds.adapt.method.adversarial=true"])
    assert describe_idle_method(config, load_plugin("fada")) == ""
