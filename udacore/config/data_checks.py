"""Checks of the settings of data sets and their samples beyond the type of each value."""

from __future__ import annotations

from collections.abc import Iterator

from udacore.config.problems import Problem
from udacore.config.schema import DataConfig, ExtraConfig, MarginConfig, RoundConfig
from udacore.config.sets import each_set
from udacore.config.transforms import Crop

FILE_SETTINGS = {"root": "root", "list": "list_", "except": "except_", "label_space": "label_space"}
"""Settings of a data set that name a file or folder -> their fields."""
EMPTY = "must be the name of a file or folder, or null, got an empty text"


def check_names(config: RoundConfig) -> Iterator[Problem]:
    """No file or folder has an empty name, which would else mean the working folder."""
    sets: dict[str, DataConfig] = {**each_set("source", config.source), **each_set("target", config.target)}
    sets |= {f"evaluate.{name}": settings for name, settings in config.evaluate.items()}
    for place, settings in sets.items():
        for key, field in FILE_SETTINGS.items():
            if is_blank(getattr(settings, field)):
                yield Problem(f"{place}.{key}", EMPTY)
        for name, extra in getattr(settings, "extras", {}).items():
            if not name.isidentifier():
                yield Problem(f"{place}.extras", f"{name!r} is no name of a map: letters, digits and _, no digit first")
            yield from check_extra(f"{place}.extras.{name}", extra)


def check_extra(path: str, extra: ExtraConfig) -> Iterator[Problem]:
    """A further map is read from a folder, or it is made of margins."""
    is_made, given = extra.kind == "margins", extra.margins != MarginConfig()
    if is_blank(extra.folder):
        yield Problem(f"{path}.folder", EMPTY)
    elif is_made and extra.folder is not None:
        yield Problem(f"{path}.folder", "is not for kind: margins, which is made without files")
    elif not is_made and extra.folder is None:
        yield Problem(f"{path}.folder", f"is needed for kind: {extra.kind}; margins alone are made without files")
    if is_made and not given:
        yield Problem(f"{path}.margins", "must be above 0 at one edge at least, such as {bottom: 240}")
    elif given and not is_made:
        yield Problem(f"{path}.margins", f"is for kind: margins, got kind: {extra.kind}")


def is_blank(word: str | None) -> bool:
    """Whether a word was given that names nothing."""
    return word is not None and not word.strip()


def check_target_crops(config: RoundConfig) -> Iterator[Problem]:
    """No crop of a target without pseudo labels depends on its labels."""
    if config.target.labels.strip() != "none":
        return
    for place, entry in each_set("target", config.target).items():
        for name, step in entry.transform.items():
            if isinstance(step, Crop) and step.max_share is not None:
                yield Problem(f"{place}.transform.{name}.max_share", "needs labels, and target.labels is none; possible: null")


def check_sampler(config: RoundConfig) -> Iterator[Problem]:
    """A crop can hold what `rare_class` asks of it."""
    for place, entry in {**each_set("source", config.source), **each_set("target", config.target)}.items():
        sampler, crops = entry.sampler, [step for step in entry.transform.values() if isinstance(step, Crop)]
        if sampler.min_crop_ratio is None:
            continue
        path = f"{place}.sampler.min_crop_ratio"
        if sampler.name != "rare_class":
            yield Problem(path, f"is for rare_class, got {sampler.name}")
        wanted, area = sampler.min_pixels * sampler.min_crop_ratio, min((step.size[0] * step.size[1] for step in crops), default=None)
        if area is not None and wanted >= area:
            yield Problem(path, f"asks for more than {wanted:g} pixels of a class, and a crop has {area}; possible: below {area / sampler.min_pixels:g}")
