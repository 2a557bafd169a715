"""A configuration that leaves a method at its defaults: said before the first step, since all methods look alike then."""

from __future__ import annotations

import attrs

from udacore.config.presets import list_presets
from udacore.config.resolve import STREETS, load_config
from udacore.config.schema import Config
from udacore.discovery import Method
from udacore.errors import UdaError, list_names

PUBLISHED = "gta5-cityscapes"
"""The task that nearly every method has a preset for."""


def describe_idle_method(config: Config, method: Method) -> str:
    """A line if no round changes any of the settings that the method's own preset for the embedded domains changes.

    Such settings are the switches of a method (an adversary that is on, a round that translates); without them its
    hooks may give what the core gives. Empty for a method without such a preset or settings.
    """
    if method.package is None or STREETS not in list_presets(method.package):
        return ""
    known = [name for name in (STREETS, PUBLISHED) if name in list_presets(method.package)]
    try:
        own = [load_config(name, packages=(method.package, "udacore"), method_settings=method.settings) for name in known]
    except UdaError:  # `uda plugins check` names what is wrong with it
        return ""
    changed = [changed_settings(preset) for preset in own]
    switches = changed[0]
    # A method that is published at its defaults is switched on by them.
    if not all(changed) or set(switches) & set(changed_settings(config)):
        return ""
    said = f"no round sets {list_names(switches, 4)}, as preset {STREETS!r} of plugin {method.name!r} does"
    return f"{said}: at its defaults the method may do nothing of its own"


def changed_settings(config: Config) -> list[str]:
    """Names of the method's settings that differ from their defaults in any round, in the order of the class."""
    found: dict[str, None] = {}
    for settings in (round.method for round in config.rounds.values()):
        default = type(settings)()
        fields = [field.name for field in attrs.fields(type(settings))]
        found |= dict.fromkeys(name for name in fields if getattr(settings, name) != getattr(default, name))
    return list(found)
