"""Checks of a method without a network: entry point, hooks, settings and presets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import yaml

from udacore.config.convert import field_names, structure
from udacore.config.describe import settings_table
from udacore.config.dump import dump_config, to_plain, to_yaml
from udacore.config.files import parse_yaml
from udacore.config.presets import list_presets
from udacore.config.resolve import load_config
from udacore.config.schema import Config
from udacore.engine.preflight import try_optimizers
from udacore.errors import UdaError, list_names
from udacore.methods import discovery
from udacore.methods.discovery import Method, is_file
from udacore.options import HELP
from udacore.plugins import build_hooks, hook_names, hooks_of
from udacore.testing.checks.report import ContractError, flat
from udacore.testing.checks.subject import Subject, load_preset


def check_entry_point(subject: Subject) -> str:
    """The name is that of an installed entry point, claimed once, and what it names
    imports; a file imports."""
    try:
        return subject.imported.origin
    except UdaError as error:
        where = "; the entry point belongs under [project.entry-points.\"udacore.plugins\"] of an installed package"
        raise ContractError(flat(error) + ("" if is_file(str(subject.given)) else where)) from error


def check_api(subject: Subject) -> str:
    """`UDACORE_API`, where the method states it, is that of this core."""
    try:
        discovery.check_api(subject.imported)
    except UdaError as error:
        raise ContractError(flat(error)) from error
    stated = getattr(subject.imported.module, "UDACORE_API", None)
    return "UDACORE_API is not stated; that is allowed" if stated is None else f"version {stated} of the hooks"


def check_settings(subject: Subject) -> str:
    """Each setting has a default and a line of help, and the defaults come back from YAML as they were."""
    method = subject.method
    silent = silent_settings(method.settings)
    if silent:
        raise ContractError(f"settings without help: {list_names(silent)}; write option(default, 'what it does, and its unit')")
    try:
        default = method.settings()
    except TypeError as error:
        raise ContractError(f"Settings() does not work without arguments: {error}; give every option a default") from error
    _check_round_trip(default, "the default settings")
    return f"{len(attrs.fields(method.settings))} settings, each with a line of help"


def silent_settings(cls: type) -> list[str]:
    """Names of the settings without a line of help, also of those within settings."""
    own = [name for name, field in field_names(cls).items() if not field.metadata.get(HELP)]
    return list(dict.fromkeys([*own, *(row.name for row in settings_table(cls) if not row.help)]))


def check_hooks(subject: Subject) -> str:
    """Every function marked as a hook is one, asks for arguments that the hook has,
    and at least one is there."""
    method = subject.method
    try:
        build_hooks(method)
    except UdaError as error:
        raise ContractError(flat(error)) from error
    if not hooks_of(method):
        raise ContractError(f"plugin {method.name!r} implements none of {', '.join(hook_names())}; mark functions with @udacore.hookimpl")
    return ", ".join(hooks_of(method))


def _check_round_trip(settings: Any, where: str) -> None:
    try:
        back = structure(parse_yaml(to_yaml(to_plain(settings)), "settings"), type(settings))
    except (UdaError, TypeError, yaml.YAMLError) as error:
        said = f"{where} cannot be read back from YAML: {flat(error)}"
        raise ContractError(f"{said}; declare numbers, words, true and false, tuples, dicts, or attrs classes of these") from error
    for name, field in field_names(type(settings)).items():
        one, other = getattr(settings, field.name), getattr(back, field.name)
        if one != other:
            raise ContractError(f"{where}: {name} = {one!r} comes back from YAML as {other!r}; give the default the type that is declared")


def check_presets(subject: Subject) -> str:
    """Every preset of the method loads and reads back to the same complete configuration, and its
    optimisers take their options."""
    method = subject.method
    for preset in presets_of(method):
        try:
            config = load_preset(method, preset)
            for name, round in config.rounds.items():
                _check_round_trip(round.method, f"preset {preset!r}, round {name!r}: its settings")
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "config.yaml"
                file.write_text(dump_config(config))
                back = load_config(str(file), packages=(), method_settings=method.settings)
            check_optimizers(config)
        except UdaError as error:
            raise ContractError(f"preset {preset!r}: {flat(error)}") from error
        if not config.rounds:
            raise ContractError(f"preset {preset!r} has no rounds; write them under `rounds:`")
        if back != config:
            raise ContractError(f"preset {preset!r}: its complete configuration, as written to config.yaml, reads back to another one")
    try:
        check_optimizers(subject.whole)
    except UdaError as error:
        raise ContractError(flat(error)) from error
    return f"{list_names(presets_of(method), 12) or 'none of its own'}: each reads back the same, and its optimisers take their options"


def check_optimizers(config: Config) -> None:
    """ConfigError if an optimiser of a round does not exist or refuses its options,
    such as `momentum` for AdamW."""
    for name, round in config.rounds.items():
        try_optimizers(name, round)


def presets_of(method: Method) -> list[str]:
    """The presets that the method brings itself."""
    return list_presets(method.package) if method.package else []
