"""Losses one after another: each yield is scaled, recorded and carried back, and its graph is gone
before the hook goes on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore.config.schema import ModelConfig
from udacore.engine.machine.device import Machine
from udacore.errors import PluginError, UdaError
from udacore.interface import Step

sys.path.append(str(Path(__file__).resolve().parent))
from test_step import after_steps, differing, largest_difference, make_batches, make_updater, nothing, on_source, on_target, state

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = ModelConfig(name="small")


@pytest.fixture(scope="module")
def memory() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("memory_of_yields")


def terms(step: Step) -> list[Tensor]:
    """Three losses, each with a forward of its own."""
    return [factor * on_target(step) for factor in (1.0, 0.5, -0.25)]


def in_turn(step: Step) -> Iterator[dict[str, Tensor]]:
    for number, term in enumerate(terms(step)):
        yield {f"t{number}": term}


def together(step: Step) -> dict[str, Tensor]:
    return {f"t{number}": term for number, term in enumerate(terms(step))}


@pytest.mark.parametrize("update", ["accumulate", "alternate", "joint"])
def test_yields_give_the_gradients_of_the_sum(update: str) -> None:
    yielded, returned = (after_steps(make_updater(on_source, hook, update=update)) for hook in (in_turn, together))
    start = state(make_updater(on_source, together))
    assert largest_difference(start, returned) > 1e-3
    assert largest_difference(yielded, returned) < 1e-6
    if update == "joint":  # collected, so the same sum in the same order
        assert differing(yielded, returned) == set()


def test_a_single_yield_is_bit_equal_to_a_return_and_a_scalar_has_the_name_of_its_domain() -> None:
    def single(step: Step) -> Iterator[Tensor]:
        yield on_target(step)

    updater = make_updater(on_source, single)
    assert differing(after_steps(updater), after_steps(make_updater(on_source, on_target))) == set()
    assert set(updater.take_numbers()) == {"loss/source", "loss/target"}


def test_accumulation_and_the_control_scale_every_yield() -> None:
    micro = [after_steps(make_updater(on_source, hook, accumulation=2), accumulation=2) for hook in (in_turn, together)]
    assert largest_difference(*micro) < 1e-6
    controlled = after_steps(make_updater(on_source, in_turn, control=True))
    plain = after_steps(make_updater(on_source, lambda step: (0 * term for term in terms(step))))
    assert differing(controlled, plain) == set()
    assert differing(controlled, after_steps(make_updater(on_source, in_turn))) == {"body", "head"}


def test_yields_are_recorded_by_name_and_a_name_yielded_twice_is_the_sum() -> None:
    first: list[Tensor] = []

    def twice(step: Step) -> Iterator[Any]:
        loss = on_target(step)
        first.append(loss.detach())
        yield {"a": loss, "b": 2 * loss}
        yield {"a": on_target(step)}

    updater = make_updater(nothing, twice, lr=0.0, accumulation=2)
    updater.run_step(0, *make_batches(2))
    numbers = updater.pending_numbers()
    assert {name: len(values) for name, values in numbers.items()} == {"loss/a": 2, "loss/b": 2}
    assert numbers["loss/a"] == pytest.approx([2 * float(value) for value in first], rel=1e-5)
    assert numbers["loss/b"] == pytest.approx([2 * float(value) for value in first], rel=1e-5)


def test_a_yield_of_nothing_is_no_loss_and_no_yield_at_all_moves_buffers_only() -> None:
    def gaps(step: Step) -> Iterator[Any]:
        yield
        yield on_target(step)
        yield {}

    def silent(step: Step) -> Iterator[Any]:
        step.model.seen += 1
        yield from ()

    assert differing(after_steps(make_updater(on_source, gaps)), after_steps(make_updater(on_source, on_target))) == set()
    updater = make_updater(nothing, silent)
    before = state(updater)
    assert differing(before, after_steps(updater)) == {"seen"}


def test_three_losses_need_the_memory_of_one_and_give_the_gradients_of_their_sum(memory: Any) -> None:
    alone = max(memory.measure(memory.one(number), SMALL, 64).peak for number in range(3))
    summed, returned, yielded = (memory.measure(hook, SMALL, 64) for hook in (memory.summed, memory.returned, memory.yielded))
    assert returned.peak > 2.5 * alone
    assert yielded.peak <= 1.15 * alone
    assert memory.difference(yielded, summed) < 1e-5
    collected = memory.measure(memory.yielded, SMALL, 64, update="joint")
    assert collected.peak > 2.5 * alone


def test_the_graph_is_gone_when_the_hook_goes_on_even_if_a_discriminator_shares_it(memory: Any) -> None:
    left: list[tuple[int, int]] = []

    def adversarial(step: Step) -> Iterator[dict[str, Tensor]]:
        for _ in range(2):
            assert step.target is not None
            logits = step.model(step.target.image).logits
            fake = step.model.discriminator(logits)
            losses = {"deceit": F.softplus(-fake).mean(), "discriminator/fake": F.softplus(fake).mean()}
            held = saved.now
            yield losses  # which this frame holds on to
            left.append((saved.now, held))

    updater = make_updater(nothing, adversarial)
    with memory.SavedBytes(iter(updater.model.parameters())) as saved:
        updater.run_step(0, *make_batches(1))
    assert len(left) == 2
    assert all(held > 0 and now < 0.2 * held for now, held in left)


class Watched(torch.autograd.Function):
    """The identity, which notes whether autocast is on in its backward."""

    seen: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        Watched.seen.append(torch.is_autocast_enabled("cpu"))
        return gradients[0]


def test_autocast_is_on_in_the_hook_before_and_after_a_yield_and_off_in_the_backward_pass() -> None:
    inside = []
    Watched.seen.clear()

    def watched(step: Step) -> Iterator[Tensor]:
        for _ in range(2):
            inside.append(torch.is_autocast_enabled("cpu"))
            assert step.target is not None
            yield Watched.apply(step.model(step.target.image).logits.float().square().mean())
        inside.append(torch.is_autocast_enabled("cpu"))

    updater = make_updater(nothing, watched)
    updater.machine = Machine(device=torch.device("cpu"), amp="bf16")
    updater.run_step(0, *make_batches(1))
    assert inside == [True] * 3
    assert Watched.seen == [False] * 2
    assert not torch.is_autocast_enabled("cpu")


def test_a_yield_inside_of_no_grad_is_carried_back_all_the_same() -> None:
    def careless(step: Step) -> Iterator[Tensor]:
        loss = on_target(step)
        with torch.no_grad():
            yield loss

    careful = after_steps(make_updater(nothing, on_target))
    assert differing(after_steps(make_updater(nothing, careless)), careful) == set()
    assert torch.is_grad_enabled()


def test_any_iterator_will_do() -> None:
    mapped = after_steps(make_updater(nothing, lambda step: map(torch.mul, terms(step), (2, 2, 2))))
    assert differing(mapped, after_steps(make_updater(nothing, lambda step: (2 * x for x in terms(step))))) == set()


def second(give: Any) -> Any:
    """A hook whose second yield is what `give(step, first)` gives."""

    def hook(step: Step) -> Iterator[Any]:
        first = on_target(step)
        yield first
        yield give(step, first)

    return hook


WRONG = {
    "an exception": (lambda step, first: 1 / 0, ZeroDivisionError, "division by zero"),
    "the end of the program": (lambda step, first: sys.exit(0), PluginError, "target_loss, round 'adapt', step 0, yield 2: raised SystemExit(0)"),
    "a list": (lambda step, first: [first], PluginError, "target_loss, round 'adapt', step 0, yield 2: loss 'target' must be a scalar tensor"),
    "no graph": (lambda step, first: {"x": first.detach()}, PluginError, "step 0, yield 2: loss 'x' has no graph"),
    "an unknown part": (lambda step, first: {"citic/x": on_target(step)}, PluginError, "yield 2: loss 'citic/x': this round trains no part 'citic'"),
    "an earlier graph": (lambda step, first: first.square(), PluginError, "the loss of yield 2 reaches into the graph of an earlier loss"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_names_the_yield_and_ends_the_hook(name: str) -> None:
    give, kind, words = WRONG[name]
    ended = []

    def hook(step: Step) -> Iterator[Any]:
        try:
            yield from second(give)(step)
        finally:
            ended.append(True)

    with pytest.raises(kind) as caught:
        after_steps(make_updater(on_source, hook))
    notes = getattr(caught.value, "__notes__", [])
    assert words in str(caught.value)
    assert ended == [True]
    if kind is ZeroDivisionError:
        assert notes == ["in hook target_loss of plugin 'mine', round 'adapt', step 0, yield 2"]


def test_losses_returned_by_a_generator_are_refused_since_nobody_would_take_them() -> None:
    def confused(step: Step) -> Any:
        yield {"a": on_target(step)}
        return {"b": on_target(step)}

    with pytest.raises(PluginError, match=r"step 0, yield 2: a generator returned dict, which nobody takes; yield every loss"):
        after_steps(make_updater(nothing, confused))


def test_a_loss_that_is_not_finite_is_found_in_any_yield() -> None:
    def broken(step: Step) -> Iterator[dict[str, Tensor]]:
        yield {"sound": on_target(step)}
        yield {"broken": on_target(step) * float("nan")}

    updater = make_updater(nothing, broken)
    updater.run_step(0, *make_batches(1))
    with pytest.raises(UdaError, match=r"step 0: not finite: loss 'broken', gradient of segmenter"):
        updater.health.check("adapt", "none")


def test_a_failure_of_the_backward_pass_names_the_yield() -> None:
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            raise ValueError("no derivative")

    with pytest.raises(ValueError, match="no derivative") as caught:
        after_steps(make_updater(nothing, second(lambda step, first: Failing.apply(on_target(step)))))
    notes = caught.value.__notes__
    assert notes == ["in hook the backward pass of part 'segmenter' of plugin 'mine', round 'adapt', step 0, yield 2"]


def test_the_source_may_yield_and_the_target_may_read_what_it_kept() -> None:
    def source(step: Step) -> Iterator[Tensor]:
        loss = on_source(step)
        yield loss
        step.kept["loss"] = loss.detach()

    seen = []

    def target(step: Step) -> Tensor:
        seen.append(float(step.kept["loss"]))
        return on_target(step)

    updater = make_updater(source, target)
    expected = after_steps(make_updater(on_source, on_target))
    assert differing(after_steps(updater), expected) == set()
    assert seen == pytest.approx(updater.pending_numbers()["loss/source"])
