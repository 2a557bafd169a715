"""The complete configuration with a comment for each key, and tables of settings for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

import attrs
import yaml

from udacore.config.convert import field_names, field_types, keyed_class
from udacore.config.dump import to_plain, to_yaml
from udacore.config.problems import describe_type, join
from udacore.config.schema import Config, RoundConfig
from udacore.options import CHOICES, HELP, KEYED

WIDTH = 100


@attrs.frozen
class Setting:
    """A row of a table of settings, all in words: dotted name, type, default and help."""

    name: str
    type: str
    default: str
    help: str


def settings_table(cls: type, prefix: str = "") -> list[Setting]:
    """Every setting of a settings class with its dotted name; what a mapping's user names
    himself is written NAME."""
    rows = []
    for name, field in field_names(cls).items():
        kind, path = field_types(cls)[field.name], join(prefix, name)
        table, entry = field.metadata.get(KEYED), _entry_class(kind)
        if attrs.has(kind):
            rows += settings_table(kind, path)
        elif table is not None:
            for key, inner in table.items():
                rows += settings_table(inner, join(path, key)) or [_flag(join(path, key), inner)]
        elif entry is not None:
            rows += settings_table(entry, join(path, "NAME"))
        else:
            rows.append(Setting(path, _describe_values(field, kind), default_text(field), field.metadata.get(HELP, "")))
    return rows


def _describe_values(field: attrs.Attribute[Any], kind: Any) -> str:
    """The values that are possible, in words."""
    choices = field.metadata.get(CHOICES)
    return describe_type(kind) if choices is None else " or ".join(choices())


def default_text(field: attrs.Attribute[Any]) -> str:
    """A field's default as a user would write it; `required` if there is none."""
    if field.default is attrs.NOTHING:
        return "required"
    factory = getattr(field.default, "factory", None)
    value = factory() if callable(factory) else field.default
    try:
        return to_flow(to_plain(value))
    except yaml.YAMLError:  # a default of another type than the declared one; the contract's check of settings says so
        return repr(value)


def describe_config(config: Config) -> str:
    """The complete configuration as a file to start from, with help, type and default above each key.

    What the rounds have in common stands at the top, the rest under `rounds`; `load_config`
    makes an equal `Config` of it.
    """
    plain = {name: to_plain(entry) for name, entry in config.rounds.items()}
    shared = common(list(plain.values()))
    run = {name: to_plain(getattr(config, name)) for name in field_names(Config) if name != "rounds"}
    method = type(next(iter(config.rounds.values())).method)
    writer = _Writer(method)
    lines = ["# The whole run", "", *writer.lines(run, Config, 0)]
    lines += ["", "# All rounds, each of which may say otherwise", "", *writer.lines(shared, RoundConfig, 0)]
    lines += ["", "# The rounds, in order, and what each says otherwise", "rounds:"]
    for name, own in plain.items():
        changes = difference(shared, own)
        lines += [f"  {name}:", *writer.lines(changes, RoundConfig, 4)] if changes else [f"  {name}: {{}}"]
    return "\n".join(lines) + "\n"


def common(values: Sequence[Any]) -> Any:
    """What plain data of several rounds share: under it, `difference` of each gives back that round.

    Mappings with other keys, or in another order, share nothing, since merging never removes or reorders.
    """
    first = values[0]
    if all(value == first for value in values) and all(_order(value) == _order(first) for value in values):
        return first
    if not all(isinstance(value, Mapping) for value in values):
        return first
    if any(list(value) != list(first) for value in values):
        return {}
    return {key: common([value[key] for value in values]) for key in first}


def difference(shared: Any, own: Any) -> Any:
    """The part of `own` that merging must lay over `shared`; {} for mappings that are alike."""
    if not isinstance(shared, Mapping) or not isinstance(own, Mapping):
        return own
    changes = {}
    for key, value in own.items():
        if key not in shared:
            changes[key] = value
        elif value != shared[key] or _order(value) != _order(shared[key]):
            changes[key] = difference(shared[key], value)
    return changes


def to_flow(value: Any) -> str:
    """Plain data as YAML on one line."""
    return to_yaml([value], flow=True).strip()[1:-1]


class _Writer:
    """Writes settings as YAML lines, each key explained where it first comes up."""

    def __init__(self, method: type) -> None:
        self.method = method
        self.explained: set[tuple[type, str]] = set()

    def lines(self, data: Mapping[str, Any], cls: type, indent: int) -> Iterator[str]:
        """The given fields of a settings class."""
        for name, field in field_names(cls).items():
            if name in data:
                kind = self.method if (cls, name) == (RoundConfig, "method") else field_types(cls)[field.name]
                if (cls, name) not in self.explained:
                    self.explained.add((cls, name))
                    yield from _comment(field, kind, indent)
                yield from self._entry(name, data[name], kind, field.metadata.get(KEYED), indent)

    def _entry(self, name: str, value: Any, kind: Any, table: Mapping[str, type] | None, indent: int) -> Iterator[str]:
        space, entry_class = " " * indent, _entry_class(kind)
        if not isinstance(value, Mapping) or not value or not (attrs.has(kind) or table or entry_class):
            yield f"{space}{to_flow(name)}: {to_flow(value)}"
            return
        yield f"{space}{to_flow(name)}:"
        if attrs.has(kind):
            yield from self.lines(value, kind, indent + 2)
            return
        for key, entry in value.items():
            inner = keyed_class(table, key) if table else entry_class
            yield from self._entry(key, entry, inner, None, indent + 2)


def _comment(field: attrs.Attribute[Any], kind: Any, indent: int) -> list[str]:
    text = field.metadata.get(HELP, "")
    if not attrs.has(kind):
        table, default = field.metadata.get(KEYED), default_text(field)
        words = f"any of {', '.join(table)}" if table else _describe_values(field, kind)
        is_told = field.default is None and "default:" in text  # the help says what null stands for
        if not is_told and _entry_class(kind) is None:
            words += f"; {'' if field.default is attrs.NOTHING else 'default '}{default}"
        text += f" ({words})"
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent + "# ", subsequent_indent=" " * indent + "#   ", break_on_hyphens=False)


def _entry_class(kind: Any) -> Any:
    """The settings class of a mapping's values, if they have one."""
    arguments = get_args(kind)
    return arguments[1] if get_origin(kind) is dict and attrs.has(arguments[1]) else None


def _flag(path: str, cls: type) -> Setting:
    return Setting(path, "true", "off", " ".join((cls.__doc__ or "").partition("\n\n")[0].split()))


def _order(value: Any) -> Any:
    """The keys of nested mappings: equal mappings may still differ in their order,
    which counts for transforms."""
    return [(key, _order(inner)) for key, inner in value.items()] if isinstance(value, Mapping) else None

