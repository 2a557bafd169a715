"""Checks of a configuration beyond the type of each value."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from udacore.config.channels import check_channels
from udacore.config.counts import parse_count
from udacore.config.data_checks import check_names, check_sampler, check_target_crops
from udacore.config.patterns import DEPTH, compile_pattern
from udacore.config.problems import Problem, join, show
from udacore.config.references import (
    INITIAL,
    RESERVED,
    SEGMENTER,
    WEIGHTS,
    Best,
    File,
    ImageNet,
    Initial,
    OfRound,
    Previous,
    Timm,
    list_weights,
    parse_initial,
    parse_weights,
)  # fmt: skip
from udacore.config.schema import COUNTS, TIMM, ModelConfig, PartConfig, RoundConfig
from udacore.config.sets import check_sets
from udacore.errors import ConfigError, list_names, near_matches
from udacore.options import MethodSettings
from udacore.places import exists, names_package

NO_STEPS = ("0", "0.0")
ROUND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_round_name(name: str) -> Problem | None:
    """A round's name is part of a folder's name and of dotted paths."""
    path = f"rounds.{name}"
    if not ROUND_NAME.fullmatch(name):
        return Problem(path, "the name of a round is made of letters, digits, - and _")
    return Problem(path, f"{name!r} means something else where rounds are named; choose another name") if name in RESERVED else None


DEPENDS = {"accumulation": "batch", "trains": "parts", "initial": "parts", "best_on": "evaluate", "keep": "evaluate", "steps": "weights", "draws": "steps"}
DEPENDS |= {"source": "batch", "target": "batch"}  # shares of it
"""A setting whose check looks at a second one; `weights` looks at `parts` too."""


def check_round(config: RoundConfig, name: str, names: Sequence[str], broken: Collection[str]) -> Iterator[Problem]:
    """All problems of a round, with paths that begin with its name.

    names   all rounds in order
    broken  settings that could not be read, of which `config` has the defaults: what
            depends on them is not checked
    """
    earlier = names[: names.index(name)]
    found = [*check_counts(config), *check_batch(config), *check_parts(config), *check_evaluation(config)]
    found += [*check_sets(config), *check_names(config), *check_channels(config), *check_sampler(config), *check_target_crops(config)]
    found += check_network(config, first=not earlier) if "model" not in broken else ()
    found += [*check_weights(config, earlier, names), *check_overlays(config, earlier, names)]
    if not broken:
        found += check_method(config)
    for problem in found:
        key = problem.path.partition(".")[0].partition("[")[0]
        if not {key, DEPENDS.get(key), "parts" if key == "weights" else key} & set(broken):
            yield Problem(f"rounds.{name}.{problem.path}", problem.text)


TIMM_ONLY = ("head", "width", "out_indices", "options")


def check_network(config: RoundConfig, first: bool) -> Iterator[Problem]:
    """Settings of timm's networks stand beside one of these, and each network begins with
    weights that it can have."""
    model, is_timm = config.model, config.model.name.startswith(TIMM)
    for name in () if is_timm else TIMM_ONLY:
        if getattr(model, name) != getattr(ModelConfig(), name):
            yield Problem(f"model.{name}", f"is for networks of timm, such as {TIMM}convnext_tiny; {model.name!r} has its own")
    for place, weights in list_weights(config, first=first):
        if place not in ("initial", f"initial.{SEGMENTER}"):
            continue
        if is_timm and weights == ImageNet():
            yield Problem(place, f"imagenet means torchvision's weights, which {model.name} has not; possible: timm, random, a file")
        elif not is_timm and weights == Timm():
            yield Problem(place, f"timm has no weights of {model.name!r}; possible: imagenet, random, a file")


def check_counts(config: RoundConfig) -> Iterator[Problem]:
    """Every count is a number of steps or of epochs."""
    counts: dict[str, Any] = {"steps": config.steps}
    for part, settings in config.parts.items():
        schedule, path = settings.schedule, f"parts.{part}.schedule"
        counts |= {f"{path}.{name.rstrip('_')}": getattr(schedule, name) for name in COUNTS}
        counts |= {f"{path}.at[{index}]": at for index, at in enumerate(schedule.at)}
    counts |= {f"evaluate.{name}.every": settings.every for name, settings in config.evaluate.items()}
    for path, count in counts.items():
        try:
            if count is not None:
                parse_count(count)
        except ConfigError as error:
            yield Problem(path, str(error))


def check_batch(config: RoundConfig) -> Iterator[Problem]:
    """Micro-batches are of equal size, and steps draw something, no domain twice."""
    if config.batch % config.accumulation:
        yield Problem("accumulation", f"must divide the batch: {config.batch} images are not {config.accumulation} equal micro-batches")
    if len(set(config.draws)) < len(config.draws):
        yield Problem("draws", f"names a domain twice: {list(config.draws)}")
    if not config.draws and str(config.steps).split(" ")[0] not in NO_STEPS:
        yield Problem("draws", f"{config.steps} steps of nothing; possible: source, target, both, or steps: 0")


def check_parts(config: RoundConfig) -> Iterator[Problem]:
    """Parts are named where they are trained, and patterns can be compiled."""
    known = list(dict.fromkeys((SEGMENTER, *config.parts)))
    for name in config.trains or ():
        if name not in known:
            yield Problem("trains", f"no part {name!r} under parts{near_matches(name, known)}")
    for part, settings in config.parts.items():
        yield from check_optimizer_options(f"parts.{part}", settings)
        if settings.schedule.warmup_from is not None and not settings.schedule.warmup:
            yield Problem(f"parts.{part}.schedule.warmup_from", "is the factor with which a warm-up begins, and warmup is 0")
        yield from check_frozen(config, part)
        for key, patterns in (("groups", settings.groups), ("no_decay", settings.no_decay), ("freeze", settings.freeze)):
            for pattern in patterns:
                try:
                    compile_pattern(pattern)
                except re.error as error:
                    yield Problem(f"parts.{part}.{key}", f"{pattern!r} is no regular expression: {error}")
        yield from check_decay(f"parts.{part}.groups", settings)


def check_frozen(config: RoundConfig, part: str) -> Iterator[Problem]:
    """A frozen part is a child of the model that has a file of its own, and that nothing
    trains or fills otherwise."""
    settings, path = config.parts[part], f"parts.{part}"
    if not settings.frozen:
        if settings.dtype is not None:
            yield Problem(f"{path}.dtype", "is for a part with frozen: true; trained parts are float32, see amp")
        return
    if part == SEGMENTER:
        yield Problem(f"{path}.frozen", "the segmenter is no child; leave it out of `trains`, or name parameters under freeze")
    elif part not in config.initial if isinstance(config.initial, Mapping) else config.initial.strip() != "random":
        yield Problem(f"{path}.frozen", f"needs a file: say which under initial.{part} (a file, or imagenet for a backbone)")
    if part in (config.trains or ()):
        yield Problem("trains", f"the part {part!r} is frozen")
    if isinstance(config.weights, Mapping) and part in config.weights:
        yield Problem(f"weights.{part}", f"the part is frozen, so it is filled from initial.{part} in every round")


def check_decay(path: str, settings: PartConfig) -> Iterator[Problem]:
    """A pattern with `{depth}` says how the rate falls from each depth to the next
    lower one, and no other does."""
    for pattern, own in settings.groups.items():
        decay = own.get("decay") if isinstance(own, Mapping) else None
        if DEPTH in pattern and decay is None:
            yield Problem(path, f"{pattern!r} has {DEPTH}, so it takes {{decay: 0.9}}, got {show(own)}")
        elif decay is not None and DEPTH not in pattern:
            yield Problem(path, f"{pattern!r} has a decay but no {DEPTH}, such as layers.{DEPTH}., whose number counts")
        elif decay is not None and (isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 < decay <= 1):
            yield Problem(join(path, f"{pattern}.decay"), f"must be a number above 0 and at most 1, got {show(decay)}")


PLAIN_NUMBERS = ("weight_decay", "momentum", "dampening", "lr_factor")
"""Options that are one number wherever torch has them; it does not look at those of a
group before the first step."""


def check_optimizer_options(path: str, settings: PartConfig) -> Iterator[Problem]:
    """Numbers among an optimiser's options are finite, and no list stands for a number."""
    options: dict[str, Any] = {f"options.{key}": value for key, value in settings.options.items()}
    for pattern, own in settings.groups.items():
        own = own if isinstance(own, Mapping) else {"lr_factor": own}
        options |= {f"groups.{pattern}.{key}": value for key, value in own.items()}
    for place, value in options.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            yield Problem(join(path, place), f"numbers are finite, got {show(value)}")
        elif place.rpartition(".")[2] in PLAIN_NUMBERS and isinstance(value, list | tuple | Mapping):
            yield Problem(join(path, place), f"must be a number, got {show(value)}")


