"""Arguments that several commands share: a method, a configuration, and overrides."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from udacore.cli.words import refuse_empty
from udacore.config.files import read_config
from udacore.config.resolve import load_config, partial_overrides, peek_plugin
from udacore.config.schema import Config
from udacore.engine.files.run_folder import RunFolder
from udacore.errors import ConfigError
from udacore.methods.discovery import Method, load_plugin
from udacore.places import expand, is_file

Command = TypeVar("Command", bound=Callable[..., Any])
PLUGIN_HELP = "Method: an installed plugin or a Python file. [default: what CFG says, else source-only]"


def run_arguments(command: Command) -> Command:
    """Gives a command the arguments `plugin` and `words`, which `read_run` understands."""
    words = click.argument("words", nargs=-1, metavar="[CFG] [KEY=VALUE]...")
    return click.option("--plugin", "-p", metavar="NAME|FILE", help=PLUGIN_HELP)(words(command))


def split_words(words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The configuration (the word that is no `key=value`), or None, and the overrides in their order.

    ConfigError for an empty word, UsageError for two configurations.
    """
    for word in words:
        refuse_empty(word, "CFG")
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
    found = peek_plugin(argument, overrides) if plugin is None else plugin
    name = "source-only" if found is None else found  # an empty word is a slip, such as an unset variable, and no default
    method = load_plugin(name)
    changes = [*overrides, f"plugin={json.dumps(name)}"]
    return method, load_config(argument, changes, packages=method.packages, method_settings=method.settings)


def note_partial(method: Method, words: Sequence[str]) -> list[str]:
    """A line for each override of a command line that reaches only some rounds."""
    argument, overrides = split_words(words)
    return partial_overrides(argument, [*overrides, f"plugin={json.dumps(method.name)}"], packages=method.packages)


def open_run(run_or_config: str, overrides: tuple[str, ...], plugin: str | None, checkpoint: Path | None) -> tuple[Method, Config, Path | None]:
    """Method and configuration of a finished run, or of a preset or file that goes with a checkpoint; and the
    run's folder, if it is one.

    Raises ConfigError where it is neither, and what `read_run` raises.
    """
    folder = expand(refuse_empty(run_or_config, "RUN_OR_CONFIG"))
    is_run = is_file(RunFolder(folder).config)
    if not is_run and checkpoint is None:
        raise ConfigError(f"{run_or_config}: no run folder (it has no config.yaml); give one, or a preset with --checkpoint FILE")
    words = (str(RunFolder(folder).config) if is_run else run_or_config, *_spread(overrides, is_run, folder))
    return *read_run(plugin, words), folder if is_run else None


def _spread(overrides: tuple[str, ...], is_run: bool, folder: Path) -> tuple[str, ...]:
    """A run's config.yaml spells out every round, so that `evaluate.x=y` must be said for each of them."""
    if not is_run:
        return overrides
    content = read_config(str(RunFolder(folder).config), (), ())
    rounds = list(content.get("rounds", {}))
    shared = {"seed", "device", "threads", "amp", "channels_last", "compile", "workers", "deterministic"}
    result = []
    for text in overrides:
        if text.split(".")[0] == "rounds" or text.split("=")[0] in shared:
            result.append(text)
        else:
            result.extend(f"rounds.{name}.{text}" for name in rounds)
    return tuple(result)
