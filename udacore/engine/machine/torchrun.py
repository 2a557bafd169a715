"""The environment variables of torchrun, checked before they are used."""

from __future__ import annotations

import os

from udacore.config.problems import show
from udacore.errors import ConfigError, list_names


def read_number(name: str, default: int, least: int = 0) -> int:
    """A whole number from the environment. ConfigError for a word."""
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise ConfigError(f"the environment variable {name} must be a whole number, {least} or more, got {show(text)}")
    return int(text)


def count_processes() -> int:
    """WORLD_SIZE, 1 without it. ConfigError where it, or what torchrun sets beside it, is
    missing or means nothing."""
    count = read_number("WORLD_SIZE", 1, 1)
    if count > 1:
        missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if missing:
            raise ConfigError(f"WORLD_SIZE is {count}, but {list_names(missing, most=4)} is not set; begin with torchrun, or unset WORLD_SIZE")
        if read_number("RANK", 0) >= count:
            raise ConfigError(f"RANK is {os.environ['RANK']}, but WORLD_SIZE is {count}; ranks count from 0")
        if not 0 < read_number("MASTER_PORT", 0) < 2**16:
            raise ConfigError(f"MASTER_PORT must be a port from 1 to 65535, got {os.environ['MASTER_PORT']}")
    return count
