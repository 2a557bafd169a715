"""The steps of a round: set up, train, and choose the model that is kept."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Mapping
from typing import Any, Literal

import attrs
import torch
from torch import nn

from udacore import ranks
from udacore.config.schema import RoundConfig
from udacore.data.loading import stream_batches
from udacore.engine.evaluation import EvaluationSet, Result, describe_protocol, evaluate
from udacore.engine.files.checkpoint import LAST, RunState, copy_state, random_states, set_random_states
from udacore.engine.files.restoring import restore_model, restore_optimizers, restore_scalers
from udacore.engine.hooks.hook_results import find_not_finite
from udacore.engine.initial_weights import build_model, load_initial_weights
from udacore.engine.machine.device import Machine, derive_seed, seed_everything
from udacore.engine.machine.signals import StoppedError, stop_signals
from udacore.engine.optimisation.frozen import Frozen, fill_frozen
from udacore.engine.optimisation.parts import make_parts, set_modes, trained_parts
from udacore.engine.rounds import Round, Session
from udacore.engine.step import Updater
from udacore.errors import DataError, UdaError, list_names
from udacore.interface import RoundInfo, SourceBatch, TargetBatch
from udacore.schedules import count_steps


@attrs.define(kw_only=True)
class RoundInProgress:
    """A round under way."""

    round: Round
    info: RoundInfo
    model: nn.Module
    updater: Updater
    sets: list[EvaluationSet]
    frozen: Frozen = attrs.field(factory=Frozen)
    step: int = 0
    best: float | None = None

    def state(self, *, under_way: bool = False) -> RunState:
        """What must survive a restart from here; optimisers and pending numbers only
        while steps are being taken."""
        return RunState(
            round=self.name,
            step=self.step,
            model=copy_state(self.model, leave=self.frozen.entries),
            optimizers={name: part.optimizer.state_dict() for name, part in self.updater.parts.items()} if under_way else {},
            random=random_states() if under_way else [],
            numbers=ranks.all_gather_object(self.updater.pending_numbers()) if under_way else [],
            best=self.best,
            scalers={n: p.scaler.state() for n, p in self.updater.parts.items() if p.scaler is not None} if under_way else {},
            frozen=self.frozen.files if self.frozen.entries else {},
            written={**self.session.tracker.written(), "steps": self.round.offset + self.step},
        )

    def restore(self, label: str) -> None:
        """Go back to where the checkpoint of this name was written. DataError if
        it does not fit the round."""
        path, state = self.session.checkpoints.path(label), self.session.checkpoints.load(label)
        if state.round != self.name or state.step > self.info.steps:
            there, here = f"step {state.step} of round {state.round!r}", f"the {self.info.steps} steps of round {self.name!r}"
            raise DataError(f"{path}: holds {there}, which is not one of {here}")
        self.frozen.entries -= state.model.keys()
        restore_model(self.model, self.frozen.complete(self.model, state.model, state.frozen, str(path)), str(path))
        if label == LAST:  # only while steps are taken there is more to go back to
            for key, shares in (("random", state.random), ("numbers", state.numbers)):
                if len(shares) != ranks.size():
                    raise DataError(f"{path}: {key}: holds those of {len(shares)} processes, now there are {ranks.size()}")
            restore_optimizers(self.updater.parts, state.optimizers, str(path))
            restore_scalers(self.updater.parts, state.scalers, str(path))
            set_random_states(state.random)
            self.updater.numbers = {name: list(values) for name, values in state.numbers[ranks.rank()].items()}
        self.step, self.best = state.step, state.best

    @property
    def session(self) -> Session:
        """The run."""
        return self.round.session

    @property
    def name(self) -> str:
        """The round's name."""
        return self.round.name

    @property
    def config(self) -> RoundConfig:
        """The round's settings."""
        return self.round.config


