"""The public names of a module with their docstrings, as entries of Sphinx's Python domain."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import attrs
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import signature, stringify_signature
from uda_markdown import to_markdown


def render_module(name: str) -> str:
    """A section: the module's own text, and an entry for each public name."""
    module = importlib.import_module(name)
    entries = [_entry(public, getattr(module, public), comment) for public, comment in public_names(module).items()]
    head = f"## {name}\n\n```{{py:module}} {name}\n```\n\n{to_markdown(module.__doc__)}"
    return "\n\n".join([head, *entries])


def public_names(module: ModuleType) -> dict[str, str]:
    """Each public name of a module, constants with the text that follows their assignment.

    What `__all__` lists; without it the functions and classes defined here, and the
    constants that are explained.
    """
    comments = {key[1]: "\n".join(text) for key, text in ModuleAnalyzer.for_module(module.__name__).find_attr_docs().items() if not key[0]}
    if hasattr(module, "__all__"):
        return {name: comments.get(name, "") for name in module.__all__ if not name.startswith("__")}
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__ and callable(value)]
    names = [name for name in vars(module) if name in own or name in comments]
    return {name: comments.get(name, "") for name in names if not name.startswith("_")}


def _entry(name: str, value: Any, comment: str) -> str:
    if inspect.isclass(value):
        return _class(name, value)
    if inspect.isfunction(value):
        return f":::{{py:function}} {name}{_signature(value)}\n{to_markdown(value.__doc__)}\n:::"
    return f":::{{py:data}} {name}\n{to_markdown(comment)}\n:::"


def _class(name: str, value: type) -> str:
    lines = [f"::::{{py:class}} {name}{'' if attrs.has(value) else _signature(value)}", to_markdown(vars(value).get("__doc__")), ""]
    if attrs.has(value):
        fields = [f"`{field.name}: {field.type}`" for field in attrs.fields(value) if not field.name.startswith("_")]
        lines += [f"Fields: {', '.join(fields)}.", ""] if fields else []
    return "\n".join([*lines, *_methods(value), "::::"])


def _methods(value: type) -> Iterator[str]:
    for name, member in vars(value).items():
        function = getattr(member, "__func__", member)
        if name.startswith("_") or not getattr(function, "__doc__", None):
            continue
        if isinstance(member, property):
            yield f":::{{py:property}} {name}\n{to_markdown(member.__doc__)}\n:::\n"
        elif inspect.isfunction(function):
            yield f":::{{py:method}} {name}{_signature(function)}\n{to_markdown(function.__doc__)}\n:::\n"


def _signature(value: Any) -> str:
    try:
        return stringify_signature(signature(value), unqualified_typehints=True)
    except (TypeError, ValueError):
        return "()"

