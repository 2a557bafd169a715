"""Names of losses and numbers in a method's source, to find those that no check reached."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType
from typing import Any, TypeGuard


def find_loss_names(hooks: Sequence[Any], modules: Sequence[str]) -> list[str]:
    """What the functions that make losses name: keys of mappings, and what `step.record` gets; `*`
    stands for what is filled in.

    hooks    the functions of the loss hooks; those that they call are read too
    modules  names of the modules and packages whose functions are the method's

    `losses["entropy"] = ...` and `{f"{name}_contrast": ...}` give `entropy` and `*_contrast`. What
    has no source gives none.
    """
    found: dict[str, None] = {}
    left = [inspect.unwrap(hook) for hook in hooks]
    seen: set[Any] = set()
    while left:
        function = left.pop(0)
        tree = _parse(function) if function not in seen else None
        seen.add(function)
        if tree is not None:
            found |= dict.fromkeys(_keys(tree))
            left += [each for each in _called(tree, vars(inspect.getmodule(function) or object)) if _is_of(each, modules)]
    return list(found)


def find_missing(names: Sequence[str], seen: Sequence[str]) -> list[str]:
    """Those of the names that nothing seen goes by, with or without the part before `/`.

    A name may also be put into another: with `association_*` among the names,
    `association_features` shows `features`.
    """
    shown = [*seen, *(each.partition("/")[2] for each in seen if "/" in each)]
    frames = ["*", *(name for name in names if "*" in name)]
    return [name for name in names if not any(fnmatchcase(each, frame.replace("*", name, 1)) for frame in frames for each in shown)]


def _parse(function: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _keys(tree: ast.AST) -> Iterator[str]:
    """Text that stands as a key of a mapping that is made or filled, or names a number that is recorded.

    What is kept for a later hook is no loss, and neither is what a call gets by `**`.
    """
    passed = {word.value.id for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords if _is_unpacked(word)}
    arguments = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and _names(node.targets) & passed]
    for node in ast.walk(tree):
        keys: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.Dict) and node not in arguments:
            keys = node.keys
        elif isinstance(node, ast.DictComp):
            keys = [node.key]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
            keys = node.args[:1]
        elif isinstance(node, ast.Assign):
            filled = [each for each in node.targets if isinstance(each, ast.Subscript)]
            keys = [each.slice for each in filled if not (isinstance(each.value, ast.Attribute) and each.value.attr == "kept")]
        yield from (text for key in keys if (text := _text(key)))


def _is_unpacked(word: ast.keyword) -> TypeGuard[Any]:
    return word.arg is None and isinstance(word.value, ast.Name)


def _names(targets: Sequence[ast.expr]) -> set[str]:
    return {each.id for each in targets if isinstance(each, ast.Name)}


def _text(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    if isinstance(key, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in key.values)
        return text if text.strip("*/_") else ""
    return ""


def _called(tree: ast.AST, names: dict[str, Any]) -> Iterator[Any]:
    """Functions that a function names."""
    for node in ast.walk(tree):
        value = None
        if isinstance(node, ast.Name):
            value = names.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            value = getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType):
            yield value


def _is_of(function: Any, modules: Sequence[str]) -> bool:
    return any(function.__module__ == name or str(function.__module__).startswith(f"{name}.") for name in modules)
