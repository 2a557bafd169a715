"""Strict conversion of plain YAML data to settings classes; all problems are reported at once.

A cast that loses something is refused (3.7 is no whole number, "false" is not false), one that loses nothing is made
(3 where a number is wanted; the text "1e-4", as YAML 1.1 reads 1e-4).
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from udacore.config.problems import Problem, describe_type, join, raise_problems, show
from udacore.errors import ConfigError, list_names, near_matches, one_line
from udacore.options import KEYED

NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
LONGEST_TEXT = 4096
LARGEST_NUMBER = 1.7e308
INVALID: Any = object()
"""What `convert` returns for a value that it has put on the list of problems."""


def structure(value: Any, kind: Any, where: str = "") -> Any:
    """`value` (plain data) as the type or settings class `kind`; a ConfigError lists all that does not fit."""
    problems: list[Problem] = []
    result = convert(value, kind, "", problems)
    raise_problems(problems, where)
    return result


def convert(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    """`value` (plain data) as the type `kind`; what does not fit is added to `problems`, and INVALID is returned.

    Understood: bool, int, float, str, None, Literal, tuple[X, ...], tuple[X, Y], dict[K, X], unions, attrs classes, enums (by their
    values), Any.
    """
    if kind is Any:
        return value
    if isinstance(kind, type) and attrs.has(kind):
        return _convert_class(value, kind, path, problems)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _convert_enum(value, kind, path, problems)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(value, kind, path, problems)
    if origin is tuple:
        return _convert_tuple(value, kind, path, problems)
    if origin is dict:
        return _convert_dict(value, kind, path, problems)
    if origin is Literal:
        return _convert_literal(value, kind, path, problems)
    if kind in _SCALARS:
        result, hint = _SCALARS[kind](value)
        if result is INVALID:
            problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)}{hint}"))
        return result
    raise TypeError(f"a setting cannot have the type {kind!r} ({path})")


def misfits(cls: type, prefix: str = "") -> Iterator[str]:
    """Words on each setting of a class, and of those within it, that no file could hold."""
    try:
        kinds = field_types(cls)
    except (NameError, TypeError) as error:
        yield f"the types of {prefix or cls.__name__} cannot be read: {error}"
        return
    for name, field in field_names(cls).items():
        path = join(prefix, name)
        if field.name not in kinds:
            yield f"setting {path} has no type; write {name}: TYPE = option(...)"
        elif field.metadata.get(KEYED) is None:
            yield from _misfits_of_type(kinds[field.name], path)


def _misfits_of_type(kind: Any, path: str) -> Iterator[str]:
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    if kind is Any or kind in _SCALARS or get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return
    if isinstance(kind, type) and attrs.has(kind):
        yield from misfits(kind, path)
    elif get_origin(kind) in (Union, types.UnionType, tuple, dict) and arguments:
        for argument in arguments:
            yield from _misfits_of_type(argument, path)
    else:
        shown = getattr(kind, "__name__", str(kind)) if not arguments else str(kind)
        possible = "bool, int, float, str, None, Literal, enums, tuple[X, ...], dict[str, X], attrs classes, unions of these"
        yield f"setting {path} has the type {shown}; possible: {possible}"


def field_names(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """The fields of a settings class by the name they have in files: a trailing underscore is dropped."""
    return {field.name.rstrip("_"): field for field in attrs.fields(cls) if field.init}


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The types of a settings class by attribute name, resolved if they are written as text."""
    return typing.get_type_hints(cls)


def admits_none(kind: Any) -> bool:
    """Whether null is a value of the type, and not the wish for the default."""
    return kind is Any or kind is type(None) or (get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind))


def keyed_class(table: Mapping[str, type], key: str) -> type | None:
    """The settings class of an entry of a keyed mapping: `resize` and `resize-2` both name `resize`."""
    return table.get(key) or table.get(key.partition("-")[0])


def _to_bool(value: Any) -> tuple[Any, str]:
    if isinstance(value, bool):
        return value, ""
    return INVALID, "; write true or false, without quotes" if isinstance(value, str) else ""


def _to_int(value: Any) -> tuple[Any, str]:
    number, hint = _to_float(value)
    if number is INVALID:
        return INVALID, hint
    if abs(number) >= 2**64:
        return INVALID, "; whole numbers have at most 64 bits"
    if isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("+-").isdecimal()):
        return int(value), ""
    return (int(number), "") if math.isfinite(number) and number == int(number) else (INVALID, "")


def _to_float(value: Any) -> tuple[Any, str]:
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return INVALID, ""
    if not abs(value) <= LARGEST_NUMBER:  # not a number, infinite, or an integer that no float holds
        return INVALID, "" if isinstance(value, float) and math.isnan(value) else "; numbers are finite"
    return float(value), ""


def _to_str(value: Any) -> tuple[Any, str]:
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return INVALID, f" of {len(value)} characters; at most {LONGEST_TEXT}"
        if _NO_TEXT.search(value):
            return INVALID, "; control characters and halves of surrogate pairs are no text"
        return value, ""
    return INVALID, "; write it in quotes" if isinstance(value, bool | int | float) else ""


def _to_none(value: Any) -> tuple[Any, str]:
    return (None, "") if value is None else (INVALID, "")