def set_up(round: Round) -> RoundInProgress:
    """Build the round's model with its starting weights and optimisers, on the device."""
    session, config, machine = round.session, round.config, round.session.machine
    known = round.info(round.steps)
    model = build_model(round, known)
    trains = trained_parts(model, config)
    # A round whose steps are done gets its weights from its own checkpoint: those that it
    # began with may be gone.
    info = attrs.evolve(known, trains=trains)
    if round.has_taken_steps:
        frozen = fill_frozen(model, config)
    else:
        frozen = load_initial_weights(round, model)
        broken = find_not_finite(model)
        if broken:
            raise UdaError(f"round {round.name!r} would begin with weights that are not finite: {list_names(broken)}")
    model.to(machine.device).to(memory_format=machine.memory_format)
    if session.config.compile:
        for child in model.children():  # in place; not the model itself: torch cannot trace how its `Output` is made
            child.compile()
    updater = Updater(
        hooks=session.hooks, method=session.method.name, model=model, config=config, round=info, machine=machine,
        parts=make_parts(model, config, trains, machine.scale_on), seed=session.config.seed, epoch=round.epoch, control=session.config.control,
    )  # fmt: skip
    # By the round's name, not by what ran before: a round that is run alone draws as it
    # does in the whole run.
    seed_everything(derive_seed(session.config.seed, round.name, "global"), machine.device)
    return RoundInProgress(round=round, info=info, model=model, updater=updater, sets=round.evaluation_sets(), frozen=frozen)


def take_steps(work: RoundInProgress) -> None:
    """All optimiser steps that are left, with log lines, evaluations and checkpoints when they are due."""
    session, steps = work.session, work.info.steps
    if session.checkpoints.is_last_of(work.name):
        work.restore(LAST)
        session.tracker.say(f"round {work.name!r} goes on at step {work.step}")
    logged = work.step
    session.tracker.restart_clock()
    with stop_signals() as stopped, contextlib.closing(micro_batches(work)) as batches:
        for source, target in batches:
            set_modes(work.model, work.config, work.info.trains)  # a hook of the last step may have left others
            work.updater.run_step(work.step, source, target)
            work.step += 1
            if work.step % session.config.log_every == 0 or work.step == steps:
                report(work, work.step - logged)
                logged = work.step
            if work.step < steps:  # the last step's evaluation is below, so that it takes place once
                evaluate_due(work)
            if (work.step % session.config.save_every == 0 and work.step < steps) or stopped:
                save_last(work)
            if stopped:
                raise StoppedError(stopped[0], f"round {work.name!r}, step {work.step}")
    tell_skipped(work)
    evaluate_due(work, at_end=True)


def tell_skipped(work: RoundInProgress) -> None:
    """A line for each part whose updates were left out where its gradients overflowed."""
    for name, part in work.updater.parts.items():
        if part.scaler is not None and part.scaler.skipped:
            said = f"left out {part.scaler.skipped} updates of part {name!r}, whose gradients overflowed"
            work.session.tracker.say(f"round {work.name!r}: fp16 {said}; its losses are now multiplied by {part.scaler.scale:g}")


MicroBatches = tuple[list[SourceBatch | None], list[TargetBatch | None]]


def micro_batches(work: RoundInProgress) -> Generator[MicroBatches, None, None]:
    """For each step that is left, the micro-batches of both domains on the device; lists of
    None for a domain not drawn."""
    count, machine = work.config.accumulation, work.session.machine
    streams = {domain: _stream(work, domain) for domain in work.config.draws}
    try:
        for _ in range(work.step, work.info.steps):
            source = [move(next(streams["source"]), machine) if "source" in streams else None for _ in range(count)]
            target = [move(next(streams["target"]), machine) if "target" in streams else None for _ in range(count)]
            yield source, target
    finally:
        for stream in streams.values():
            stream.close()


def _stream(work: RoundInProgress, domain: Literal["source", "target"]) -> Any:
    session, config = work.session, work.config
    table, entry = (work.round.source(), config.source) if domain == "source" else (work.round.target(), config.target)
    return stream_batches(
        table, entry, config.pixels, space=work.round.space, seed=session.config.seed, round=work.name, domain=domain,
        batch=config.batch, accumulation=config.accumulation, start=work.step, steps=work.info.steps,
        workers=session.config.workers, pin=session.machine.device.type == "cuda",
    )  # fmt: skip


