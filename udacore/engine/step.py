"""One optimiser step: losses of both hooks, backward passes by part, update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore import ranks
from udacore.config.references import SEGMENTER
from udacore.config.schema import RoundConfig
from udacore.engine.health import Health
from udacore.engine.hooks.hook_results import check_loss, checked_outputs, name_losses, reaches
from udacore.engine.hooks.loss_hooks import call_loss_hook
from udacore.engine.machine.device import Machine, derive_seed
from udacore.engine.optimisation.parts import Part, average_gradients
from udacore.engine.optimisation.updates import update_part
from udacore.errors import PluginError, near_matches
from udacore.interface import RoundInfo, SourceBatch, Step, TargetBatch
from udacore.plugins import label_errors

PartLosses = dict[str, list[Tensor]]


@attrs.define(kw_only=True)
class Updater:
    """What a step needs and what it leaves behind; made anew each round."""

    hooks: Any
    method: str
    model: nn.Module
    parts: dict[str, Part]
    config: RoundConfig
    round: RoundInfo
    machine: Machine
    seed: int
    epoch: int
    control: bool = False
    health: Health = attrs.field(factory=Health)
    numbers: dict[str, list[Any]] = attrs.field(factory=dict)
    is_checked: bool = attrs.field(default=False, init=False)  # set once all losses and outputs of a step were looked at

    def run_step(self, index: int, source: Sequence[SourceBatch | None], target: Sequence[TargetBatch | None]) -> None:
        """One optimiser step over the micro-batches of both domains, as the round's `update` says.

        What the hooks give is checked in the first one: a look at every graph would cost too much at each.
        """
        if self.is_checked:
            self._run_step(index, source, target)
            return
        where = f"plugin {self.method!r}, round {self.round.name!r}"
        with checked_outputs(self.model, where, len(self.round.classes)):
            self._run_step(index, source, target)
        self.is_checked = True

    def _run_step(self, index: int, source: Sequence[SourceBatch | None], target: Sequence[TargetBatch | None]) -> None:
        steps = [self._make_step(index, micro, pair) for micro, pair in enumerate(zip(source, target, strict=True))]
        for learner in self.parts.values():
            learner.set_rate(index, self.round.steps, self.epoch)
        domains = [d for d in ("source", "target") if d in self.config.draws]
        # `alternate` takes an optimiser step after each domain; else the gradients of both meet in one step.
        phases = [[d] for d in domains] if self.config.update == "alternate" else [domains]
        for phase in phases:
            for step in steps:
                joint: PartLosses = {}
                for domain in phase:
                    self._run_hook(domain, step, joint)
                self._backward(joint, index)
                if phase is phases[-1]:
                    step.kept.clear()  # a later micro-batch needs the memory of the graphs that hang here
            self._update(index)

    def _make_step(self, index: int, micro: int, pair: tuple[SourceBatch | None, TargetBatch | None]) -> Step:
        source, target = pair
        for batch in pair:
            if batch is not None:
                self.health.see_names(batch.name, index)
        # Random draws of a hook depend on its place alone: a resumed run repeats them without a saved state.
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.round.name, index, micro))
        return Step(
            settings=self.config.method, round=self.round, index=index, micro=micro, model=self.model,
            source=source, target=target, generator=generator, record=self.record,
        )  # fmt: skip

    def _run_hook(self, domain: str, step: Step, joint: PartLosses) -> None:
        """Backward over the losses of one hook, of each yield by itself; under `update: joint`
        they are added to `joint`."""
        hook = f"{domain}_loss"

        @contextlib.contextmanager
        def opened(place: str) -> Iterator[None]:
            labelled = label_errors(self.method, hook, self.round.name, step.index, place)
            with labelled, self._graph_advice(place), self.machine.autocast():
                yield

        said: set[str] = set()
        where = f"plugin {self.method!r}, {hook}, round {self.round.name!r}, step {step.index}"
        with contextlib.closing(call_loss_hook(getattr(self.hooks, hook), step, opened, where)) as given:
            for place, result in given:
                losses = self._scale(result, domain, step, where + place, said)
                if self.config.update == "joint":
                    # One backward over both domains: target_loss may reach into the graph of source_loss.
                    for part, terms in losses.items():
                        joint.setdefault(part, []).extend(terms)
                else:
                    # Backward at once, so that the graph of one domain is freed before the next is built.
                    self._backward(losses, step.index, place)
                del result, losses  # else the hook would go on while its last graph is still held here

    def _scale(self, result: object, domain: str, step: Step, where: str, said: set[str]) -> PartLosses:
        """Losses by part, recorded, each divided by the number of micro-batches. `said`: names that
        the hook has used before."""
        # The control multiplies by 0 and leaves nothing out, so that forwards move the same batch statistics.
        # Losses are means over a micro-batch, so their sum over micro-batches is divided by the number of
        # these.
        weight = (0.0 if self.control and domain == "target" else 1.0) / self.config.accumulation
        losses: PartLosses = {}
        for term, given in name_losses(result, domain, where).items():
            part = self._part_of_loss(term, given, where)
            value = given.float()  # sums in bfloat16 would lose what small terms add
            self.health.see(f"loss {term!r}", value, step.index)
            if term in said:  # a name that is yielded again stands for the sum
                numbers = self.numbers[f"loss/{term}"]
                numbers[-1] = numbers[-1] + value.detach()
            else:
                self.record(f"loss/{term}", value)
                said.add(term)
            losses.setdefault(part, []).append(weight * value)
        return losses

    def _part_of_loss(self, term: str, value: Any, where: str) -> str:
        """The part that a loss trains; PluginError for anything but a real scalar whose
        graph reaches that part."""
        where = f"{where}: loss {term!r}"
        part = term.partition("/")[0] if "/" in term else SEGMENTER
        if part not in self.parts:
            raise PluginError(f"{where}: this round trains no part {part!r}{near_matches(part, self.parts)}")
        loss = check_loss(value, where)
        if not self.is_checked and not reaches(loss, self.parts[part].parameters):
            raise PluginError(f"{where} reaches no parameter of its part {part!r}; do not detach what it is made of")
        return part

    def _backward(self, losses: PartLosses, index: int, yielded: str = "") -> None:
        """Each part's sum into this part's parameters only; the graph is kept until the last part is done."""
        order = list(losses)
        if yielded and SEGMENTER in losses:
            # The last pass frees what it goes through. The names of a hook that goes on may still hold the
            # segmenter's graph, which is the large one and which a discriminator's pass never enters. Parts
            # are apart, so the order changes nothing.
            order.append(order.pop(order.index(SEGMENTER)))
        for number, part in enumerate(order):
            terms = losses[part]
            total = torch.stack(terms).sum() if len(terms) > 1 else terms[0]
            if (scaler := self.parts[part].scaler) is not None:
                total = scaler.multiply(total)
            place = f"the backward pass of part {part!r}"
            # `inputs` keeps a discriminator's loss out of the segmenter's gradients, and the other way round,
            # without a detach or a change of requires_grad in the method.
            with label_errors(self.method, place, self.round.name, index, yielded), self._graph_advice(yielded):
                torch.autograd.backward(total, inputs=self.parts[part].parameters, retain_graph=number < len(losses) - 1)

    @contextlib.contextmanager
    def _graph_advice(self, yielded: str) -> Iterator[None]:
        reaching = "target_loss reaches into the graph of source_loss"
        if yielded:
            reaching = f"the loss of{yielded.removeprefix(',')} reaches into the graph of an earlier loss"
        try:
            yield
        except RuntimeError as error:
            if "backward through the graph a second time" in str(error):
                raise PluginError(
                    f"plugin {self.method!r}, round {self.round.name!r}: {reaching}, "
                    f"which update={self.config.update} has freed; say `update: joint`, or detach what is kept"
                ) from error
            raise

    def _update(self, index: int) -> None:
        average_gradients(self.parts.values())
        for part in self.parts.values():
            for name, value in update_part(part, self.health, index).items():
                self.record(name, value)

    def record(self, name: str, value: Any) -> None:
        """Collect a number until the next log line; tensors stay on the device."""
        self.numbers.setdefault(name, []).append(value.detach() if isinstance(value, Tensor) else value)

    def pending_numbers(self) -> dict[str, list[float]]:
        """What was recorded since the last log line; waits for the device."""
        return {name: [float(torch.as_tensor(value, dtype=torch.float32)) for value in values] for name, values in self.numbers.items()}

    def take_numbers(self) -> dict[str, float]:
        """Means over steps and ranks of what was recorded since the last call."""
        rows = ranks.all_gather_object({name: sum(values) / len(values) for name, values in self.pending_numbers().items()})
        self.numbers.clear()
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in names}
