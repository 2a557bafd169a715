"""The hooks on small networks: order, parts, draws, and what depends on what."""

from __future__ import annotations

import weakref

import attrs
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import udacore_mic as mic
from torch import nn
from udacore_mic import Settings

from udacore import ConfigError
from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.interface import IGNORE, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.testing.processes import part
from udacore.testing.steps import take_steps

CLASSES = ("road", "car", "sky", "person", "tree")
SMALL = ModelConfig(name="small")
PLAIN = Settings(network="core", feature_distance=0, mask_block=8, jitter=0.2)
ALL = attrs.evolve(PLAIN, feature_distance=0.005, masked="target")
DETAIL = attrs.evolve(ALL, detail_size=(32, 16))
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=CLASSES)
FROZEN = {"segmenter": PartConfig(optimizer="SGD", lr=0.05), "imagenet": PartConfig(frozen=True)}


def build(settings, seed=0):
    torch.manual_seed(seed)
    return mic.build_model(settings=settings, architecture=SMALL, round=INFO)


def batches(count=2, seed=7, size=(32, 64)):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(count, 3, *size, generator=generator) for _ in range(2)]
    cells = torch.randint(0, len(CLASSES), (count, size[0] // 16, size[1] // 16), generator=generator)
    label = cells.repeat_interleave(16, 1).repeat_interleave(16, 2)
    label[:, 0] = IGNORE
    valid = torch.ones(count, *size, dtype=torch.bool)
    names = [tuple(f"{letter}{number}" for number in range(count)) for letter in "st"]
    source = SourceBatch(image=images[0], label=label, name=names[0], valid=valid)
    return source, TargetBatch(image=images[1], name=names[1], valid=valid)


def part_of_batch(batch, which):
    """Some of the images of a batch."""
    values = {field.name: getattr(batch, field.name) for field in attrs.fields(type(batch))}
    chosen = {name: value[which] for name, value in values.items() if isinstance(value, torch.Tensor)}
    return type(batch)(**{**values, **chosen, "name": tuple(batch.name[number] for number in which)})


def a_step(model, settings, source, target, **more):
    given = {"round": INFO, "index": 0, "micro": 0, "generator": torch.Generator().manual_seed(3), "record": lambda *_: None, **more}
    return Step(settings=settings, model=model, source=source, target=target, **given)


def train(model, settings, *pairs, control=False, accumulation=1, update="accumulate", lr=0.05):
    parts = {**FROZEN, "segmenter": PartConfig(optimizer="SGD", lr=lr)}
    config = RoundConfig(steps=10, parts=parts, method=settings, batch=2, accumulation=accumulation, update=update)
    return take_steps(mic, config, model, *zip(*pairs, strict=True), round=INFO, control=control)


def gradients(model, loss):
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        (PLAIN, {"source", "mixed"}),
        (ALL, {"source", "feature_distance", "mixed", "masked"}),
        (DETAIL, {"source", "source_detail", "feature_distance", "mixed", "mixed_detail", "masked", "masked_detail"}),
        (attrs.evolve(PLAIN, masked="source"), {"source", "mixed", "masked"}),
        (attrs.evolve(PLAIN, masked="both", masked_augmented=False), {"source", "mixed", "masked"}),
    ],
)
def test_each_of_the_methods_has_its_terms(settings, terms):
    model = build(settings)
    rows = train(model, settings, batches(), batches(seed=8))
    assert {name.removeprefix("loss/") for name in rows[1] if name.startswith("loss/")} == terms
    assert all(torch.isfinite(torch.tensor(values)).all() for values in rows[1].values())
    assert ("imagenet" in dict(model.named_children())) == bool(settings.feature_distance)


def test_the_teacher_follows_before_the_losses_of_a_step_and_once_a_step():
    model = build(PLAIN)
    before = {name: each.clone() for name, each in model.named_parameters()}
    train(model, PLAIN, batches())
    after = {name: each.clone() for name, each in model.named_parameters()}
    teacher = dict(model.teacher.network.named_buffers())
    assert all(torch.equal(teacher[name], each) for name, each in before.items())
    assert any(not torch.equal(after[name], each) for name, each in before.items())
    train(model, PLAIN, batches(seed=8))
    assert model.teacher.count == 2
    for name, each in before.items():
        torch.testing.assert_close(dict(model.teacher.network.named_buffers())[name], (each + after[name]) / 2)


def test_micro_batches_move_the_teacher_once():
    model = build(PLAIN)
    pairs = [batches(seed=8), batches(seed=9)]
    config = RoundConfig(steps=10, parts=FROZEN, method=PLAIN, batch=4, accumulation=2)
    take_steps(mic, config, model, [[pair[0] for pair in pairs]], [[pair[1] for pair in pairs]], round=INFO)
    assert model.teacher.count == 1


def test_the_teacher_normalises_by_its_own_batch_and_keeps_no_graph():
    model, (_, target) = build(PLAIN), batches()
    norm = next(layer for layer in model.teacher.network.modules() if isinstance(layer, nn.BatchNorm2d))
    step = a_step(model.train(), PLAIN, None, target)
    with torch.no_grad():
        norm.running_mean.fill_(100.0)
    pseudo = mic.adaptation.ask_teacher(step, target)
    assert not pseudo.weight.requires_grad
    assert norm.running_mean.max() < 100
    with torch.no_grad():
        norm.running_mean.fill_(-100.0)
    assert torch.equal(mic.adaptation.ask_teacher(step, target).label, pseudo.label)