def move(batch: Any, machine: Machine) -> Any:
    """A batch on the device; None stays None."""
    if batch is None:
        return None

    def to_device(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: to_device(inner) for name, inner in value.items()}
        return value.to(machine.device, non_blocking=True) if isinstance(value, torch.Tensor) else value

    moved = {field.name: to_device(getattr(batch, field.name)) for field in attrs.fields(type(batch))}
    moved["image"] = moved["image"].contiguous(memory_format=machine.memory_format)
    return type(batch)(**moved)


def report(work: RoundInProgress, done: int) -> None:
    """Check that all was finite, then a log line, a row of metrics and TensorBoard's scalars."""
    session = work.session
    work.updater.health.check(work.name, last_good(work))
    rates = {f"lr/{group['name']}": float(group["lr"]) for part in work.updater.parts.values() for group in part.optimizer.param_groups}
    place = {"round": work.name, "step": work.step, "steps": work.info.steps, "total": work.round.offset + work.step}
    session.tracker.report_steps(place, work.updater.take_numbers(), rates, done)


def last_good(work: RoundInProgress) -> str:
    """The newest checkpoint, for messages."""
    files = [path for path in work.session.checkpoints.folder.glob("*.pt") if not path.stem.endswith(".stale")]
    files.sort(key=lambda path: path.stat().st_mtime)
    return str(files[-1]) if files else "none yet"


def save_last(work: RoundInProgress) -> None:
    """Write the checkpoint that a killed run goes on from, unless something was not
    finite since the last look."""
    work.updater.health.check(work.name, last_good(work))  # else weights that are not finite would replace sound ones
    work.session.checkpoints.save(LAST, work.state(under_way=True))


def evaluate_due(work: RoundInProgress, at_end: bool = False) -> None:
    """Score the sets whose turn it is, and remember the model if it is the best so far."""
    for number, data in enumerate(work.sets):
        every = count_steps(data.config.every, work.updater.epoch)
        if not (at_end or (every and work.step % every == 0)):
            continue
        work.updater.health.check(work.name, last_good(work))
        result = score_set(work, data, "last")
        is_judge = data.name == work.config.best_on if work.config.best_on else number == 0
        is_better = work.best is None or math.isnan(work.best) or result.scores.miou > work.best
        if work.config.keep == "best" and is_judge and is_better:
            work.best = result.scores.miou
            work.session.checkpoints.save("best", work.state())
        work.session.tracker.restart_clock()


def score_set(work: RoundInProgress, data: EvaluationSet, chosen: str) -> Result:
    """Evaluate on one set and tell everybody."""
    session = work.session
    scores = evaluate(work.model, data, session.machine, session.config.workers)
    protocol = describe_protocol(data, work.model, session.machine, chosen)
    result = Result(round=work.name, step=work.step, set=data.name, scores=scores, classes=data.space.classes, protocol=protocol)
    session.tracker.note(result.row())
    board = {f"{data.name}/miou": scores.miou, **{f"{data.name}/iou/{c}": v for c, v in zip(result.classes, scores.iou, strict=True)}}
    board[f"{data.name}/mean_f1"] = scores.mean_f1
    board = {name: value for name, value in board.items() if math.isfinite(value)}  # an absent class has no point
    session.tracker.board(board, work.round.offset + work.step)
    rehearsal = "" if data.quick is None else f", quick: steps divided by {data.quick}"
    session.tracker.say(f"{work.name} {work.step}/{work.info.steps}  {data.name} mIoU {100 * scores.miou:.2f} ({chosen} model){rehearsal}")
    return result


def keep_model(work: RoundInProgress) -> None:
    """Go back to the best model of the round, if that is what it keeps."""
    if work.config.keep == "best" and work.best is not None:
        best = work.session.checkpoints.load("best")
        path = str(work.session.checkpoints.path("best"))
        restore_model(work.model, work.frozen.complete(work.model, best.model, best.frozen, path), path)
        judge = next((data for data in work.sets if data.name == work.config.best_on), work.sets[0])
        by = ", chosen by labels of the target" if judge.domain == "target" else ""
        work.session.tracker.say(f"round {work.name!r} keeps the model of step {best.step}: best on {judge.name!r}{by}")