def check_evaluation(config: RoundConfig) -> Iterator[Problem]:
    """There is a size at which to score, and the set by which the best model is chosen exists."""
    for name, settings in config.evaluate.items():
        if not settings.scales:
            yield Problem(f"evaluate.{name}.scales", "must name at least one size, such as [1]")
        window, stride = settings.window, settings.stride
        if window and stride and (stride[0] > window[0] or stride[1] > window[1]):
            said = f"{stride[0]} x {stride[1]} leaves gaps between windows of {window[0]} x {window[1]}"
            yield Problem(f"evaluate.{name}.stride", said)
    if config.best_on is not None and config.best_on not in config.evaluate:
        yield Problem("best_on", f"no set {config.best_on!r} under evaluate{near_matches(config.best_on, config.evaluate)}")
    elif config.keep == "best" and not config.evaluate:
        yield Problem("keep", "best needs a set under evaluate, by which it is chosen")


def check_weights(config: RoundConfig, earlier: Sequence[str], names: Sequence[str]) -> Iterator[Problem]:
    """Each word of `weights` and `initial` means something, for a part that exists."""
    known = list(dict.fromkeys((SEGMENTER, *config.parts)))
    for key, value in (("weights", config.weights), ("initial", config.initial)):
        for part in value if isinstance(value, dict) else ():
            if part not in known:
                yield Problem(f"{key}.{part}", f"no such part{near_matches(part, known)}")
    words = by_part("weights", config.weights)
    for path, word in words.items():
        yield from (Problem(path, text) for text in _check_weights_word(word, earlier, names))
    for path, word in by_part("initial", config.initial).items():
        if isinstance(parse_initial(word), File) and not is_path(word):
            near = near_matches(word, list(INITIAL))
            yield Problem(path, f"must be imagenet, timm, random or a file, got {word!r}{near if 'mean' in near else ''}")
    if str(config.steps).split(" ")[0] in NO_STEPS and all(parse_weights(word) == Initial() for word in words.values()):
        yield Problem("steps", "0 means that the work was done elsewhere: give weights (a file, or an earlier round), or a number of steps")


