"""What several commands take alike: a method, a configuration and changes to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from udacore.config.resolve import CORE, load_config, peek_plugin
from udacore.config.schema import Config
from udacore.discovery import Method, load_plugin

Command = TypeVar("Command", bound=Callable[..., Any])
PLUGIN_HELP = "Method: an installed plugin or a Python file. [default: what CFG says, else source-only]"


def run_arguments(command: Command) -> Command:
    """Gives a command the arguments `plugin` and `words`, which `read_run` understands."""
    words = click.argument("words", nargs=-1, metavar="[CFG] [KEY=VALUE]...")
    return click.option("--plugin", "-p", metavar="NAME|FILE", help=PLUGIN_HELP)(words(command))


def split_words(words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The configuration (the word that is no `key=value`), or None, and the overrides in their order."""
    changes = [word for word in words if "=" in word and "/" not in word.partition("=")[0]]  # runs/a=b/config.yaml is a file
    files = [word for word in words if word not in changes]
    if len(files) > 1:
        raise click.UsageError(f"only one configuration is possible, got {' and '.join(map(repr, files))}; changes are written key=value")
    return (files[0] if files else None), tuple(changes)


def read_run(plugin: str | None, words: Sequence[str]) -> tuple[Method, Config]:
    """The method and the complete configuration that a command line asks for.

    The method is the one of `--plugin`, of `plugin=`, or of the file, in this order; else `source-only`.
    Raises ConfigError, PluginError and click's UsageError.
    """
    argument, overrides = split_words(words)
    name = plugin or peek_plugin(argument, overrides) or "source-only"
    method = load_plugin(name)
    packages = (CORE,) if method.package in (None, CORE) else (method.package, CORE)
    changes = [*overrides, f"plugin={json.dumps(name)}"]
    return method, load_config(argument, changes, packages=packages, method_settings=method.settings)