def test_the_frozen_backbone_is_as_before_and_its_distance_reaches_the_backbone_alone():
    model, settings = build(ALL), ALL
    with torch.no_grad():
        for each in model.imagenet.parameters():
            each.mul_(1.1)
    model.imagenet.requires_grad_(False)
    before = {name: value.clone() for name, value in model.imagenet.state_dict().items()}
    model.train().imagenet.eval()
    losses = mic.source_loss(step=a_step(model, settings, *batches()))
    reached = {name.partition(".")[0] for name, each in gradients(model, losses["feature_distance"]).items() if each is not None and each.any()}
    assert reached == {"backbone"}
    train(model, settings, batches())
    assert all(torch.equal(value, before[name]) for name, value in model.imagenet.state_dict().items())


def test_the_feature_distance_is_zero_while_the_features_are_those_of_the_frozen_backbone():
    model = build(ALL)
    model.eval()
    assert mic.source_loss(step=a_step(model, ALL, *batches()))["feature_distance"].item() == 0


def test_the_yields_add_up_to_the_gradient_of_their_sum():
    grads = []
    for update in ("accumulate", "joint"):
        model = build(ALL)
        train(model, ALL, batches(), update=update)
        grads.append({name: each.clone() for name, each in model.named_parameters()})
    for name, each in grads[0].items():
        torch.testing.assert_close(each, grads[1][name], rtol=1e-4, atol=1e-6)


def test_a_loss_holds_no_memory_while_the_next_is_computed():
    model, held = build(ALL).train(), []
    model.imagenet.eval()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: Kept(x, held), lambda kept: kept.value):
        given = mic.target_loss(step=a_step(model, ALL, *batches()))
        for name in ("mixed", "masked"):
            losses = next(given)
            assert set(losses) == {name}
            assert sum(each() is not None for each in held) > 10
            losses[name].backward()
            del losses
            assert not any(each() is not None for each in held)


class Kept:
    """A tensor that a graph holds until its backward pass."""

    def __init__(self, value, held):
        self.value = value
        held.append(weakref.ref(self))


def test_the_order_of_the_images_in_a_batch_changes_nothing():
    rows = []
    for order in ([0, 1], [1, 0]):
        source, target = (part_of_batch(batch, order) for batch in batches())
        rows.append(train(build(ALL), ALL, (source, target))[0])
    assert rows[0].keys() == rows[1].keys()
    for name, values in rows[0].items():
        assert rows[1][name] == pytest.approx(values, rel=1e-4)


def test_a_step_draws_the_same_again_and_another_step_differs():
    source, target = batches()
    first, again, other = (mic.draw(a_step(build(DETAIL), DETAIL, source, target, generator=torch.Generator().manual_seed(n))) for n in (1, 1, 2))
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.chance, again.chance)
    assert first.mixed_box == again.mixed_box
    assert not torch.equal(first.noise, other.noise)


def test_the_control_learns_from_the_source_alone():
    model, settings = build(PLAIN), PLAIN
    source, target = batches()
    train(model, settings, (source, target), control=True)
    alone = build(PLAIN)
    config = RoundConfig(steps=10, parts=FROZEN, method=settings, batch=2, draws=("source",))
    take_steps(mic, config, alone, [source], [None], round=INFO)
    for (name, each), other in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(each, other, msg=name)


def test_pixels_that_margins_take_out_do_not_teach():
    settings = attrs.evolve(PLAIN, masked="target", threshold=None, masked_augmented=False, mask_ratio=0.0)
    source, target = batches()
    nothing = TargetBatch(image=target.image, name=target.name, valid=target.valid, extra={"trusted": torch.zeros_like(target.valid)})
    (row,) = train(build(settings), settings, (source, nothing))
    assert row["loss/masked"] == [0.0]
    assert row["quality"] == [1.0]
    assert train(build(settings), settings, (source, target))[0]["loss/masked"][0] > 0


def test_images_of_two_sizes_cannot_be_mixed():
    source, target = batches()[0], batches(size=(32, 48))[1]
    step = a_step(build(PLAIN), PLAIN, source, target)
    with pytest.raises(ConfigError, match="not 2 of 64 x 32 and 2 of 48 x 32; end both transforms with the same crop"):
        next(mic.target_loss(step=step))


def test_a_target_without_source_has_nothing_to_mix():
    step = a_step(build(PLAIN), PLAIN, None, batches()[1])
    with pytest.raises(ConfigError, match=r"draws: \[source, target\]"):
        next(mic.target_loss(step=step))


def test_classes_that_the_label_space_lacks_are_passed_over_unless_there_is_no_other():
    unknown = attrs.evolve(ALL, feature_classes=("moon", "star"))
    with pytest.raises(ConfigError, match="feature_classes: none of moon, star is a class"):
        build(unknown)
    build(attrs.evolve(ALL, feature_classes=("moon", "car")))


@pytest.mark.parametrize(
    "settings", [pytest.param(ALL, id="one scale"), pytest.param(DETAIL, id="two scales", marks=pytest.mark.long)]
)
def test_two_processes_learn_what_one_does(settings, tmp_path):
    """Decisions, detail crops, the quality, the classes and batch statistics are those of all images."""
    mp.spawn(_on_one_of_two_ranks, args=(tmp_path / "meeting", settings), nprocs=2)


def _on_one_of_two_ranks(rank, file, settings):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # only the order of sums differs
    settings = attrs.evolve(settings, dropout=0.0, threshold=0.25)
    pairs = [batches(seed=seed) for seed in (7, 8)]
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    together = build(settings)
    mine = [tuple(part_of_batch(batch, [rank]) for batch in pair) for pair in pairs]
    rows = train(together, settings, *mine, lr=1e-3)
    part()
    alone = build(settings)
    whole = train(alone, settings, *pairs, lr=1e-3)
    assert [row["quality"] for row in rows] == [pytest.approx(row["quality"], rel=1e-5) for row in whole]
    assert 0 < whole[0]["quality"][0] < 1
    for (name, each), other in zip(together.state_dict().items(), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(each, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
