"""One update: which parameters move, by which gradients, and what a method is told
that breaks the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.config.schema import PartConfig, RoundConfig
from udacore.engine.machine.device import Machine
from udacore.engine.optimisation.parts import make_parts, trained_parts
from udacore.engine.step import Updater
from udacore.errors import PluginError
from udacore.interface import Output, RoundInfo, SourceBatch, Step, TargetBatch

Loss = Callable[[Step], Any]


class Net(nn.Module):
    """A segmenter of one layer with batch norm, a discriminator beside it, and a count."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, 4, 1)
        self.discriminator = nn.Sequential(nn.Conv2d(4, 5, 1), nn.LeakyReLU(0.2), nn.Conv2d(5, 1, 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.align_corners, self.num_classes = False, 4

    def forward(self, image: Tensor) -> Output:
        features = self.body(image)
        return Output(logits=self.head(features), features=features)


def make_batches(count: int, size: int = 2) -> tuple[list[SourceBatch | None], list[TargetBatch | None]]:
    generator = torch.Generator().manual_seed(5)
    valid = torch.ones(size, 8, 8, dtype=torch.bool)
    sources: list[SourceBatch | None] = []
    targets: list[TargetBatch | None] = []
    for number in range(count):
        image, label = torch.randn(size, 3, 8, 8, generator=generator), torch.randint(0, 4, (size, 8, 8), generator=generator)
        sources.append(SourceBatch(image=image, label=label, name=tuple(f"s{number}-{i}" for i in range(size)), valid=valid))
        image, label = torch.randn(size, 3, 8, 8, generator=generator), torch.randint(0, 4, (size, 8, 8), generator=generator)
        targets.append(TargetBatch(image=image, name=tuple(f"t{number}-{i}" for i in range(size)), valid=valid, pseudo_label=label))
    return sources, targets


def part_of(batch: Any, place: slice) -> Any:
    """Some of the images of a batch."""
    names = [field.name for field in attrs.fields(type(batch)) if field.name != "extra"]
    return attrs.evolve(batch, **{name: getattr(batch, name)[place] for name in names})


def make_updater(source_loss: Loss, target_loss: Loss, *, lr: float = 0.1, control: bool = False, **changes: Any) -> Updater:
    """An updater on a fresh `Net`; every part is moved by plain SGD."""
    parts = {"segmenter": PartConfig(lr=lr), "discriminator": PartConfig(lr=lr)}
    config = RoundConfig(**{"parts": parts, "method": None, **changes})
    model = Net()
    trains = trained_parts(model, config)
    round = RoundInfo(name="adapt", index=0, steps=10, trains=trains, classes=tuple("abcd"))
    hooks = SimpleNamespace(source_loss=lambda step: source_loss(step), target_loss=lambda step: target_loss(step))
    return Updater(
        hooks=hooks, method="mine", model=model, parts=make_parts(model, config, trains), config=config, round=round,
        machine=Machine(device=torch.device("cpu")), seed=0, epoch=5, control=control,
    )  # fmt: skip


def on_source(step: Step) -> Tensor:
    assert step.source is not None
    return F.cross_entropy(step.model(step.source.image).logits, step.source.label)


def on_target(step: Step) -> Tensor:
    assert step.target is not None
    assert step.target.pseudo_label is not None
    return F.cross_entropy(step.model(step.target.image).logits, step.target.pseudo_label)


def nothing(step: Step) -> Mapping[str, Tensor]:
    return {}


def state(updater: Updater) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in updater.model.state_dict().items()}


def differing(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> set[str]:
    """The children whose state is not bit-equal."""
    return {name.partition(".")[0] for name in one if not torch.equal(one[name], two[name])}


def largest_difference(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def after_steps(updater: Updater, count: int = 3, accumulation: int = 1, size: int = 2) -> dict[str, Tensor]:
    for index in range(count):
        updater.run_step(index, *make_batches(accumulation, size))
    return state(updater)


def by_hand(count: int, *, alternate: bool = False) -> dict[str, Tensor]:
    """Plain torch: a step on the sum of both losses, or one step for each."""
    model = Net()
    optimizer = torch.optim.SGD([p for n, p in model.named_parameters() if not n.startswith("discriminator")], lr=0.1)
    for _ in range(count):
        sources, targets = make_batches(1)
        step: Any = SimpleNamespace(model=model, source=sources[0], target=targets[0])
        on_source(step).backward()
        if alternate:
            optimizer.step()
            optimizer.zero_grad()
        on_target(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return dict(model.state_dict())


def test_accumulate_is_bit_equal_to_two_backward_passes_and_one_step() -> None:
    assert differing(after_steps(make_updater(on_source, on_target)), by_hand(3)) == set()


def test_joint_is_the_gradient_of_the_sum() -> None:
    joint = after_steps(make_updater(on_source, on_target, update="joint"))
    assert largest_difference(joint, by_hand(3)) < 1e-6


def test_alternate_makes_two_optimiser_steps_at_one_rate() -> None:
    updater = make_updater(on_source, on_target, update="alternate")
    steps = []
    updater.parts["segmenter"].optimizer.register_step_post_hook(lambda *_: steps.append(1))
    assert differing(after_steps(updater), by_hand(3, alternate=True)) == set()
    assert len(steps) == 6


@pytest.mark.parametrize("update", ["accumulate", "joint", "alternate"])
def test_micro_batches_of_equal_counts_are_one_batch(update: str) -> None:
    def no_norm(loss: Loss) -> Loss:
        return lambda step: (step.model.eval(), loss(step))[1]

    def cut(number: int) -> tuple[list[SourceBatch | None], list[TargetBatch | None]]:
        source, target = (batches[0] for batches in make_batches(1, 4))
        places = [slice(i, i + 4 // number) for i in range(0, 4, 4 // number)]
        return [part_of(source, place) for place in places], [part_of(target, place) for place in places]

    states = []
    for number in (1, 2, 4):
        updater = make_updater(no_norm(on_source), no_norm(on_target), update=update, accumulation=number)
        for index in range(3):
            updater.run_step(index, *cut(number))
        states.append(state(updater))
    assert largest_difference(states[0], Net().state_dict()) > 1e-3
    assert largest_difference(states[0], states[1]) < 1e-6
    assert largest_difference(states[0], states[2]) < 1e-6


def test_a_loss_trains_its_own_part_only_though_its_graph_runs_through_others() -> None:
    def judged(step: Step) -> dict[str, Tensor]:
        assert step.target is not None
        return {"adversarial": -step.model.discriminator(step.model(step.target.image).logits).mean()}

    def told_apart(step: Step) -> dict[str, Tensor]:
        assert step.source is not None
        return {"discriminator/source": step.model.discriminator(step.model(step.source.image).logits).mean()}

    before = Net().state_dict()
    norm = {"body"}  # its batch statistics move
    assert differing(before, after_steps(make_updater(nothing, judged), 1)) == {"head"} | norm
    assert differing(before, after_steps(make_updater(told_apart, nothing), 1)) == {"discriminator"} | norm


def test_adversarial_training_is_bit_equal_to_switching_requires_grad() -> None:
    """The order of AdaptSegNet: both losses of the segmenter with the discriminator held still,
    then the discriminator's."""

    def source(step: Step) -> dict[str, Tensor]:
        assert step.source is not None
        logits = step.model(step.source.image).logits
        return {"source": F.cross_entropy(logits, step.source.label), "discriminator/source": F.softplus(-step.model.discriminator(logits)).mean()}

    def target(step: Step) -> dict[str, Tensor]:
        assert step.target is not None
        shared = step.model.discriminator(step.model(step.target.image).logits)
        return {"adversarial": 0.1 * F.softplus(-shared).mean(), "discriminator/target": F.softplus(shared).mean()}

    model = Net()
    own = [p for n, p in model.named_parameters() if not n.startswith("discriminator")]
    optimizers = [torch.optim.SGD(own, lr=0.1), torch.optim.SGD(model.discriminator.parameters(), lr=0.1)]
    for _ in range(3):
        sources, targets = make_batches(1)
        assert sources[0] is not None
        assert targets[0] is not None
        model.discriminator.requires_grad_(False)
        real = model(sources[0].image).logits
        F.cross_entropy(real, sources[0].label).backward()
        fake = model(targets[0].image).logits
        (0.1 * F.softplus(-model.discriminator(fake)).mean()).backward()
        model.discriminator.requires_grad_(True)
        F.softplus(-model.discriminator(real.detach())).mean().backward()
        F.softplus(model.discriminator(fake.detach())).mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert differing(after_steps(make_updater(source, target)), model.state_dict()) == set()


def test_a_part_that_the_round_does_not_train_stands_still() -> None:
    updater = make_updater(on_source, on_target, trains=("segmenter",))
    before = state(updater)
    assert not any(p.requires_grad for p in updater.model.discriminator.parameters())
    assert differing(before, after_steps(updater)) == {"body", "head"}


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (lambda step: {"criitic/x": on_source(step)}, "loss 'criitic/x': this round trains no part 'criitic'; possible: segmenter, discriminator"),
        (lambda step: {"discriminatr/x": on_source(step)}, "this round trains no part 'discriminatr'; did you mean 'discriminator'?"),
        (lambda step: {"x": step.model(step.source.image).logits}, "loss 'x' must be a scalar tensor, got a tensor of shape (2, 4, 8, 8)"),
        (lambda step: 0.0, "loss 'source' must be a scalar tensor, got float"),
        (lambda step: {"x": on_source(step).detach()}, "loss 'x' has no graph; for nothing to average return a zero made from the logits"),
    ],
    ids=["unknown part", "misspelt part", "no scalar", "no tensor", "no graph"],
)
def test_a_loss_that_breaks_the_contract_is_named(loss: Loss, text: str) -> None:
    with pytest.raises(PluginError) as caught:
        after_steps(make_updater(loss, nothing))
    assert str(caught.value).startswith("plugin 'mine', source_loss, round 'adapt', step 0: loss ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_on_an_untrained_part_is_refused() -> None:
    updater = make_updater(lambda step: {"discriminator/x": on_source(step)}, nothing, trains=("segmenter",))
    with pytest.raises(PluginError, match="this round trains no part 'discriminator'; possible: segmenter"):
        after_steps(updater)


@pytest.mark.parametrize(("update", "is_refused"), [("accumulate", True), ("alternate", True), ("joint", False)])
def test_a_target_loss_that_reaches_into_the_source_graph_is_advised(update: str, is_refused: bool) -> None:
    def keep(step: Step) -> Tensor:
        assert step.source is not None
        step.kept["logits"] = logits = step.model(step.source.image).logits
        return F.cross_entropy(logits, step.source.label)

    def reach(step: Step) -> Tensor:
        result: Tensor = step.kept["logits"].square().mean()
        return result

    updater = make_updater(keep, reach, update=update)
    if is_refused:
        with pytest.raises(PluginError, match=f"which update={update} has freed; say `update: joint`, or detach what is kept"):
            after_steps(updater)
    else:
        assert differing(state(updater), after_steps(updater)) == {"body", "head"}


def test_without_a_loss_no_optimiser_steps_but_buffers_move() -> None:
    def forward_only(step: Step) -> Mapping[str, Tensor]:
        assert step.source is not None
        step.model(step.source.image)
        step.model.seen += len(step.source.image)
        return {}

    updater = make_updater(forward_only, nothing)
    steps = []
    for part in updater.parts.values():
        part.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    before = state(updater)
    after = after_steps(updater)
    assert steps == []
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "seen", "body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked",
    }  # fmt: skip
    assert int(after["seen"]) == 6


def test_the_control_multiplies_target_losses_by_zero() -> None:
    controlled = after_steps(make_updater(on_source, on_target, control=True))
    plain = after_steps(make_updater(on_source, lambda step: 0 * on_target(step)))
    assert differing(controlled, plain) == set()
    assert differing(controlled, after_steps(make_updater(on_source, on_target))) == {"body", "head"}


def test_records_are_averaged_once_and_kept_dicts_end_with_their_step() -> None:
    kept: list[dict[str, Any]] = []

    def noting(step: Step) -> Tensor:
        step.kept["x"] = step.index
        kept.append(step.kept)
        step.record("index", step.index)
        return on_source(step)

    updater = make_updater(noting, lambda step: (step.record("twice", 2 * step.kept["x"]), on_target(step))[1])
    after_steps(updater)
    numbers = updater.take_numbers()
    assert (numbers["index"], numbers["twice"]) == (1.0, 2.0)
    assert set(numbers) == {"index", "twice", "loss/source", "loss/target"}
    assert kept == [{}, {}, {}]
    assert updater.take_numbers() == {}


def test_the_generator_depends_on_seed_round_step_and_micro_batch_alone() -> None:
    def draw(updater: Updater) -> list[int]:
        drawn: list[int] = []
        updater.hooks.source_loss = lambda step: (drawn.append(int(torch.randint(0, 2**31, (), generator=step.generator))), {})[1]
        after_steps(updater, 2, accumulation=2)
        return drawn

    first = draw(make_updater(nothing, nothing, accumulation=2))
    assert len(set(first)) == 4
    assert draw(make_updater(nothing, nothing, accumulation=2)) == first
