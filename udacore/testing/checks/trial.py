"""Rounds of a method set up for single calls of its hooks, on images of `streets`."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from udacore.config.references import SEGMENTER
from udacore.config.schema import RoundConfig
from udacore.engine import round_end, training
from udacore.engine.files.checkpoint import Checkpoints, RunState, _global_states, _set_global_states, copy_state
from udacore.engine.hooks.loss_hooks import call_loss_hook
from udacore.engine.machine.device import Machine, seed_everything
from udacore.engine.optimisation.parts import set_modes
from udacore.engine.rounds import Session
from udacore.engine.run import make_session
from udacore.engine.training import RoundInProgress
from udacore.interface import IGNORE, SourceBatch, Step, TargetBatch
from udacore.plugins import hooks_of, label_errors
from udacore.testing.checks.reach import Reach
from udacore.testing.checks.report import ContractError
from udacore.testing.checks.subject import Subject

Pair = tuple[SourceBatch | None, TargetBatch | None]
NOWHERE = Path("no-such-folder")
"""The run folder of a trial: nothing is there, and nothing is written."""


@attrs.frozen
class Loss:
    """One loss of one call: the hook that gave it, its name, the part that it trains, and what was given (a
    scalar, if all is well).

    `place` tells the yields of a generator apart, such as ", yield 2".
    """

    hook: str
    term: str
    part: str
    value: Any
    place: str = ""

    @property
    def label(self) -> str:
        """Its name, and which yield gave it: two yields may use one name."""
        return self.term + self.place

    @property
    def tensor(self) -> Tensor | None:
        """The value, if it is a tensor at all."""
        return self.value if isinstance(self.value, Tensor) else None


@attrs.frozen(kw_only=True, eq=False)
class Stage:
    """A round on trial, no step taken yet, its overlays stood in for."""

    session: Session
    name: str
    config: RoundConfig
    pairs: list[Pair]
    reach: Reach = attrs.field(factory=Reach)

    def set_up(self, *, amp: bool = False) -> RoundInProgress:
        """Model and optimisers, new and each time the same; global random states are left as
        a round begins with them."""
        machine = attrs.evolve(self.session.machine, amp="bf16" if amp else "off")
        work = training.set_up(attrs.evolve(self.session, machine=machine).rounds[self.name])
        set_modes(work.model, work.config, work.info.trains)
        return work

    def losses(self, work: RoundInProgress, pair: Pair, *, index: int = 0, seed: int | None = 1, copied: bool = True) -> list[Loss]:
        """What both hooks give for a copy of a pair of batches, as returned; with `seed` the global
        generators are set first, and the step's."""
        if copied:
            pair = copy_pair(pair)
        if seed is not None:
            seed_everything(seed, work.session.machine.device)
        step = Step(
            settings=work.config.method, round=work.info, index=index, micro=0, model=work.model, source=pair[0], target=pair[1],
            generator=torch.Generator().manual_seed(seed or 1), record=lambda name, value: self.reach.recorded.setdefault(name),
        )  # fmt: skip
        found = []
        for domain in ("source", "target"):
            if domain in work.config.draws:
                hook = f"{domain}_loss"
                where = f"plugin {work.session.method.name!r}, {hook}, round {self.name!r}, step {index}"
                for place, result in call_loss_hook(getattr(work.session.hooks, hook), step, partial(self._opened, work, hook, index), where):
                    named = result if isinstance(result, Mapping) else {} if result is None else {domain: result}
                    found += [Loss(hook, str(term), part_of_term(str(term)), value, place) for term, value in named.items()]
        self.reach.losses |= dict.fromkeys(loss.term for loss in found)
        return found

    @contextlib.contextmanager
    def _opened(self, work: RoundInProgress, hook: str, index: int, place: str) -> Iterator[None]:
        """The context in which code of a loss hook runs."""
        with label_errors(work.session.method.name, hook, self.name, index, place), work.session.machine.autocast():
            yield

    def take_steps(self, work: RoundInProgress, count: int = 2) -> list[dict[str, list[float]]]:
        """Optimiser steps as the engine takes them; the numbers recorded at each."""
        seen = []
        for index in range(count):
            source, target = copy_pair(self.pairs[index % len(self.pairs)])
            seed_everything(index, work.session.machine.device)
            set_modes(work.model, work.config, work.info.trains)
            micro = work.config.accumulation
            work.updater.run_step(index, [source] * micro, [target] * micro)
            seen.append(work.updater.pending_numbers())
            work.updater.numbers.clear()
        return seen

    def says(self, loss: Loss, text: str) -> ContractError:
        """A failure about one loss."""
        return ContractError(f"round {self.name!r}: {loss.hook} gives the loss {loss.term!r}{loss.place} {text}")


def part_of_term(term: str) -> str:
    """The part that a loss of this name trains."""
    return term.partition("/")[0] if "/" in term else SEGMENTER


def copy_pair(pair: Pair) -> Pair:
    """The same batches in memory of their own, so that what a hook does to them is not seen
    by the next one on trial."""
    source, target = (_copy_batch(batch) for batch in pair)
    return source, target


def _copy_batch(batch: Any) -> Any:
    if type(batch) not in (SourceBatch, TargetBatch):  # none, or one that is watched
        return batch
    extra = {name: value.clone() for name, value in batch.extra.items()}
    return attrs.evolve(batch, **{name: value.clone() for name, value in tensors_of(batch).items()}, extra=extra)


