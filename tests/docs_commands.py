"""Commands and configuration files as documents show them, and whether what they name exists."""

from __future__ import annotations

import copy
import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click
import yaml

from udacore.cli import uda
from udacore.cli.arguments import read_run, split_words
from udacore.config.convert import field_names
from udacore.config.describe import settings_table
from udacore.config.files import EXTENDS, parse_override
from udacore.config.schema import Config, RoundConfig
from udacore.methods.discovery import is_file, list_plugins, load_plugin

PATTERNS = {row.name for row in settings_table(Config)} | {row.name for row in settings_table(RoundConfig)}
LABEL_SPACE_KEYS = {"name", "classes", "colors", "ids"}


@functools.cache
def all_commands() -> dict[tuple[str, ...], click.Command]:
    """Every command by the words that call it."""

    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                yield from walk(inner, (*path, name))

    return dict(walk(uda, ("uda",)))


def find_lines(page: str) -> list[str]:
    """The calls of `uda` in a page's blocks of code and between its backticks."""
    page = page.replace("\\\n", " ")
    blocks = re.findall(r"^(```+)\w*\n(.*?)^\1$", page, re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for _, block in blocks for line in block.split("\n")]
    prose = re.sub(r"^(```+).*?^\1$", "", page, flags=re.DOTALL | re.MULTILINE)
    lines += [line.strip() for line in prose.split("\n") if line.startswith("    ")]
    lines += [" ".join(code.split()) for code in re.findall(r"(?<![}`])`([^`]+)`", prose)]
    return [line for line in lines if re.match(r"(uda |torchrun .*-m udacore )", line)]


def find_examples(help: str) -> list[str]:
    """The calls of `uda` in the help of a command."""
    lines = [line.strip() for line in help.replace("\\\n", " ").split("\n")]
    return [line for line in lines if re.match(r"(uda [a-z]|torchrun .*-m udacore )", line)]


def expand(word: str) -> list[str]:
    """What a shell makes of names in braces, as in `evaluate.{target,selection}.root=/data`."""
    found = re.search(r"\{([\w-]+(?:,[\w-]+)+)\}", word)
    if found is None:
        return [word]
    return [each for name in found[1].split(",") for each in expand(word[: found.start()] + name + word[found.end() :])]


def check_line(line: str) -> None:
    """Raise if the command, an option, a preset or a setting of a call does not exist."""
    words = [each for word in shlex.split(line, comments=True) for each in expand(word)]
    words = words[words.index("udacore") + 1 :] if words[0] == "torchrun" else words[1:]
    if ">" in words:
        words = words[: words.index(">")]
    commands = all_commands()
    path: tuple[str, ...] = ("uda",)
    while words and (*path, words[0]) in commands:
        path = (*path, words.pop(0))
    command = commands[path]
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0].isupper():  # such as COMMAND
            return
        raise click.UsageError(f"no command {words[0]!r}")
    command = copy.copy(command)  # click keeps the help option of its first context, and this one has no -h
    context = click.Context(command, info_name=" ".join(path))
    given, _, _ = command.make_parser(context).parse_args([word.replace("$seed", "1") for word in words])
    known = {name: value for name, value in given.items() if isinstance(value, str | bool | tuple | list)}
    check_words(path, known, tuple(word for value in known.values() if isinstance(value, tuple | list) for word in value))


def check_words(path: tuple[str, ...], given: Mapping[str, Any], words: tuple[str, ...]) -> None:
    """Raise unless each `key=value` names a setting, and the whole is a configuration
    if it rests on presets alone."""
    plugin = given.get("plugin")
    changes = tuple(word for word in words if "=" in word and not word.startswith("-"))
    for keys, value in map(parse_override, changes):
        if path == ("uda", "data", "check") and given.get("dataset"):
            keys = keys if keys[0] == "label_space" else ("source", *keys)
        check_setting(keys, value, None if plugin is None or is_file(plugin) else plugin)
    if path in (("uda", "run"), ("uda", "config")) and (plugin is None or plugin in {found.name for found in list_plugins()}):
        argument = split_words(words)[0]
        if argument is None or not argument.endswith(".yaml"):
            read_run(plugin, words)


def check_setting(keys: tuple[str, ...], value: Any, plugin: str | None) -> None:
    """Raise ValueError unless a dotted path, with the mapping that lies there, names settings."""
    if isinstance(value, Mapping) and value and not is_setting(keys):
        for key, inner in value.items():
            check_setting((*keys, str(key)), inner, plugin)
        return
    own = keys[2:] if keys[0] == "rounds" else keys
    if own[:1] == ("method",):
        possible = field_names(load_plugin(plugin).settings) if plugin is not None else None
        if possible is not None and len(own) > 1 and own[1] not in possible:
            raise ValueError(f"{'.'.join(keys)}: no setting of {plugin}")
    elif not is_setting(keys) and not (value in (None, {}, True) and is_above(keys)):
        raise ValueError(f"{'.'.join(keys)}: no setting has this name")


def is_setting(keys: tuple[str, ...]) -> bool:
    """Whether a path names a setting, or something inside one whose value is a free mapping."""
    return any(matches(keys, pattern.split(".")) and len(keys) >= len(pattern.split(".")) for pattern in PATTERNS)


def is_above(keys: tuple[str, ...]) -> bool:
    """Whether settings lie below a path, so that null or an empty mapping may stand there."""
    return any(matches(keys, pattern.split(".")) for pattern in PATTERNS)


FREE = {"options", "groups", "label_map", "weights", "initial", "method"}
"""Settings whose value may be a mapping with any keys."""


def matches(keys: tuple[str, ...], pattern: list[str]) -> bool:
    """Whether a path agrees with a pattern as far as both go; only free mappings go
    further than their pattern."""
    if len(keys) > len(pattern) and pattern[-1] not in FREE:
        return False
    pairs = zip(keys, pattern, strict=False)
    return all(wanted == "NAME" or key == wanted or ("transform" in keys and key.partition("-")[0] == wanted) for key, wanted in pairs)


def check_file(text: str) -> None:
    """Raise ValueError unless a YAML text names settings only (or is a file of classes)."""
    content = yaml.safe_load(text)
    if "classes" in content:
        if set(content) - LABEL_SPACE_KEYS:
            raise ValueError(f"no setting of a label space: {sorted(set(content) - LABEL_SPACE_KEYS)}")
        return
    for key, value in content.items():
        if key != EXTENDS:
            check_setting((str(key),), value, content.get("plugin"))
