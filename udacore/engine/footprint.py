"""What a batch would take of the machine's memory, from the settings alone: said before it is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from udacore import ranks
from udacore.config.schema import Config, RoundConfig
from udacore.config.transforms import Crop, Resize
from udacore.errors import ConfigError

BYTES = 12
"""Of a pixel of a network's input: three float32. Labels, activations and gradients come on top."""


def check_memory(config: Config) -> None:
    """ConfigError for a batch whose pictures alone are more than the machine's memory; it names the settings that make it so."""
    memory = machine_memory()
    if memory is None:
        return
    for name, settings in config.rounds.items():
        for place, batch, (width, height) in inputs(settings):
            taken = batch * width * height * BYTES
            if taken > memory:
                counted = f"{batch} picture{'s' * (batch != 1)} of {width} x {height} as float32"
                have = f"this machine has {memory} bytes of memory"
                raise ConfigError(f"rounds.{name}.{place}: {counted} take {taken} bytes, and {have}; make them smaller or fewer (batch)")


def inputs(config: RoundConfig) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Setting that gives the size, pictures at a time of one process, and their width and height, where settings fix these."""
    batch = max(1, config.batch // (config.accumulation * ranks.size()))
    for domain in config.draws:
        transform = (config.source if domain == "source" else config.target).transform
        if fixed := last_size(transform):
            yield f"{domain}.transform.{fixed[0]}.size", batch, fixed[1]
    for name, settings in config.evaluate.items():
        if settings.size is not None and settings.window is None:
            yield f"evaluate.{name}.size", settings.batch, settings.size


def last_size(transform: Mapping[str, Any]) -> tuple[str, tuple[int, int]] | None:
    """Name and size of the last step that gives every picture one size; None where a later step changes it."""
    found: tuple[str, tuple[int, int]] | None = None
    for name, step in transform.items():
        if isinstance(step, Resize | Crop):
            found = name, step.size
        elif name.partition("-")[0] in ("scale", "resize_short_side"):
            found = None
    return found


def machine_memory() -> int | None:
    """Bytes of the machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