def tensors_of(batch: SourceBatch | TargetBatch) -> dict[str, Tensor]:
    """The tensors of a batch by their names."""
    fields = {field.name: getattr(batch, field.name) for field in attrs.fields(type(batch))}
    return {name: value for name, value in fields.items() if isinstance(value, Tensor)}


class Trial:
    """All that differs between the rounds of a method, each once."""

    def __init__(self, subject: Subject, reach: Reach | None = None) -> None:
        self.subject = subject
        self.reach = reach or Reach()

    @functools.cached_property
    def session(self) -> Session:
        """A run that is silent and has no folder."""
        machine = Machine(device=torch.device("cpu"))
        return make_session(self.subject.config, self.subject.method, NOWHERE, machine)

    @functools.cached_property
    def stages(self) -> list[Stage]:
        """The rounds that take steps; of those that differ in name and start only, the first."""
        seen: list[RoundConfig] = []
        stages = []
        store = Store()
        for name, config in self.session.config.rounds.items():
            session = self._stand_in(name, config, store)
            like = attrs.evolve(config, weights=None, keep="last", best_on=None, evaluate={})
            if config.steps and like not in seen:
                seen.append(like)
                stage = make_stage(session, name, has_labels=config.target.labels != "none")
                stages.append(attrs.evolve(stage, reach=self.reach))
            if "on_round_end" in hooks_of(self.session.method):
                store = store.add(session, name)
        return stages

    def _stand_in(self, name: str, config: RoundConfig, store: Store) -> Session:
        """The session as this round sees it: overlays stood in for, weights those that earlier
        rounds' ends left, or as built."""
        changes: dict[str, Any] = {"source": attrs.evolve(config.source, images="own"), "target": attrs.evolve(config.target, labels="none")}
        for weights in (config.weights, "initial"):
            plain = attrs.evolve(config, weights=weights if store.states else "initial", **changes)
            rounds = {**self.session.config.rounds, name: plain}
            session = attrs.evolve(self.session, config=attrs.evolve(self.session.config, rounds=rounds), checkpoints=store)
            with contextlib.suppress(Exception):  # what is wrong with the model is said by the checks that build it
                training.set_up(session.rounds[name])
                break
        return session


class Store(Checkpoints):
    """The checkpoints of earlier rounds, in memory."""

    def __init__(self, states: Mapping[str, RunState] = MappingProxyType({})) -> None:
        super().__init__(NOWHERE)
        self.states = states

    def exists(self, name: str) -> bool:
        """Whether there is one."""
        return name in self.states

    def load(self, name: str) -> RunState:
        """One of them."""
        return self.states[name]

    def add(self, session: Session, name: str) -> Store:
        """These and the model that a round ends with: after `on_round_end`, but without steps.
        These alone, if that fails."""
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.suppress(Exception):  # what fails is said by the run
            work = training.set_up(attrs.evolve(session, folder=Path(folder)).rounds[name])
            work.sets.clear()
            round_end.call_round_end(work)
            state = RunState(round=name, step=0, model=copy_state(work.model))
            return Store({**self.states, work.round.label: state, work.round.steps_label: state})
        return self


def make_stage(session: Session, name: str, *, has_labels: bool) -> Stage:
    """A round with two pairs of batches to try it on."""
    with contextlib.closing(draw_pairs(session, name)) as drawn:
        pairs = [(source, stand_in_labels(target, len(session.rounds[name].space)) if has_labels else target) for source, target in drawn]
    return Stage(session=session, name=name, config=session.config.rounds[name], pairs=pairs)


def draw_pairs(session: Session, name: str) -> Generator[Any, None, None]:
    """Two pairs of batches as the engine would draw them, without a model."""
    streams = {domain: _stream(session, name, domain) for domain in session.config.rounds[name].draws}
    try:
        for _ in range(2):
            yield tuple(next(streams[domain]) if domain in streams else None for domain in ("source", "target"))
    finally:
        for stream in streams.values():
            stream.close()


def _stream(session: Session, name: str, domain: Literal["source", "target"]) -> Any:
    from udacore.data.loading import stream_batches

    round, config = session.rounds[name], session.config.rounds[name]
    table, entry = (round.source(), config.source) if domain == "source" else (round.target(), config.target)
    return stream_batches(
        table, entry, config.pixels, space=round.space, seed=session.config.seed, round=name, domain=domain, batch=2, steps=2
    )  # fmt: skip


def stand_in_labels(target: TargetBatch | None, classes: int) -> TargetBatch | None:
    """A target batch with pseudo labels: blocks of 8 x 8 pixels of one class or, now and then, ignored."""
    if target is None:
        return None
    count, _, height, width = target.image.shape
    draw = torch.Generator().manual_seed(3)
    blocks = torch.randint(0, classes + 2, (count, -(-height // 8), -(-width // 8)), generator=draw)
    label = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :height, :width]
    return attrs.evolve(target, pseudo_label=label.where(label < classes, IGNORE).contiguous())


@contextlib.contextmanager
def undisturbed_process() -> Iterator[None]:
    """One thread inside, since sums depend on their number; random states, threads and working directory
    as they were afterwards."""
    states, threads, folder = _global_states(), torch.get_num_threads(), os.getcwd()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.chdir(folder)
        torch.set_num_threads(threads)
        _set_global_states(states)
