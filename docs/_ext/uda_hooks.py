"""The hooks, from `udacore.hookspecs`."""

from __future__ import annotations

import inspect

from uda_markdown import to_markdown

from udacore import hookspecs
from udacore.plugins import hook_names


def render_hooks() -> str:
    """A section for each hook: its arguments with their types, and its contract."""
    return "\n\n".join(_render(name) for name in hook_names())


def _render(name: str) -> str:
    function = getattr(hookspecs, name)
    signature = inspect.signature(function)
    types = ", ".join(f"`{argument.name}: {argument.annotation}`" for argument in signature.parameters.values())
    gives = f"Gets {types}; returns `{signature.return_annotation}`."
    return f"## {name}\n\n::::{{hook}} {name}({', '.join(signature.parameters)})\n{gives}\n\n{to_markdown(function.__doc__)}\n::::"
