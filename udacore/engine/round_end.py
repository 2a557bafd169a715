"""The end of a round: `on_round_end`, scores, and pseudo labels for later rounds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from udacore import ranks
from udacore.config.schema import PseudoLabelConfig, SourceConfig, TargetConfig
from udacore.data.loading import pass_sets
from udacore.data.mixture import Table
from udacore.engine.evaluation import Result, find_entries_read
from udacore.engine.files.checkpoint import digest, preserve_state
from udacore.engine.files.metrics_file import read_result, read_rows
from udacore.engine.files.overlays import Overlay, read_manifest
from udacore.engine.hooks.hook_results import check_image_name, read_number, read_numbers, read_pairs
from udacore.engine.machine.device import Machine, derive_seed, seed_everything
from udacore.engine.machine.main_rank import on_main
from udacore.engine.rounds import Round, Session
from udacore.engine.training import RoundInProgress, score_set
from udacore.errors import PluginError, list_names
from udacore.interface import PassBatch, RoundInfo
from udacore.plugins import label_errors


@attrs.frozen
class Pass:
    """A pass over a domain, fresh each time it is iterated; leaves no trace in random states or modes."""

    start: Callable[[], Iterator[PassBatch]]
    model: nn.Module
    machine: Machine

    def __iter__(self) -> Iterator[PassBatch]:
        with preserve_state(self.model):
            for batch in self.start():
                image = batch.image.to(self.machine.device, memory_format=self.machine.memory_format)
                label = None if batch.label is None else batch.label.to(self.machine.device)
                yield attrs.evolve(batch, image=image, label=label)


@attrs.define(kw_only=True)
class RoundHandle:
    """The `round` of `on_round_end` and `make_pseudo_labels`; see `udacore.interface.RoundEnd`."""

    model: nn.Module
    settings: Any
    round: RoundInfo
    folder: Path
    device: torch.device
    pseudo_labels: PseudoLabelConfig
    origin: Round = attrs.field(repr=False)
    numbers: dict[str, float] = attrs.field(factory=dict, repr=False)
    images: Overlay = attrs.field(repr=False)

    def source(self, *, size: tuple[int, int] | None = None, batch: int = 1, labels: bool = True, images: bool = True) -> Iterable[PassBatch]:
        """Each source image of this rank once, in list order."""
        table = self.origin.source()
        return self._pass(table, self.origin.config.source, size=size, batch=batch, labels=labels, images=images)

    def target(self, *, size: tuple[int, int] | None = None, batch: int = 1) -> Iterable[PassBatch]:
        """Each target image of this rank once, in list order."""
        table = self.origin.target(overlay=False)
        return self._pass(table, self.origin.config.target, size=size, batch=batch, labels=False, images=True)

    def source_key(self) -> str:
        """Names the source's labels: changes with their list, classes, label map and files."""
        return self.origin.source().source_hash()

    def _pass(self, table: Table, entry: SourceConfig | TargetConfig, **choices: Any) -> Pass:
        def start() -> Iterator[PassBatch]:
            return iter(pass_sets(table, entry, self.origin.config.pixels, workers=self.origin.session.config.workers, **choices))

        return Pass(start, self.model, self.origin.session.machine)

    def write_image(self, name: str, image: np.ndarray) -> None:
        """Write an image for the overlay of a later round: H W 3 uint8 under the image's name."""
        self.images.write_image(check_image_name(name), image)

    def record(self, name: str, value: Any) -> None:
        """Note a number of this round's end."""
        self.numbers[str(name)] = read_number(value, f"round {self.round.name!r}: record({name!r})")


def call_round_end(work: RoundInProgress) -> None:
    """Run `on_round_end`, note its numbers, and evaluate once more if it changed the model's state."""
    session, name = work.session, work.name
    before, entries = digest(work.model.state_dict()), digest_entries(work.model)
    handle = make_handle(work, before)
    with hook_at_end(work, "on_round_end"):
        result = session.hooks.on_round_end(round=handle)
        numbers = read_numbers(result, f"plugin {session.method.name!r}, on_round_end, round {name!r}")
    handle.images.finish_any(required=work.round.must_write_images)
    recorded = {**handle.numbers, **numbers}
    if recorded:
        session.tracker.note({"round": name, "step": work.step, "on_round_end": recorded})
    is_changed = changes_predictions(work, entries)
    is_kept_best = work.config.keep == "best" and work.best is not None
    if is_changed or is_kept_best:
        for data in work.sets:
            score_set(work, data, "best on " + (work.config.best_on or work.sets[0].name) if is_kept_best else "last")


def digest_entries(model: nn.Module) -> dict[str, str]:
    """A digest of each parameter and buffer."""
    return {key: digest({key: value}) for key, value in model.state_dict().items()}


