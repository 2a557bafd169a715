"""Configuration files: YAML read safely, `extends`, presets inside packages, and
`a.b=c` from the command line.

Everything here is plain data; `convert.py` gives it types and `resolve.py` gives it meaning.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from udacore.config.presets import find_preset, list_presets, plugin_of, split_preset
from udacore.config.problems import show
from udacore.errors import ConfigError
from udacore.places import find_place, is_dir, is_file

EXTENDS = "extends"
SUFFIXES = (".yaml", ".yml")
LARGEST_FILE = 2**22
"""Bytes of the largest configuration file; a larger one is something else, and is not read."""
MOST_VALUES = 100_000
"""Values of a YAML text with all aliases written out."""


class Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2: `1e-4` is a number, `no` and `off` are words, dates stay text.

    A key given twice is an error.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As PyYAML's, but the second of two equal keys is an error."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word or a number", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_document(self, node: yaml.Node) -> Any:
        """As PyYAML's, but anchors that contain themselves, or each other very often, are an error:
        nothing that reads the data would end."""
        if _count_values(node, {}) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_VALUES} values, with all aliases written out", node.start_mark)
        return self.construct_object(node, deep=True)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Decimal, also with leading zeros, or hexadecimal."""
        text = str(node.value)
        if len(text) > 40:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, 16) if "x" in text else int(text)


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many values a node stands for, aliases written out; one inside itself counts once here."""
    if id(node) not in counts:
        counts[id(node)] = 1
        if isinstance(node, yaml.MappingNode):
            inner = [each for pair in node.value for each in pair]
        else:
            inner = node.value if isinstance(node, yaml.SequenceNode) else []
        counts[id(node)] = 1 + sum(_count_values(each, counts) for each in inner)
    return counts[id(node)]


_RESOLVERS = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
]
for _tag, _pattern, _first in _RESOLVERS:
    _letters = ["" if letter == "\0" else letter for letter in _first]
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _letters)
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")
Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag.rpartition(":")[2] in _KINDS
}
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_integer)


def parse_yaml(text: str, where: str) -> Any:
    """The plain data of a YAML text; a ConfigError names the place in `where` with line and column."""
    try:
        return yaml.load(text, Loader)  # a SafeLoader: plain data only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: {' '.join((error.problem or 'broken YAML').split())}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: broken YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{where}: broken YAML: nested too deeply") from None


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`: mappings key by key in the order of `base`, everything else
    replaced; neither is changed.

    A null replaces too: it removes an entry or brings back a default when the data gets its types.
    """
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return copy.deepcopy(over)
    merged = dict(copy.deepcopy(base))
    for key, value in over.items():
        merged[key] = merge(base[key], value) if key in base else copy.deepcopy(value)
    return merged


def locate(argument: str, packages: Sequence[str], folder: Path | None = None) -> Path | Traversable:
    """A file (relative to `folder`, or `package:path`), if it exists or ends with .yaml or .yml; else
    the preset of that name."""
    if not argument.strip():
        raise ConfigError("an empty word names no configuration")
    path = find_place(argument)
    path = folder / path if folder is not None else path
    if is_file(path):
        return path
    if is_dir(path) and plugin_of(argument) is None and (argument.endswith(SUFFIXES) or not any(argument in list_presets(package) for package in packages)):
        inside = path / "config.yaml"
        raise ConfigError(f"{argument} is a folder, not a configuration file{f'; did you mean {inside}?' if inside.is_file() else ''}")
    if argument.endswith(SUFFIXES):
        raise ConfigError(f"the configuration file {path} does not exist")
    return find_preset(*split_preset(argument, packages))


def read_file(argument: str, packages: Sequence[str]) -> dict[str, Any]:
    """The plain data of a file or preset, laid over what it `extends` (a file beside
    it, or a preset's name)."""
    found = locate(argument, packages)
    return _read(found, packages if is_file(find_place(argument)) else split_preset(argument, packages)[1], ())


def read_yaml_text(file: Path | Traversable, where: str) -> str:
    """The text of a YAML file. ConfigError if it cannot be read, or is larger than 4
    MiB; then nothing is read."""
    try:
        size = file.stat().st_size if isinstance(file, Path) else 0
        if size > LARGEST_FILE:
            raise ConfigError(f"{where}: {size} bytes, no configuration has more than {LARGEST_FILE}")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def read_mapping(file: Path | Traversable) -> dict[str, Any]:
    """One YAML file whose top level is a mapping (or nothing at all)."""
    data = parse_yaml(read_yaml_text(file, str(file)), str(file))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: must be a mapping of settings, got {show(data)}")
    return data


def _read(file: Path | Traversable, packages: Sequence[str], above: tuple[str, ...]) -> dict[str, Any]:
    identity = _identity(file)
    if identity in above:
        raise ConfigError("files extend each other in a circle: " + " -> ".join((*above[above.index(identity) :], identity)))
    data = read_mapping(file)
    base = data.pop(EXTENDS, None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError(f"{file}: {EXTENDS}: must be a file or the name of a preset, got {show(base)}")
    folder = file.parent if isinstance(file, Path) else None
    packages = _from_owner(file, packages)
    # A method's preset may extend the core's of the same name, also through others of the core: one in
    # the chain is not meant.
    chain = (*above, identity)
    others = [name for name in packages if base not in list_presets(name) or _identity(find_preset(base, [name])) not in chain]
    is_elsewhere = any(base in list_presets(name) for name in others)
    packages = others if is_elsewhere or base == file.name.removesuffix(".yaml") else packages
    try:
        found = locate(base, packages, folder)
        packages = packages if plugin_of(base) is None else split_preset(base, packages)[1]
    except ConfigError as error:
        raise ConfigError(f"{file}: {EXTENDS}: {error}") from None
    merged: dict[str, Any] = merge(_read(found, packages, chain), data)
    return merged


def _from_owner(file: Path | Traversable, packages: Sequence[str]) -> Sequence[str]:
    """The packages that a file may mean: a preset knows those of its own package and of the ones behind
    it, so the core's knows no method's."""
    name, identity = file.name.removesuffix(".yaml"), _identity(file)
    for place, package in enumerate(packages):
        if name in list_presets(package) and _identity(find_preset(name, [package])) == identity:
            return packages[place:]
    return packages


def _identity(file: Path | Traversable) -> str:
    return str(file.resolve()) if isinstance(file, Path) else str(file)


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """`a.b=c` as its path and its value, which is read as YAML.

    >>> parse_override("source.transform.resize.size=[64, 32]")
    (('source', 'transform', 'resize', 'size'), [64, 32])
    """
    name, equals, value = text.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise ConfigError(f"{text!r} is no setting; write key=value, such as steps=100 or rounds.source.steps=100")
    return keys, parse_yaml(value, f"the value of {text!r}")


def override(data: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """`data` with `value` laid over what stands at the path; `true` and null on the
    way give way to mappings."""
    head, *rest = keys
    name = next((key for key in data if str(key) == head), head)  # a label map has numbers as keys
    result = dict(data)
    if rest:
        inner = data.get(name)
        value = override(inner if isinstance(inner, Mapping) else {}, rest, value)
        result[name] = value
    else:
        result[name] = merge(data.get(name), value)
    return result


def read_config(argument: str, overrides: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    """The plain data of a file or preset with the command line's overrides, in their order."""
    data = read_file(argument, packages)
    for keys, value in map(parse_override, overrides):
        data = override(data, keys, value)
    return data
