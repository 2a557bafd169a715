"""A run and its rounds as objects: settings, open data sets, and the files of each round."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import attrs

from udacore import ranks
from udacore.config.references import Folder, NoLabels, OfRound, Own, images_of, labels_of
from udacore.config.schema import Config, DataConfig, EvaluationConfig, RoundConfig, SetConfig, SourceConfig, TargetConfig
from udacore.config.sets import count_images
from udacore.data.bands import Bands
from udacore.data.mixture import Mixture, Table, change_tables, join_sets, tables_of
from udacore.data.replacements import with_bands, with_extras, with_images, with_labels
from udacore.data.sanity import check_pairs
from udacore.data.tables import ImageTable, open_table
from udacore.engine.evaluation import EvaluationSet
from udacore.engine.files.checkpoint import Checkpoints
from udacore.engine.files.overlays import require_overlay
from udacore.engine.files.run_folder import RunFolder, round_label, steps_label
from udacore.engine.machine.device import Machine
from udacore.engine.tracking import Tracker
from udacore.errors import ConfigError, DataError
from udacore.interface import Pixels, RoundInfo
from udacore.labels import LabelSpace, get_label_space
from udacore.plugins import Method
from udacore.schedules import count_steps


@attrs.define(kw_only=True)
class Session:
    """State shared by all rounds of a run: configuration, method, run folder, open data sets, log."""

    config: Config
    method: Method
    hooks: Any
    folder: Path
    machine: Machine
    tracker: Tracker
    checkpoints: Checkpoints
    tables: dict[str, ImageTable] = attrs.field(factory=dict)
    mixtures: dict[str, Mixture] = attrs.field(factory=dict)
    rounds: Mapping[str, Round] = attrs.field(init=False, repr=False, eq=False)
    """The rounds by name, in order."""

    def __attrs_post_init__(self) -> None:
        """Make the rounds."""
        self.rounds = {
            name: Round(session=self, name=name, index=index, config=config)
            for index, (name, config) in enumerate(self.config.rounds.items())
        }

    @property
    def files(self) -> RunFolder:
        """The files of the run folder."""
        return RunFolder(self.folder)

    def check_data(self) -> None:
        """Open every table of every round and try some pairs, so that a broken data set is
        found before the first step."""
        checked: dict[int, ImageTable] = {}  # the tables too: an id is free again once its table is gone
        for round in self.rounds.values():
            share = round.config.accumulation * ranks.size()
            if round.config.batch % share:
                pieces = f"{round.config.accumulation} micro-batches on {ranks.size()} processes"
                raise ConfigError(f"rounds.{round.name}.batch: {round.config.batch} images do not divide into {pieces}")
            for table in (*round.tables().values(), *(data.table for data in round.evaluation_sets())):
                if id(table) not in checked:
                    check_pairs(table)
                    checked[id(table)] = table

    def open_table(
        self, entry: DataConfig, space: LabelSpace, domain: Literal["source", "target"], *, labels: bool
    ) -> ImageTable:
        """The table of an entry, opened once for all rounds that read the same files."""
        files = {field.name: getattr(entry, field.name) for field in attrs.fields(DataConfig)}
        key = repr((files, space.name, domain, labels, entry.tile.size and isinstance(entry, EvaluationConfig)))
        if key not in self.tables:
            self.tables[key] = open_table(entry, space, domain=domain, labels=labels)
        return self.tables[key]


@attrs.define(kw_only=True, eq=False, slots=False)
class Round:
    """One round of a run: its settings, its data, its place among the others and its files."""

    session: Session = attrs.field(repr=False)
    name: str
    index: int
    """Place in the run, from 0."""
    config: RoundConfig = attrs.field(repr=False)

    @property
    def label(self) -> str:
        """`<k>-<name>`: how the round's files are called, and the checkpoint of its end."""
        return round_label(self.index, self.name)

    @property
    def steps_label(self) -> str:
        """The checkpoint after the last step, before the round's end."""
        return steps_label(self.index, self.name)

    @property
    def folder(self) -> Path:
        """Where the round's own files lie."""
        return self.session.files.round(self.label)

    @property
    def labels_folder(self) -> Path:
        """Where the pseudo labels lie that this round makes."""
        return self.session.files.labels(self.label)

    @property
    def images_folder(self) -> Path:
        """Where the images lie that this round writes."""
        return self.session.files.images(self.label)

    @property
    def earlier(self) -> tuple[Round, ...]:
        """The rounds before this one, in order."""
        return tuple(self.session.rounds.values())[: self.index]

    @property
    def has_taken_steps(self) -> bool:
        """Whether the checkpoint after the last step, or that of the round's end, is there."""
        return any(self.session.checkpoints.exists(label) for label in (self.steps_label, self.label))

    @property
    def has_begun(self) -> bool:
        """Whether a checkpoint of this round is there to go on from."""
        return self.has_taken_steps or self.session.checkpoints.is_last_of(self.name)

    @cached_property
    def space(self) -> LabelSpace:
        """The classes of the round."""
        return get_label_space(self.config.label_space)

    @property
    def pixels(self) -> Pixels:
        """How images are normalised, as the method sees it."""
        pixels = self.config.pixels
        return Pixels(order=pixels.order, scale=pixels.scale, mean=pixels.mean, std=pixels.std)

    def info(self, steps: int = 0) -> RoundInfo:
        """What the hooks are told of the round. `steps`: 0 for a model that is not
        trained, whose data is not open."""
        config = self.config
        trains = tuple(config.parts) if config.trains is None else config.trains  # those of the model are known once it is built
        return RoundInfo(
            name=self.name, index=self.index, steps=steps, trains=trains, classes=self.space.classes,
            control=self.session.config.control, pixels=self.pixels,
        )  # fmt: skip

    def source(self, *, overlay: bool = True) -> Table:
        """The labelled domain, with its replaced images unless `overlay` is off."""
        table = self._open("source", self.config.source)
        images = images_of(self.session.config.rounds, self.name)
        if not overlay or isinstance(images, Own):
            return table
        folder = self._overlay(images, "images")
        return change_tables(table, lambda own: with_images(own, folder))

    def target(self, *, overlay: bool = True) -> Table:
        """The domain without labels, with its pseudo labels unless `overlay` is off."""
        table = self._open("target", self.config.target)
        labels = labels_of(self.session.config.rounds, self.name)
        if not overlay or isinstance(labels, NoLabels):
            return table
        folder = self._overlay(labels, "labels")
        return change_tables(table, lambda own: with_labels(own, folder))

    def _open(self, domain: Literal["source", "target"], entry: SourceConfig | TargetConfig) -> Table:
        """The table of a domain, or the list of its sets; their errors name the set."""
        if not entry.sets:
            return self._open_set(domain, entry, domain)
        key = repr((domain, entry.sets, self.space.name, self._bands))
        if key in self.session.mixtures:
            return self.session.mixtures[key]
        tables = {}
        for name, settings in entry.sets.items():
            place = f"{domain}.sets.{name}"
            try:
                tables[name] = self._open_set(domain, settings, place)
            except (ConfigError, DataError) as error:
                raise type(error)(str(error) if str(error).startswith(f"{place}.") else f"{place}: {error}") from error
        joined = self.session.mixtures[key] = join_sets(tables, f"{domain}.sets")
        return joined

    def _open_set(self, domain: Literal["source", "target"], entry: SourceConfig | TargetConfig | SetConfig, place: str) -> ImageTable:
        table = self._with_bands(self.session.open_table(entry, self.space, domain, labels=domain == "source"))
        return with_extras(table, entry.extras, place)

    @property
    def _bands(self) -> Bands:
        return Bands(self.config.model.channels, self.config.pixels.bits)

    def _with_bands(self, table: ImageTable) -> ImageTable:
        """The table with the channels and bits that the round's network takes."""
        return with_bands(table, self._bands)

    def drawn(self) -> dict[str, Table]:
        """The domains that the round draws from, without overlays."""
        open_domain = {"source": self.source, "target": self.target}
        return {domain: open_domain[domain](overlay=False) for domain in self.config.draws}

    def tables(self) -> dict[str, ImageTable]:
        """Setting -> table of each data set that the round draws from, without overlays."""
        return {place: own for domain, table in self.drawn().items() for place, own in tables_of(table, domain).items()}

    def evaluation_sets(self) -> list[EvaluationSet]:
        """The labelled sets that the round is scored on."""
        sets = []
        for key, entry in self.config.evaluate.items():
            domain = entry.domain or "target"
            table = self._with_bands(self.session.open_table(entry, self.space, domain, labels=True))
            sets.append(
                EvaluationSet(
                    name=key, domain=domain, config=entry, table=table, space=self.space, pixels=self.config.pixels,
                    quick=self.session.config.quick,
                )
            )  # fmt: skip
        return sets

    @property
    def epoch(self) -> int:
        """Optimiser steps in which the first domain that the round draws is seen once, each of its sets."""
        drawn, batch = self.drawn(), self.config.batch
        for domain, table in drawn.items():
            if isinstance(table, Mixture):
                counts = count_images(getattr(self.config, domain).sets, batch)
                return max(-(-len(own) // counts[name]) for name, own in table.members.items())
            return max(1, -(-len(table) // batch))
        return 1

    @property
    def steps(self) -> int:
        """Optimiser steps of the round."""
        steps = self.config.steps
        return steps if isinstance(steps, int) else count_steps(steps, self.epoch)

    @property
    def offset(self) -> int:
        """Optimiser steps of all rounds before this one: the origin of TensorBoard's axis."""
        return sum(round.steps for round in self.earlier)

    @property
    def maker(self) -> Round | None:
        """The round that makes the pseudo labels of this one, or None."""
        labels = labels_of(self.session.config.rounds, self.name)
        return self.session.rounds[labels.name] if isinstance(labels, OfRound) else None

    @property
    def makes_labels(self) -> bool:
        """Whether a later round draws the target with pseudo labels of this one."""
        rounds = self.session.config.rounds
        return any(labels_of(rounds, later) == OfRound(self.name) for later in rounds)

    @property
    def must_write_images(self) -> bool:
        """Whether a later round draws the source with images of this one."""
        rounds = self.session.config.rounds
        return any(images_of(rounds, later) == OfRound(self.name) for later in rounds)

    def _overlay(self, reference: OfRound | Folder, kind: Literal["images", "labels"]) -> Path:
        """The folder of an overlay: of a round, which must have finished it, or the user's own."""
        if isinstance(reference, Folder):
            return reference.path
        made = self.session.rounds[reference.name]
        folder = made.labels_folder if kind == "labels" else made.images_folder
        return require_overlay(folder, f"{kind} of round {reference.name!r}")
