"""Everything that outlives a round: configuration, method, run folder, opened data, the run's voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs

from udacore import ranks
from udacore.config.references import Folder, NoLabels, OfRound, Own, images_of, labels_of
from udacore.config.schema import Config, DataConfig
from udacore.data.datasets import ImageTable, open_table, with_images, with_labels
from udacore.data.labels import LabelSpace, get_label_space
from udacore.data.preflight import check_pairs
from udacore.engine.checkpoint import Checkpoints
from udacore.engine.device import Machine
from udacore.engine.evaluation import EvaluationSet
from udacore.engine.overlays import require_overlay
from udacore.engine.tracking import Tracker
from udacore.errors import ConfigError
from udacore.interface import Pixels
from udacore.plugins import Method
from udacore.schedules import count_steps


@attrs.define(kw_only=True)
class Session:
    """One run in one folder. Made by `run`; rounds look things up here."""

    config: Config
    method: Method
    hooks: Any
    folder: Path
    machine: Machine
    tracker: Tracker
    checkpoints: Checkpoints
    tables: dict[str, ImageTable] = attrs.field(factory=dict)

    def index(self, name: str) -> int:
        """Place of a round, from 0."""
        return list(self.config.rounds).index(name)

    def label(self, name: str) -> str:
        """`<k>-<name>`: how a round's files are called."""
        return f"{self.index(name)}-{name}"

    def has_begun(self, name: str) -> bool:
        """Whether a checkpoint of this round is there to go on from."""
        if any(self.checkpoints.exists(label) for label in (f"{self.label(name)}-steps", self.label(name))):
            return True
        return self.checkpoints.exists("last") and self.checkpoints.load("last").round == name

    def round_folder(self, name: str) -> Path:
        """Where a round's own files lie."""
        return self.folder / "rounds" / self.label(name)

    def space(self, name: str) -> LabelSpace:
        """The classes of a round."""
        return get_label_space(self.config.rounds[name].label_space)

    def pixels(self, name: str) -> Pixels:
        """How the images of a round are normalised, as its method sees it."""
        return Pixels(**attrs.asdict(self.config.rounds[name].pixels))

    def source(self, name: str, *, overlay: bool = True) -> ImageTable:
        """A round's labelled domain, with its replaced images unless `overlay` is off."""
        entry = self.config.rounds[name].source
        table = self._open(name, entry, "source", labels=True)
        images = images_of(self.config.rounds, name)
        return table if not overlay or isinstance(images, Own) else with_images(table, self._overlay(images, "images"))

    def target(self, name: str, *, overlay: bool = True) -> ImageTable:
        """A round's domain without labels, with its pseudo labels unless `overlay` is off."""
        entry = self.config.rounds[name].target
        table = self._open(name, entry, "target", labels=False)
        labels = labels_of(self.config.rounds, name)
        return table if not overlay or isinstance(labels, NoLabels) else with_labels(table, self._overlay(labels, "labels"))

    def drawn(self, name: str) -> dict[str, ImageTable]:
        """The tables that a round draws from, without overlays."""
        open_domain = {"source": self.source, "target": self.target}
        return {domain: open_domain[domain](name, overlay=False) for domain in self.config.rounds[name].draws}

    def evaluation_sets(self, name: str) -> list[EvaluationSet]:
        """The labelled sets that a round is scored on."""
        config, space = self.config.rounds[name], self.space(name)
        sets = []
        for key, entry in config.evaluate.items():
            domain = entry.domain or "target"
            table = self._open(name, entry, domain, labels=True)
            sets.append(EvaluationSet(name=key, domain=domain, config=entry, table=table, space=space, pixels=config.pixels, quick=self.config.quick))
        return sets

    def epoch(self, name: str) -> int:
        """Optimiser steps in which the first domain that the round draws is seen once."""
        tables = list(self.drawn(name).values())
        return max(1, -(-len(tables[0]) // self.config.rounds[name].batch)) if tables else 1

    def steps(self, name: str) -> int:
        """Optimiser steps of a round."""
        steps = self.config.rounds[name].steps
        return steps if isinstance(steps, int) else count_steps(steps, self.epoch(name))

    def steps_before(self, name: str) -> int:
        """Optimiser steps of all rounds before this one: the origin of TensorBoard's axis."""
        return sum(self.steps(earlier) for earlier in list(self.config.rounds)[: self.index(name)])

    def check_data(self) -> None:
        """Open every table of every round and try some pairs, so that a broken data set is found before the first step."""
        checked: set[int] = set()
        for name, config in self.config.rounds.items():
            share = config.accumulation * ranks.size()
            if config.batch % share:
                pieces = f"{config.accumulation} micro-batches on {ranks.size()} processes"
                raise ConfigError(f"rounds.{name}.batch: {config.batch} images do not divide into {pieces}")
            for table in (*self.drawn(name).values(), *(data.table for data in self.evaluation_sets(name))):
                if id(table) not in checked:
                    check_pairs(table)
                    checked.add(id(table))

    def _open(self, name: str, entry: DataConfig, domain: Literal["source", "target"], *, labels: bool) -> ImageTable:
        """The table of an entry, opened once for all rounds that read the same files."""
        files = {field.name: getattr(entry, field.name) for field in attrs.fields(DataConfig)}
        space = self.space(name)
        key = repr((files, space.name, domain, labels))
        if key not in self.tables:
            self.tables[key] = open_table(entry, space, domain=domain, labels=labels)
        return self.tables[key]

    def _overlay(self, reference: OfRound | Folder, kind: Literal["images", "labels"]) -> Path:
        """The folder of an overlay: of a round, which must have finished it, or the user's own."""
        if isinstance(reference, Folder):
            return reference.path
        return require_overlay(self.round_folder(reference.name) / kind, f"{kind} of round {reference.name!r}")

    def maker(self, name: str) -> str | None:
        """The round that makes the pseudo labels of this one, or None."""
        labels = labels_of(self.config.rounds, name)
        return labels.name if isinstance(labels, OfRound) else None
