"""Checks of the settings of images that are not RGB of 8 bits."""

from __future__ import annotations

from collections.abc import Iterator

from udacore.config.problems import Problem
from udacore.config.schema import RoundConfig, SetConfig, SourceConfig, TargetConfig

RGB, RGB_BITS = 3, 8
OF_RGB = ("jitter", "grey", "streets_jitter")
"""Transforms of colours of 8 bits."""


def check_channels(config: RoundConfig) -> Iterator[Problem]:
    """Images of other than three channels, or of 16 bits, are normalised channel by channel, and nothing handles them as
    colours."""
    channels, pixels = config.model.channels, config.pixels
    for key in ("mean", "std"):
        if len(getattr(pixels, key)) != channels:
            yield Problem(f"pixels.{key}", f"has {len(getattr(pixels, key))} numbers, and model.channels is {channels}")
    if channels == RGB and pixels.bits == RGB_BITS:
        return
    images = f"images of {channels} channels and {pixels.bits} bits"
    if channels != RGB and pixels.order != "rgb":
        yield Problem("pixels.order", f"{pixels.order!r} is an order of three channels, and model.channels is {channels}")
    entries: dict[str, SourceConfig | TargetConfig | SetConfig] = {"source": config.source, "target": config.target}
    for place in ("source", "target"):
        entries |= {f"{place}.sets.{name}": entry for name, entry in getattr(config, place).sets.items()}
    for place, entry in entries.items():
        for name in OF_RGB:
            if entry.transform.get(name) is not None and place.partition(".")[0] in config.draws:
                yield Problem(f"{place}.transform.{name}", f"changes RGB colours of 8 bits, and these are {images}; possible: null")
    if channels != RGB and config.source.images != "own":
        yield Problem("source.images", f"replacements are RGB, and these are {images}")
