"""Settings classes as plain data, and as YAML that reads back to the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs
import yaml

from udacore.config.convert import field_names
from udacore.config.files import Loader
from udacore.config.schema import Config


class Dumper(yaml.SafeDumper):
    """Safe YAML whose words and numbers are quoted wherever YAML 1.1 or `files.Loader` would take a
    text for something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *Loader.yaml_implicit_resolvers.get(first, [])]
        for first in {**yaml.SafeDumper.yaml_implicit_resolvers, **Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: a reader should not have to look for anchors."""
        return True


def to_plain(value: Any) -> Any:
    """Settings as mappings by the names they have in files, tuples as lists."""
    if attrs.has(type(value)):
        return {name: to_plain(getattr(value, field.name)) for name, field in field_names(type(value)).items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return value


def to_yaml(data: Any, flow: bool = False) -> str:
    """Plain data as YAML, keys in their order, the innermost mappings and lists (with
    `flow` all of it) on one line."""
    style = {"default_flow_style": True, "width": 10**9} if flow else {"default_flow_style": None, "width": 120}
    return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, **style))


def dump_config(config: Config) -> str:
    """The complete effective configuration; `load_config` makes an equal `Config` of it."""
    return to_yaml(to_plain(config))
