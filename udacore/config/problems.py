"""Problems of a configuration as messages: how values and types are written in them."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from udacore.errors import ConfigError, SeveralProblemsError, list_names, one_line

LONGEST_PATH = 160
"""Characters of a dotted place in a message; what is possible stands behind it in the same line."""


@attrs.frozen
class Problem:
    """What is wrong with one value.

    path        dotted place in the configuration, such as `rounds.adapt.steps`
    text        what was given and what is possible
    incomplete  a value is missing, or values do not fit together: what is merged over them may still mend it
    """

    path: str
    text: str
    incomplete: bool = False

    def __str__(self) -> str:
        # A long key is cut here, not at the line's end, where the advice stands.
        return f"{one_line(self.path, LONGEST_PATH)}: {self.text}" if self.path else self.text


def raise_problems(problems: Sequence[Problem], where: str = "") -> None:
    """Raise one ConfigError that lists all problems: one line for one, else a line with their
    number and one for each."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    if len(lines) == 1:
        raise ConfigError(f"{where}: {lines[0]}" if where else lines[0])
    if lines:
        place = f" in {where}" if where else ""
        raise SeveralProblemsError(f"{len(lines)} problems{place}:", lines)


def join(path: str, key: Any) -> str:
    """A dotted path, one key longer."""
    return f"{path}.{key}" if path else str(key)


def _short_repr() -> reprlib.Repr:
    """Lists of lists have more entries than any memory holds, where YAML's anchors wrote them."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxtuple, short.maxdict = 4, 12, 12, 4
    short.maxstring = short.maxlong = short.maxother = 200
    return short


_SHORT = _short_repr()


def show(value: Any) -> str:
    """A value as a user would write it, cut after 60 characters; what is cut is never spelt out first."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"a mapping with {one_line(list_names(value, characters=60), 100)}" if value else "an empty mapping"
    if isinstance(value, str):
        value = value[:200]
    text = one_line(_SHORT.repr(list(value) if isinstance(value, tuple) else value), 200)
    return text if len(text) <= 60 else text[:57] + "..."


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def describe_type(kind: Any) -> str:
    """A type in words, as it stands in messages and tables.

    >>> describe_type(tuple[int, int] | None)
    '[whole number, whole number] or null'
    """
    arguments = get_args(kind)
    origin = get_origin(kind)
    if kind is Any:
        return "anything"
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(str(each.value) for each in kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(show(choice) if not isinstance(choice, str) else choice for choice in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list, each {describe_type(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(describe_type(argument).removeprefix("a ") for argument in arguments) + "]"
    if origin is dict:
        return f"a mapping to {describe_type(arguments[1])}"
    return "a mapping"