def changes_predictions(work: RoundInProgress, before: Mapping[str, str]) -> bool:
    """Whether the end of a round changed what predictions read, on any rank: else some
    would evaluate and some not.

    What a method remembers in buffers, such as prototypes, is not read by a prediction: the
    score would be the same.
    """
    changed = {key for key, value in digest_entries(work.model).items() if before.get(key) != value}
    changed |= before.keys() - work.model.state_dict().keys()
    if not any(ranks.all_gather_object(bool(changed))):
        return False
    buffers = {name for name, _ in work.model.named_buffers()}
    can_tell = changed <= buffers and not work.session.config.compile  # compiled code reads what no operation shows
    machine = work.session.machine
    read = set().union(*(find_entries_read(work.model, data, machine) for data in work.sets)) if can_tell else changed
    return any(ranks.all_gather_object(bool(changed & read)))


def make_handle(work: RoundInProgress, source: str) -> RoundHandle:
    """What the hooks at the round's end get; images come from the state `source`."""
    folder = work.round.folder
    folder.mkdir(parents=True, exist_ok=True)
    images = Overlay(work.round.images_folder, source)
    images.begin()
    return RoundHandle(
        model=work.model, settings=work.config.method, round=work.info, folder=folder, device=work.session.machine.device,
        pseudo_labels=work.config.pseudo_labels, origin=work.round, images=images,
    )  # fmt: skip


@contextlib.contextmanager
def hook_at_end(work: RoundInProgress, hook: str) -> Iterator[None]:
    """How a hook at the round's end runs: without gradient or trace, its errors labelled, with global
    random states of its own.

    Those do not depend on the steps before: a run that is resumed here has not taken them.
    """
    session = work.session
    with preserve_state(work.model), label_errors(session.method.name, hook, work.name, work.step), session.machine.autocast():
        seed_everything(derive_seed(session.config.seed, work.name, hook), session.machine.device)
        yield


def make_labels(work: RoundInProgress) -> None:
    """Have the method label the target's training images and write the maps; nothing if
    nobody asks or they are there."""
    session, name = work.session, work.name
    if not work.round.makes_labels:
        return
    overlay = labels_overlay(work)
    if overlay.is_complete():
        return
    overlay.begin()
    written = read_manifest(work.round.images_folder)
    handle = make_handle(work, overlay.source if written is None else written["source"])  # images join those of on_round_end
    counts = np.zeros(256, dtype=np.int64)
    with hook_at_end(work, "make_pseudo_labels"):
        made = session.hooks.make_pseudo_labels(round=handle)
        if made is None:
            raise PluginError(f"plugin {session.method.name!r}: round {name!r} must make pseudo labels, but no plugin did")
        where = f"plugin {session.method.name!r}, make_pseudo_labels, round {name!r}"
        names = work.round.target(overlay=False).names
        for image, label in read_pairs(made, names, where):
            overlay.write_label(image, label, work.round.space)
            counts += np.bincount(np.asarray(label).reshape(-1), minlength=256)
    total = np.sum(ranks.all_gather_object(counts.tolist()), axis=0)
    labelled_share = float(1 - total[255] / max(1, total.sum()))
    handle.images.finish_any(required=False)
    overlay.finish(names, {"labelled": labelled_share, **handle.numbers})
    session.tracker.say(f"round {name!r}: pseudo labels for {100 * labelled_share:.1f} % of the target's pixels")


def note_labels(round: Round) -> None:
    """What was recorded when the labels of a round that begins were made: metrics after that round's
    checkpoint would be cut off."""
    maker = round.maker
    manifest = read_manifest(maker.labels_folder) if maker else None
    if maker is not None and manifest is not None:
        row = {"round": maker.name, "step": maker.steps, "pseudo_labels": manifest["numbers"]}
        round.session.tracker.note(row)


def remove_damaged_files(session: Session) -> list[Round]:
    """Remove what earlier rounds wrote and what changed on the disk since; returns the
    rounds that lack images then.

    Labels are made anew by `make_labels`, which finds the manifest gone. Images come from the end of a round.
    """
    lacking: list[str] = []

    def act() -> None:
        for name, round in session.rounds.items():
            for kind, folder in (("labels", round.labels_folder), ("images", round.images_folder)):
                damaged = Overlay(folder, "").remove_damaged()
                if not damaged:
                    continue
                where = f"round {name!r}: {len(damaged)} of its {kind} were damaged or gone"
                session.tracker.say(f"{where}, and are written anew: {list_names(damaged)}")
                if kind == "images":
                    lacking.append(name)

    on_main(act)
    return [session.rounds[name] for name in ranks.all_gather_object(lacking)[0]]


def labels_overlay(work: RoundInProgress) -> Overlay:
    """The pseudo labels of a round, tied to its weights."""
    return Overlay(work.round.labels_folder, digest(work.model.state_dict()))


def is_round_finished(round: Round) -> bool:
    """Whether the round's last checkpoint is there, and the labels that it was asked for."""
    if not round.session.checkpoints.exists(round.label):
        return False
    return not round.makes_labels or read_manifest(round.labels_folder) is not None


def recall_results(round: Round) -> list[Result]:
    """The newest scores of each evaluation set of a round, from metrics.jsonl."""
    newest = {row["set"]: row for row in read_rows(round.session.folder) if row["round"] == round.name and "miou" in row}
    return [read_result(row) for row in newest.values()]
