"""Sphinx extension: the reference pages, made from the code while the documentation is built.

A line `<!-- generate: KIND ARGUMENT -->` in a page is replaced by Markdown: `hooks`, `settings SECTION`,
`plugin NAME`, `commands`, `api MODULE`, `results METHOD`, `summary`, `layout NAME`. Roles `{hook}`,
`{setting}` and Sphinx's `{option}` link to what stands there; a name that does not exist is a warning, and so
an error in `make docs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uda_api
import uda_commands
import uda_hooks
import uda_layouts
import uda_results
import uda_settings
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import GenericObject
from sphinx.environment import BuildEnvironment

MARKER = re.compile(r"^<!-- generate: ([\w-]+)(?: (\S+))? -->$", re.MULTILINE)
GENERATORS: dict[str, Callable[[str], str]] = {
    "hooks": lambda argument: uda_hooks.render_hooks(),
    "settings": uda_settings.render_section,
    "plugin": uda_settings.render_plugin,
    "commands": lambda argument: uda_commands.render_commands(),
    "api": uda_api.render_module,
    "results": uda_results.render_results,
    "summary": lambda argument: uda_results.render_summary(),
    "few-labels": lambda argument: uda_results.render_few_labels(),
    "layout": uda_layouts.render_layout,
}


class Setting(GenericObject):
    """`{setting}` describes one or several settings, separated by commas."""

    def get_signatures(self) -> list[str]:
        """Each name by itself."""
        return [name.strip() for name in self.arguments[0].split(",")]


def parse_hook(environment: BuildEnvironment, signature: str, node: addnodes.desc_signature) -> str:
    """A hook is found by its name, and shown with its arguments."""
    name, _, arguments = signature.partition("(")
    node += addnodes.desc_name(name, name)
    node += addnodes.desc_addname("", f"({arguments}")
    return name


def fill_in(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace the markers of a page."""
    made = MARKER.sub(lambda found: GENERATORS[found[1]](found[2] or ""), source[0])
    source[0] = made.replace(" ± ", "\u00a0±\u00a0")  # a figure and its deviation stay on one line


def find_generated(app: Sphinx, environment: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages with markers are read anew each time: what they are made from is not their own file."""
    return [name for name in environment.found_docs - added if MARKER.search(Path(environment.doc2path(name)).read_text(encoding="utf-8"))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_object_type("setting", "setting", "pair: %s; setting", ref_nodeclass=nodes.literal)
    app.add_directive_to_domain("std", "setting", type("UdaSetting", (Setting,), {"indextemplate": "pair: %s; setting"}), override=True)
    app.add_object_type("hook", "hook", "pair: %s; hook", parse_node=parse_hook, ref_nodeclass=nodes.literal)
    app.connect("source-read", fill_in)
    app.connect("env-get-outdated", find_generated)
    return {"parallel_read_safe": True, "version": "1"}
