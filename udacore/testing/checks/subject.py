"""The method under test and a configuration that runs in seconds."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from udacore.config.counts import parse_count
from udacore.config.presets import list_presets
from udacore.config.resolve import STREETS, default_preset, load_config
from udacore.config.schema import Config, DataConfig, EvaluationConfig, ExtraConfig, MarginConfig, RoundConfig, SamplerConfig
from udacore.config.transforms import ResizeShortSide
from udacore.errors import UdaError, list_names
from udacore.methods.discovery import Method, check_api, import_plugin, is_file, settings_class
from udacore.options import MethodSettings
from udacore.testing.checks.builds_on import find_base_with_streets
from udacore.testing.checks.report import ContractError

IMAGE_SIZE = (64, 32)
STEPS = 2
TRAIN, SCORED = 4, 2


class Subject:
    """A method on trial.

    given      name of its entry point, path of a .py file, a `Method`, or the module or
               object that holds its hooks
    preset     preset or file whose rounds are tried; None: the method's `streets`, else that of the method
               that it builds on, else the core's `streets-adapt`
    overrides  changes to it, as on the command line
    image_size (width, height) of the images

    Nothing is loaded before it is asked for, so that what is wrong is said by the check that looks at it.
    """

    def __init__(self, given: Any, *, preset: str | None = None, overrides: Sequence[str] = (), image_size: tuple[int, int] = IMAGE_SIZE) -> None:
        self.given = given
        self.preset = preset
        self.overrides = tuple(overrides)
        self.image_size = image_size

    @functools.cached_property
    def imported(self) -> Method:
        """The method before a look at its version of the hooks and its settings;
        PluginError if it does not import."""
        return import_method(self.given)

    @functools.cached_property
    def method(self) -> Method:
        """The method, loaded; PluginError if it is unknown, broken or written for other hooks."""
        return load_method(self.given)

    @functools.cached_property
    def whole(self) -> Config:
        """The configuration as its preset and the overrides say."""
        return self._load(self.chosen[0], self.overrides)

    @functools.cached_property
    def chosen(self) -> tuple[str, str]:
        """The preset or file that is tried, as `load_config` takes it, and in words: whose it is, and why."""
        method, own = self.method, self.method.packages[:-1]
        if self.preset is not None:
            is_own = any(self.preset in list_presets(package) for package in own)
            return self.preset, f"{method.name}/{self.preset}" if is_own else self.preset
        default = default_preset(method.packages, [(("plugin",), method.name)])
        if default == STREETS and own:
            return default, f"{method.name}/{default}"
        base = find_base_with_streets(method) if default != STREETS else None
        if base is not None:
            with contextlib.suppress(UdaError):  # the settings of this method need not be those of the other
                self._load(f"{base}/{STREETS}", ())
                return f"{base}/{STREETS}", f"{base}/{STREETS}, since {method.name} has none and builds on {base}"
        return default, f"{default} of the core"

    @property
    def tried(self) -> str:
        """The preset that is tried, in words, and the changes to it."""
        changes = f", with {list_names(self.overrides, most=6)}" if self.overrides else ""
        return self.chosen[1] + changes

    def _load(self, preset: str, overrides: Sequence[str]) -> Config:
        plugin = str(self.given) if isinstance(self.given, str | Path) else None
        return load_preset(self.method, preset, overrides, plugin=plugin)

    @functools.cached_property
    def config(self) -> Config:
        """The same on a few small images of the embedded domains, with two steps in every round."""
        return shrink(self.whole, self.image_size)

    def reference(self) -> tuple[str, str]:
        """How another process finds the method: `plugin` and what `--plugin` takes, or
        `module` and `module:object`."""
        if isinstance(self.given, str | Path):
            word = str(self.given)
            return "plugin", str(Path(word).resolve()) if is_file(word) else word
        method = self.method
        if method.distribution is not None:
            return "plugin", method.name
        if is_file(method.origin) and Path(method.origin).is_file():
            return "plugin", str(Path(method.origin).resolve())
        if inspect.ismodule(method.module):
            return "module", method.module.__name__
        name = getattr(method.module, "__qualname__", None)
        if name and "<" not in name:
            return "module", f"{method.module.__module__}:{name}"
        raise ContractError(f"plugin {method.name!r}: {method.module!r} cannot be found by another process; set `method` to a name or a .py file")


def load_method(given: Any) -> Method:
    """The method that an author names: by entry point, file, `Method`, module or
    object. Raises PluginError."""
    if isinstance(given, Method):
        return given
    found = import_method(given)
    check_api(found)
    return attrs.evolve(found, settings=settings_class(found))


def import_method(given: Any) -> Method:
    """The first half of `load_method`: without a look at what was imported."""
    if isinstance(given, Method):
        return given
    if isinstance(given, str | Path):
        return import_plugin(str(given))
    name = getattr(given, "__name__", type(given).__name__).rpartition(".")[2]
    package = given.__spec__.parent or None if inspect.ismodule(given) and given.__spec__ is not None else None
    return Method(name=name, module=given, settings=MethodSettings, package=package, distribution=None, version=None, origin=repr(given))


def load_preset(method: Method, preset: str | None, changes: Sequence[str] = (), *, plugin: str | None = None) -> Config:
    """The complete configuration of a preset or file, with changes as on the command line;
    `plugin` is what names the method."""
    words = (*changes, f"plugin={json.dumps(plugin or method.name)}")
    return load_config(preset, words, packages=method.packages, method_settings=method.settings)


def shrink(config: Config, image_size: tuple[int, int] = IMAGE_SIZE) -> Config:
    """A configuration cut down to what a processor does in seconds, whatever the method.

    Every round takes two steps (none where it takes none) of two images a micro-batch, from four images of
    each embedded domain, and is scored on two. Everything else stays: losses, parts, optimisers, overlays,
    and the method's settings.
    """
    rounds = {name: _shrink_round(entry, image_size) for name, entry in config.rounds.items()}
    return attrs.evolve(
        config, rounds=rounds, name="contract", device="cpu", threads=1, workers=0, amp="off", compile=False, channels_last=False,
        deterministic=False, tensorboard=False, log_every=1, save_every=1, control=False,
    )  # fmt: skip


def _shrink_round(config: RoundConfig, image_size: tuple[int, int]) -> RoundConfig:
    steps = STEPS if parse_count(config.steps).number else 0
    source, target = (_shrink_domain(entry, image_size) for entry in (config.source, config.target))
    images = math.lcm(2, max(1, len(source.sets)), max(1, len(target.sets)))
    pseudo_labels = attrs.evolve(config.pseudo_labels, size=_within(config.pseudo_labels.size, image_size))
    return attrs.evolve(
        config, steps=steps, batch=images * config.accumulation, source=source, target=target, pseudo_labels=pseudo_labels, label_space="streets",
        evaluate={name: _shrink_evaluation(entry, image_size) for name, entry in config.evaluate.items()},
        initial="random", initial_sha256=None,
    )  # fmt: skip


def _shrink_domain(entry: Any, image_size: tuple[int, int]) -> Any:
    small = attrs.evolve(_shrink_data(entry, image_size, TRAIN), **_shrink_stream(entry, image_size))
    sets = {name: attrs.evolve(_shrink_domain(own, image_size), share=None) for name, own in getattr(entry, "sets", {}).items()}
    return attrs.evolve(small, sets=sets) if sets else small


OF_FILES = ("root", "list_", "except_", "label_space", "label_map", "label_colours", "label_channel")
"""Settings of files, which drawn images do not have."""


def _shrink_data(entry: Any, image_size: tuple[int, int], count: int) -> Any:
    defaults = {field.name: field.default for field in attrs.fields(DataConfig) if field.name in OF_FILES}
    return attrs.evolve(entry, dataset="streets", count=count, image_size=image_size, **defaults)


def _shrink_stream(entry: Any, image_size: tuple[int, int]) -> dict[str, Any]:
    """Transforms no larger than the images, and samplers that find something in them."""
    sampler: SamplerConfig = entry.sampler
    most = min(image_size) // 8
    return {
        "extras": {name: _shrink_extra(extra, most) for name, extra in entry.extras.items()},
        "transform": {name: _shrink_transform(step, image_size) for name, step in entry.transform.items()},
        "sampler": attrs.evolve(sampler, min_pixels=min(sampler.min_pixels, 8), sub_epoch=min(sampler.sub_epoch, 2 * TRAIN)),
    }


def _shrink_extra(extra: ExtraConfig, most: int) -> ExtraConfig:
    edges = attrs.asdict(extra.margins)
    return attrs.evolve(extra, margins=MarginConfig(**{edge: min(pixels, most) for edge, pixels in edges.items()}))


def _shrink_transform(step: Any, image_size: tuple[int, int]) -> Any:
    if isinstance(step, ResizeShortSide):
        return attrs.evolve(step, range=(min(image_size), min(image_size)))
    return attrs.evolve(step, size=_within(step.size, image_size)) if hasattr(step, "size") else step


def _shrink_evaluation(entry: EvaluationConfig, image_size: tuple[int, int]) -> EvaluationConfig:
    small: EvaluationConfig = attrs.evolve(
        _shrink_data(entry, image_size, SCORED), size=_within(entry.size, image_size), window=_within(entry.window, image_size), stride=None,
        subsets=(), every=0, batch=SCORED,
    )  # fmt: skip
    return small


def _within(size: tuple[int, int] | None, image_size: tuple[int, int]) -> tuple[int, int] | None:
    return size and (min(size[0], image_size[0]), min(size[1], image_size[1]))


def on_disk(config: Config, roots: Mapping[str, Path]) -> Config:
    """The small configuration with its images read from folders: `<root>/<split>/{images,labels}` for
    each of the two domains."""

    def place(entry: Any, domain: str, split: str) -> Any:
        root = str(roots[entry.domain or domain] / ("train" if split == "train" else "val"))
        here = attrs.evolve(entry, dataset="folder", root=root, split="train", image_folder="images", label_folder="labels", label_suffix="")
        sets = {name: place(own, domain, split) for name, own in getattr(entry, "sets", {}).items()}
        return attrs.evolve(here, sets=sets) if sets else here

    def move(round: RoundConfig) -> RoundConfig:
        evaluate = {name: place(entry, "target", entry.split) for name, entry in round.evaluate.items()}
        return attrs.evolve(
            round, source=place(round.source, "source", "train"), target=place(round.target, "target", "train"), evaluate=evaluate
        )  # fmt: skip

    return attrs.evolve(config, rounds={name: move(round) for name, round in config.rounds.items()})