_SCALARS: dict[Any, Any] = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str, type(None): _to_none}


def _convert_literal(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    choices = get_args(kind)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    near = near_matches(value, [str(choice) for choice in choices]) if isinstance(value, str) else ""
    near = near if near.startswith("; did you mean") else ""
    problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)}{near}"))
    return INVALID


def _convert_enum(value: Any, kind: type[Enum], path: str, problems: list[Problem]) -> Any:
    result = value if isinstance(value, kind) else _convert_literal(value, Literal[tuple(each.value for each in kind)], path, problems)
    return result if result is INVALID else kind(result)


def _convert_union(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    """The first member that takes the value; a mapping or list that no member takes is explained by its like."""
    failures: list[tuple[Any, list[Problem]]] = []
    for member in get_args(kind):
        found: list[Problem] = []
        result = convert(value, member, path, found)
        if not found:
            return result
        failures.append((member, found))
    for member, found in failures:
        is_mapping = get_origin(member) is dict or (isinstance(member, type) and attrs.has(member))
        if (is_mapping and isinstance(value, Mapping)) or (get_origin(member) is tuple and isinstance(value, list | tuple)):
            problems.extend(found)
            return INVALID
    problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)}"))
    return INVALID


def _convert_tuple(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    arguments = get_args(kind)
    if not isinstance(value, list | tuple):
        hint = f"; write [{one_line(str(value))}]" if isinstance(value, str | int | float) and len(show(value)) < 50 else ""
        problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)}{hint}"))
        return INVALID
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)} with {len(value)} entries"))
        return INVALID
    before = len(problems)
    pairs = enumerate(zip(value, arguments, strict=True))
    result = tuple(convert(entry, argument, f"{path}[{index}]", problems) for index, (entry, argument) in pairs)
    return result if len(problems) == before else INVALID


def _convert_dict(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    """Entries in their order; an entry whose value is null is left out."""
    if not isinstance(value, Mapping):
        problems.append(Problem(path, f"must be {describe_type(kind)}, got {show(value)}"))
        return INVALID
    key_kind, entry_kind = get_args(kind)
    before = len(problems)
    result = {}
    for key, entry in value.items():
        if entry is None:
            continue
        place = join(path, key)
        found: list[Problem] = []
        name = convert(key, key_kind, place, found)
        problems.extend(Problem(place, f"the key {problem.text}") for problem in found)
        result[name] = convert(entry, entry_kind, place, problems)
    return result if len(problems) == before else INVALID


def _convert_keyed(value: Any, table: Mapping[str, type], path: str, problems: list[Problem]) -> Any:
    """Entries whose key names their settings class; `{}` and true stand for the class's defaults."""
    if not isinstance(value, Mapping):
        problems.append(Problem(path, f"must be a mapping with any of: {list_names(table, most=12)}; got {show(value)}"))
        return INVALID
    before = len(problems)
    result = {}
    for key, entry in value.items():
        if entry is None:
            continue
        cls = keyed_class(table, str(key))
        if cls is None:
            problems.append(Problem(join(path, key), f"unknown{near_matches(str(key), table)}"))
            continue
        result[str(key)] = convert({} if entry is True else entry, cls, join(path, key), problems)
    return result if len(problems) == before else INVALID


def _convert_class(value: Any, cls: type, path: str, problems: list[Problem]) -> Any:
    """An object of the settings class; null stands for a field's default unless null is a value of its type."""
    names = field_names(cls)
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        keys = f" with any of: {list_names(names, most=12)}" if names else ""
        problems.append(Problem(path, f"must be a mapping{keys}; got {show(value)}"))
        return INVALID
    before = len(problems)
    for key in value:
        if key not in names:
            problems.append(Problem(join(path, key), f"unknown{near_matches(str(key), names) or '; nothing can be set here'}"))
    arguments: dict[str, Any] = {}
    for name, field in names.items():
        kind = field_types(cls)[field.name]
        if name in value and (value[name] is not None or admits_none(kind)):
            arguments[str(field.alias)] = _convert_field(value[name], field, kind, join(path, name), problems)
        elif field.default is attrs.NOTHING:
            problems.append(Problem(join(path, name), f"is required: {describe_type(kind)}", incomplete=True))
    if len(problems) > before:
        return INVALID
    try:
        return cls(**arguments)
    except (ValueError, ConfigError) as error:
        problems.append(Problem(path, _first_words(error), incomplete=True))
        return INVALID


def _convert_field(value: Any, field: attrs.Attribute[Any], kind: Any, path: str, problems: list[Problem]) -> Any:
    """A field's value, checked by its validator as well, so that the problems of all fields are found."""
    table = field.metadata.get(KEYED)
    before = len(problems)
    result = convert(value, kind, path, problems) if table is None else _convert_keyed(value, table, path, problems)
    if len(problems) == before and field.validator is not None:
        try:
            field.validator(None, field, result)
        except (ValueError, ConfigError) as error:
            problems.append(Problem(path, _first_words(error)))
        except AttributeError:
            pass  # the validator looks at other fields: it runs again when the object is made
    return result


def _first_words(error: Exception) -> str:
    """The message alone: attrs' own validators put field and value behind it in the exception's arguments."""
    return str(error.args[0]) if error.args else str(error)
