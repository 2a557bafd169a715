"""Every setting, from the settings classes: those of the core by section, and those of a plugin."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from uda_markdown import escape, to_markdown

from udacore.config.describe import Setting, settings_table
from udacore.config.files import list_presets, read_config
from udacore.config.resolve import CORE
from udacore.config.schema import Config, RoundConfig
from udacore.methods.discovery import list_plugins, load_plugin
from udacore.plugins import hooks_of

DATA = ("source.", "target.", "evaluate.NAME.")
"""Entries that name images have much in common, which is told once."""


def round_settings() -> list[Setting]:
    """What a round may choose, by the names at the top level of a file."""
    return settings_table(RoundConfig)


def run_settings() -> list[Setting]:
    """What holds for the whole run."""
    return [row for row in settings_table(Config) if not row.name.startswith("rounds.")]


def section_of(name: str) -> str:
    """The section in which a setting of a round is told."""
    if ".transform." in name:
        return "transforms"
    for prefix in DATA:
        if name.startswith(prefix):
            shared = prefix != "evaluate.NAME." or f"source.{name.removeprefix(prefix)}" in {row.name for row in round_settings()}
            return "data" if shared else "evaluation"
    first = name.partition(".")[0]
    return first if first in ("parts", "pixels", "model", "pseudo_labels") else "round"


def render_section(section: str) -> str:
    """The settings of a section of the page."""
    rows = run_settings() if section == "run" else [row for row in round_settings() if section_of(row.name) == section]
    if not rows:
        raise ValueError(f"no setting belongs to the section {section!r}")
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        suffix = next((row.name.removeprefix(prefix) for prefix in DATA if row.name.startswith(prefix)), row.name)
        groups.setdefault((suffix, row.type, row.default, row.help), []).append(row.name)
    return "\n\n".join(f":::{{setting}} {', '.join(names)}\n{_words(type, default, text)}\n:::" for (_, type, default, text), names in groups.items())


def render_plugin(name: str) -> str:
    """A plugin's hooks, presets with their rounds, and settings; a note if it is not installed
    where the pages are built."""
    if name not in {plugin.name for plugin in list_plugins()}:
        return f":::{{note}}\nThe plugin `{name}` was not installed where these pages were built: `pip install udacore-{name}`.\n:::"
    method = load_plugin(name)
    packages = (CORE,) if method.package in (None, CORE) else (str(method.package), CORE)
    lines = [f"Hooks: {', '.join(f'{{hook}}`{hook}`' for hook in hooks_of(method))}.", "", "Presets and their rounds:", ""]
    for preset in list_presets(packages[0]):
        rounds = read_config(preset, (), packages)["rounds"]
        lines.append(f"- `{preset}`: {', '.join(f'`{key}`' for key, own in rounds.items() if own is not None)}")
    rows = settings_table(method.settings, "method")
    lines += ["", to_markdown(inspect.getdoc(method.settings)) if not rows else "", *definitions(rows)]
    return "\n".join(lines)


def definitions(rows: Iterable[Setting]) -> list[str]:
    """Settings as a list of definitions."""
    return [f"`{row.name}`\n: {_words(row.type, row.default, row.help)}\n" for row in rows]


def _words(type: str, default: str, text: str) -> str:
    told = default == "null" and "default:" in text  # the help says what null stands for
    default = "" if told else "Required; " if default == "required" else f"Default `{default}`; "
    return f"{escape(text)}. \n{default}{escape(type)}."
