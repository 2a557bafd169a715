"""Memory that a configuration takes, estimated from its settings before it is taken.

Every figure is a lower bound: a configuration that passes may still need more.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from udacore import ranks
from udacore.config.schema import Config, DataConfig, EvaluationConfig, RoundConfig
from udacore.config.sets import each_set
from udacore.config.transforms import Crop, Resize
from udacore.datasets import get_dataset
from udacore.errors import ConfigError
from udacore.labels import get_label_space

Size = tuple[int, int]
FLOAT = 4
PIXEL = 3 * FLOAT
"""Bytes of a pixel of a network's input. Labels, activations and gradients come on top."""
DRAWN = 80
"""Bytes of a pixel while an image of the embedded domains is drawn, at twice its width and height;
86 to 200 were measured."""
WORKER = 10 * 2**20
"""Bytes that a worker process has for itself before it has read an image; 11 MB were measured."""
AHEAD = 2
"""Batches that a worker keeps ready: torch's `prefetch_factor`."""
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@attrs.frozen
class Claim:
    """Bytes that the setting at `place` makes a run take, `what` in words, and which
    setting to change instead."""

    place: str
    what: str
    bytes: int
    advice: str


def check_memory(config: Config) -> None:
    """ConfigError for settings whose images or processes alone are more than the memory; it
    names them and the bytes."""
    for name, settings in config.rounds.items():
        claims = [*training_claims(settings, config.workers), *labelling_claims(settings), *scoring_claims(settings)]
        refuse(f"rounds.{name}.", claims)


def check_scoring(config: Config, name: str) -> None:
    """ConfigError where the protocol of an evaluation set of round `name` needs more than the memory."""
    refuse(f"rounds.{name}.", scoring_claims(config.rounds[name]))


def check_protocol(protocol: EvaluationConfig, place: str, classes: int) -> None:
    """ConfigError where a protocol needs more than the memory for any image, whatever its size."""
    refuse("", protocol_claims(place, protocol, classes))


def refuse(where: str, claims: Iterable[Claim]) -> None:
    """ConfigError for the first claim of more than the memory, if that is known."""
    memory = machine_memory()
    for claim in claims if memory is not None else ():
        if claim.bytes > memory:  # type: ignore[operator]
            place = claim.place if claim.place == "workers" else f"{where}{claim.place}"
            said = f"{claim.what} take {claim.bytes} bytes, and there are {memory} bytes of memory"
            raise ConfigError(f"{place}: {said}; {claim.advice}")


def training_claims(config: RoundConfig, workers: int) -> Iterator[Claim]:
    """Of both streams of a round: worker processes, images that are drawn, batches that are kept ready."""
    processes = workers * len(config.draws)
    yield Claim("workers", f"{processes} processes that read images", processes * WORKER, "take fewer")
    batch = max(1, config.batch // (config.accumulation * ranks.size()))
    ready = AHEAD * workers
    if isinstance(config.steps, int):
        ready = min(ready, config.steps * config.accumulation)
    for domain in config.draws:
        entry = config.source if domain == "source" else config.target
        entries = each_set(domain, entry)
        for place, own in entries.items():
            yield from drawing_claims(place, own, max(1, workers))
        place, own = next(iter(entries.items()))  # all sets of a domain have one size
        if fixed := last_size(own.transform):
            count = batch * max(1, ready)
            kept = f", in {ready} batches that {workers} workers keep ready," if ready else ""
            what, advice = f"{pictures(count, fixed[1])}{kept}", "make them smaller or fewer (batch, workers)"
            yield Claim(f"{place}.transform.{fixed[0]}.size", what, count * area(fixed[1]) * PIXEL, advice)


def drawing_claims(place: str, entry: DataConfig, at_once: int) -> Iterator[Claim]:
    """Of images that are drawn, which `at_once` processes draw."""
    if get_dataset(entry.dataset).has_own_size:
        what = f"{at_once} drawing{'s' * (at_once > 1)} of {entry.image_size[0]} x {entry.image_size[1]}"
        advice = "make them smaller" + (", or take fewer workers" if at_once > 1 else "")
        yield Claim(f"{place}.image_size", what, at_once * area(entry.image_size) * DRAWN, advice)


def labelling_claims(config: RoundConfig) -> Iterator[Claim]:
    """Of the core's pseudo labels, which are made one image at a time."""
    settings = config.pseudo_labels
    if settings.size is not None:
        classes = len(get_label_space(config.label_space).classes)
        count = 2 if settings.flip else 1
        what = f"{pictures(count, settings.size)} and {classes} class maps of each"
        yield Claim("pseudo_labels.size", what, count * area(settings.size) * (PIXEL + FLOAT * classes), "make it smaller")


def scoring_claims(config: RoundConfig) -> Iterator[Claim]:
    """Of all evaluation sets of a round."""
    classes = len(get_label_space(config.label_space).classes)
    for name, entry in config.evaluate.items():
        yield from drawing_claims(f"evaluate.{name}", entry, 1)
        own = entry.image_size if get_dataset(entry.dataset).has_own_size else None
        yield from protocol_claims(f"evaluate.{name}", entry, classes, own)


def protocol_claims(place: str, entry: EvaluationConfig, classes: int, own: Size | None = None) -> Iterator[Claim]:
    """Of a batch that is scored: its input at each scale, with its class maps at that size
    where a window slides over it.

    own  width and height of the images, where they are known; class maps of that size are made, too
    """
    size = entry.size or own
    count = min(entry.batch, entry.count or entry.batch) * (2 if entry.flip else 1)
    if own is not None:
        what = f"{classes} class maps of {pictures(count, own)}"
        yield Claim(f"{place}.batch", what, count * area(own) * FLOAT * classes, "make the batch smaller")
    if entry.window is not None and entry.window_batch > 1:
        side = entry.window if size is None else (min(entry.window[0], size[0]), min(entry.window[1], size[1]))
        windows = 1 if size is None else entry.window_batch
        what = f"{pictures(count * windows, side)} and {classes} class maps of each, windows of one forward,"
        yield Claim(f"{place}.window_batch", what, count * windows * area(side) * (PIXEL + FLOAT * classes), "take fewer")
    for scale in entry.scales if size is not None else ():
        scaled = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))  # type: ignore[index]
        maps = FLOAT * classes if entry.window is not None else 0
        what = pictures(count, scaled) + (f" and {classes} class maps of each" if maps else "")
        setting = "size" if scale == 1 else "scales"
        yield Claim(f"{place}.{setting}", what, count * area(scaled) * (PIXEL + maps), "make them smaller or fewer (batch)")


def pictures(count: int, size: Size) -> str:
    """Images of one size in words."""
    return f"{count} image{'s' * (count != 1)} of {size[0]} x {size[1]} as float32"


def area(size: Size) -> int:
    """Pixels."""
    return size[0] * size[1]


def last_size(transform: Mapping[str, Any]) -> tuple[str, Size] | None:
    """Name and size of the last step that gives every image one size; None where a later step changes it."""
    found: tuple[str, Size] | None = None
    for name, step in transform.items():
        if isinstance(step, Resize | Crop):
            found = name, step.size
        elif name.partition("-")[0] in ("scale", "resize_short_side", "resize_within"):
            found = None
    return found


def machine_memory() -> int | None:
    """Bytes of memory that this process may take: of the machine, its container or its
    limit; None where nobody tells."""
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # `max` where there is no limit
            found.append(int(Path(file).read_text()))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*found, *([limit] if limit != resource.RLIM_INFINITY else [])], default=None)