def check_method(config: RoundConfig) -> Iterator[Problem]:
    """What the method itself says of the round."""
    if isinstance(config.method, MethodSettings):
        yield from (Problem(path, text) for path, text in config.method._find_problems(config))


def by_part(key: str, value: str | Mapping[str, str] | None) -> dict[str, str]:
    """Dotted place -> word, of a setting that is one word or a word for each part."""
    if value is None:
        return {}
    return {key: value} if isinstance(value, str) else {join(key, part): word for part, word in value.items()}


def _check_weights_word(word: str, earlier: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    weights = parse_weights(word)
    if isinstance(weights, Previous | Best):
        if not earlier:
            yield f"{word!r} means nothing in the first round; possible: initial, a file"
    elif isinstance(weights, OfRound):
        yield from _check_earlier(weights.name, earlier, names)
    elif word in names and not is_path(word):
        yield f"is a round's name alone; write 'round {word}'"
    elif isinstance(weights, File) and not is_path(word):
        near = near_matches(word, list(WEIGHTS))
        yield f"must be initial, previous, best, 'round NAME' or a file, got {word!r}{near if 'mean' in near else ''}"


def check_overlays(config: RoundConfig, earlier: Sequence[str], names: Sequence[str]) -> Iterator[Problem]:
    """Labels and images that come from a round come from an earlier one."""
    overlays = (("source.images", config.source.images, ["own"]), ("target.labels", config.target.labels, ["none", "make"]))
    for path, word, words in overlays:
        if word.strip() == "make" and path == "target.labels" and not earlier:
            yield Problem(path, "the first round has no round before it that could make labels")
        elif word.strip() in words:
            continue
        elif word.strip() in names:
            yield from (Problem(path, text) for text in _check_earlier(word.strip(), earlier, names))
        elif not is_path(word):
            yield Problem(path, f"{word!r} is neither a round nor a folder{near_matches(word, [*words, *earlier])}")


def _check_earlier(name: str, earlier: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    if name in names and name not in earlier:
        yield f"the round {name!r} does not come before this one; earlier: {list_names(earlier) or 'none'}"
    elif name not in earlier:
        yield f"there is no round {name!r}{near_matches(name, earlier)}"


def is_path(word: str) -> bool:
    """Whether a word is meant as a file or folder: it has a slash or a suffix, or
    something of that name exists."""
    return names_package(word) or "/" in word or "\\" in word or bool(Path(word).suffix) or word.startswith("~") or exists(word)
