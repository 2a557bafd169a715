"""`uda run --quick N`: a configuration with fewer steps and fewer, smaller images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from udacore.config.counts import parse_count
from udacore.config.schema import COUNTS, Config, DataConfig, EvaluationConfig, PartConfig, RoundConfig, ScheduleConfig
from udacore.datasets import get_dataset

LARGEST = 256
"""Pixels of the longest side of any size in a rehearsal."""

MULTIPLE = 8
"""Pixels that every side of a size in a rehearsal is a multiple of."""

IMAGES = 8
"""Images of each data set that a rehearsal uses, or a round's batch if that is more."""

Size = tuple[int, int]


def make_quick(config: Config, divisor: int) -> Config:
    """The rehearsal of a complete configuration; its name ends with `-quick`, and
    `quick` records the divisor.

    Steps, and the counts of schedules, evaluations, checkpoints and log lines are divided by `divisor` and
    rounded up. All sizes in pixels shrink by one factor to multiples of 8, so that the longest side is 256 at
    most; each data
    set gives 8 images, or a batch. What an evaluation left to the size of its images is scored at 256 x 128.
    """
    rounds = {name: _Quick(divisor, _largest(config)).round(round) for name, round in config.rounds.items()}
    return attrs.evolve(
        config, rounds=rounds, quick=divisor, name=f"{config.name}-quick",
        log_every=-(-config.log_every // divisor), save_every=-(-config.save_every // divisor),
    )  # fmt: skip


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(side) is int and side >= 32 for side in value)


def _largest(value: Any) -> int:
    """The longest side of all sizes in settings, those of images that are drawn left out."""
    if _is_size(value):
        return int(max(value))
    if attrs.has(type(value)):
        streets = isinstance(value, DataConfig)
        fields = (field.name for field in attrs.fields(type(value)) if not (streets and field.name == "image_size"))
        return max((_largest(getattr(value, name)) for name in fields), default=0)
    return max(map(_largest, value.values()), default=0) if isinstance(value, Mapping) else 0


@attrs.frozen
class _Quick:
    """The cuts of one configuration."""

    divisor: int
    longest: int

    def count(self, given: int | str | None) -> Any:
        """A count of steps or epochs, divided; 0 and null stay."""
        if given is None or not parse_count(given).number:
            return given
        count = parse_count(given)
        if count.unit == "steps":
            return max(1, -(-int(count.number) // self.divisor))
        return f"{max(count.number / self.divisor, 1e-6):.6f}".rstrip("0").rstrip(".") + " epochs"

    def side(self, given: int) -> int:
        """A length in pixels, by the factor of all, a multiple of 8: networks that halve their maps ask for such."""
        return given if self.longest <= LARGEST else max(16, MULTIPLE * round(given * LARGEST / self.longest / MULTIPLE))

    def sizes(self, value: Any) -> Any:
        """Settings of a transform or a method with every size in them cut."""
        if _is_size(value):
            return tuple(map(self.side, value))
        if attrs.has(type(value)):
            changed = {field.alias: self.sizes(getattr(value, field.name)) for field in attrs.fields(type(value)) if field.init}
            return attrs.evolve(value, **changed)
        return {key: self.sizes(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value

    def data(self, entry: Any, batch: int) -> Any:
        """A data set with few images; the size of drawn ones is cut apart, since it is small already."""
        if getattr(entry, "sets", {}):
            return attrs.evolve(entry, sets={name: self.data(own, batch) for name, own in entry.sets.items()})
        most = max(IMAGES, batch)
        keep = entry.image_size
        if ratio := getattr(getattr(entry, "sampler", None), "min_crop_ratio", None):
            smaller = ratio * (self.side(LARGEST) / LARGEST) ** 2
            entry = attrs.evolve(entry, sampler=attrs.evolve(entry.sampler, min_crop_ratio=smaller))
        cut = self.sizes(attrs.evolve(entry, count=most if entry.count is None else min(most, entry.count)))
        return attrs.evolve(cut, image_size=keep if max(keep) <= LARGEST else tuple(max(16, side * LARGEST // max(keep)) for side in keep))

    def evaluation(self, entry: EvaluationConfig) -> EvaluationConfig:
        """A set that is scored, at a size of its own where its images' size is not known to be small."""
        cut: EvaluationConfig = attrs.evolve(self.data(entry, 1), every=self.count(entry.every))
        if cut.window and cut.stride:  # small sizes are not cut
            cut = attrs.evolve(cut, stride=(min(cut.stride[0], cut.window[0]), min(cut.stride[1], cut.window[1])))
        is_small = cut.size is not None or get_dataset(entry.dataset).has_own_size
        return cut if is_small else attrs.evolve(cut, size=(LARGEST, LARGEST // 2))

    def schedule(self, given: ScheduleConfig) -> ScheduleConfig:
        """A schedule of fewer steps."""
        counts = {name: self.count(getattr(given, name)) for name in COUNTS}
        return attrs.evolve(given, **counts, at=tuple(map(self.count, given.at)))

    def round(self, given: RoundConfig) -> RoundConfig:
        """A round, cut."""
        parts: dict[str, PartConfig] = {
            name: attrs.evolve(part, schedule=self.schedule(part.schedule)) for name, part in given.parts.items()
        }
        return attrs.evolve(
            given, steps=self.count(given.steps), parts=parts, source=self.data(given.source, given.batch),
            target=self.data(given.target, given.batch), method=self.sizes(given.method),
            evaluate={name: self.evaluation(entry) for name, entry in given.evaluate.items()},
            pseudo_labels=self.sizes(given.pseudo_labels),
        )  # fmt: skip
