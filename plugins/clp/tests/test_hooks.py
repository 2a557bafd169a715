from __future__ import annotations

import logging
import math

import attrs
import pytest
import torch
import udacore_clp as clp
from udacore_clp import Settings
from udacore_clp.objective import association_losses
from udacore_clp.regularizer import smoothness_loss
from udacore_clp.sampling import Maps, downsample_label, draw_grid

from udacore import ranks
from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.errors import ConfigError, PluginError
from udacore.interface import IGNORE, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.losses import cross_entropy, lovasz_softmax, upsample
from udacore.testing.steps import take_steps

CLASSES = ("road", "sky", "car", "tree")
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=CLASSES)
SUPERVISED = {"cross_entropy", "lovasz"}
PUBLISHED = {"association_features", "association_probability", "lsr_source", "lsr_target"}


def build(settings=None, batch_norm="train", seed=0):
    torch.manual_seed(seed)
    return clp.build_model(settings=settings or Settings(), architecture=ModelConfig(name="small", batch_norm=batch_norm), round=INFO)


def batches(*, source=(33, 49), target=(33, 49), pseudo_label=None, seed=7):
    """Images N=2 of the given sizes (height, width); None for a domain that is not drawn."""
    generator = torch.Generator().manual_seed(seed)

    def picture(size):
        return {"image": torch.randn(2, 3, *size, generator=generator), "name": ("a", "b"), "valid": torch.ones(2, *size, dtype=torch.bool)}

    labelled = None
    if source is not None:
        seen = picture(source)
        coarse = torch.randint(0, len(CLASSES), (2, -(-source[0] // 8), -(-source[1] // 8)), generator=generator)
        label = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, : source[0], : source[1]]
        labelled = SourceBatch(label=label, **seen)
    return labelled, None if target is None else TargetBatch(pseudo_label=pseudo_label, **picture(target))


def a_step(model, settings=None, record=None, index=0, **what):
    source, target = batches(**what)
    return Step(
        settings=settings or Settings(), round=INFO, index=index, micro=0, model=model, source=source, target=target,
        generator=torch.Generator().manual_seed(3), record=record or (lambda name, value: None),
    )  # fmt: skip


def both(step):
    """What the two hooks return, called as the engine calls them."""
    return clp.source_loss(step=step), clp.target_loss(step=step)


def train(model, settings, source, target, update="joint", control=False):
    """Take one step of the core."""
    trains = tuple(name for name in ("segmenter", "discriminator") if name == "segmenter" or settings.adversarial)
    parts = {"segmenter": PartConfig(lr=0.01), "discriminator": PartConfig(optimizer="Adam", lr=0.01)}
    config = RoundConfig(steps=10, update=update, parts=parts, trains=trains, method=settings)
    take_steps(clp, config, model, [source], [target], round=INFO, control=control)


def test_the_target_goes_first_and_each_domain_once():
    model, seen = build(batch_norm="domain").train(), []
    layer = model.backbone.bn1
    layer.register_forward_hook(lambda *_: seen.append(layer.current))
    both(a_step(model))
    assert seen == ["target", "source"]


def test_domain_specific_batch_norm_keeps_the_statistics_apart():
    model = build(batch_norm="domain").train()
    step = a_step(model)
    both(step)
    alone = build(batch_norm="domain").train()
    alone(step.target.image, domain="target")
    ours, theirs = (each.backbone.bn1.norm_layers for each in (model, alone))
    assert torch.equal(ours[1].running_mean, theirs[1].running_mean)
    assert not torch.equal(ours[0].running_mean, theirs[0].running_mean)


def test_the_source_pays_cross_entropy_and_lovasz_under_the_models_corner_rule():
    step = a_step(build())
    losses = clp.source_loss(step=step)
    logits = upsample(step.kept[clp.KEPT][0].logits, (33, 49), step.model.align_corners)
    want = {"cross_entropy": cross_entropy(logits, step.source.label), "lovasz": 3 * lovasz_softmax(logits.softmax(1), step.source.label)}
    torch.testing.assert_close(dict(losses), want)


def test_the_target_pays_the_weighted_terms_of_the_objective():
    settings = Settings(association_weight=0.3, alpha=0.4, lsr_weight=0.02, lsr_threshold=5)
    step = a_step(build(), settings)
    _, losses = both(step)
    source, target = (Maps(each.features, each.logits) for each in step.kept[clp.KEPT])
    found = association_losses(source, target, downsample_label(step.source.label, source.size), alpha=0.4)
    want = {f"association_{level}": 0.3 * association.loss for level, association in found.items()}
    want |= {"lsr_source": 0.02 * smoothness_loss(source.logits, 5), "lsr_target": 0.02 * smoothness_loss(target.logits, 5)}
    torch.testing.assert_close(losses, want)


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        (Settings(), set()),
        (Settings(multi_level=False), {"association_probability"}),
        (Settings(lsr_weight=0), {"lsr_source", "lsr_target"}),
        (Settings(association_weight=0), {"association_features", "association_probability"}),
        (Settings(lovasz_weight=0), {"lovasz"}),
    ],
)
def test_each_term_has_a_switch_of_its_own(settings, lost):
    source, target = both(a_step(build(settings), settings))
    assert set(source) | set(target) == (SUPERVISED | PUBLISHED) - lost


def test_aggregation_changes_the_association():
    found = [both(a_step(build(), Settings(aggregation=on)))[1]["association_features"].item() for on in (True, False)]
    assert found[0] != found[1]


@pytest.mark.parametrize("sampling", ["grid", "downsample"])
def test_sampled_association_is_another_but_the_same_again_and_the_regulariser_sees_all(sampling):
    whole = both(a_step(build()))[1]
    sampled, again = (both(a_step(build(), Settings(sampling=sampling, sampling_factor=0.5)))[1] for _ in range(2))
    for level in ("features", "probability"):
        assert sampled[f"association_{level}"].item() == again[f"association_{level}"].item() != whole[f"association_{level}"].item()
    assert sampled["lsr_target"].item() == whole["lsr_target"].item()


def test_the_grid_of_an_image_depends_on_its_name_and_not_on_its_place():
    """So another process's first image does not share the rows and columns of this one's."""
    drawn = {}
    for names in (("a", "b"), ("b", "a")):
        step = a_step(build())
        step = attrs.evolve(step, source=attrs.evolve(step.source, name=names), target=attrs.evolve(step.target, name=names))
        for domain, own in zip(("source", "target"), clp._generators(step), strict=True):
            for name, rows in zip(names, draw_grid(own, (9, 13), 0.5)[0].tolist(), strict=True):
                drawn.setdefault((domain, name), []).append(tuple(rows))
    assert all(first == again for first, again in drawn.values())
    assert len({first for first, _ in drawn.values()}) == 4


def test_the_target_may_have_another_size():
    model = build()
    step = a_step(model, source=(33, 49), target=(25, 41))
    losses = {**clp.source_loss(step=step), **clp.target_loss(step=step)}
    sum(losses.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_source_round_trains_with_the_supervised_losses_alone():
    losses = clp.source_loss(step=a_step(build(), target=None))
    assert set(losses) == SUPERVISED


def test_a_round_without_source_is_left_to_the_core():
    step = a_step(build(), source=None)
    assert clp.source_loss(step=step) == {}
    assert clp.target_loss(step=step) is None


def test_pseudo_labels_are_learnt_from_beside_the_association():
    pseudo_label = torch.full((2, 33, 49), 1)
    _, losses = both(a_step(build(), pseudo_label=pseudo_label))
    assert set(losses) == PUBLISHED | {"pseudo_label"}


def test_no_valid_source_pixel_is_a_zero_that_trains():
    model = build()
    step = a_step(model)
    step.source.label.fill_(IGNORE)
    source, target = both(step)
    assert [source[name].item() for name in ("cross_entropy", "lovasz")] == [0, 0]
    assert [target[f"association_{level}"].item() for level in ("features", "probability")] == [0, 0]
    sum([*source.values(), *target.values()]).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_one_valid_source_pixel_is_enough():
    model = build()
    step = a_step(model)
    step.source.label.fill_(IGNORE)[0, 0, 0] = 2
    source, target = both(step)
    assert source["cross_entropy"].item() > 0
    assert 0 < source["lovasz"].item() <= 3
    sum([*source.values(), *target.values()]).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("settings", [Settings(), Settings(sampling="grid", sampling_factor=0.1)])
def test_association_of_one_pixel_is_refused_in_one_line(settings):
    size = (3, 4) if settings.sampling == "none" else (33, 49)
    step = a_step(build(batch_norm="eval"), settings, source=size, target=size)
    clp.source_loss(step=step)
    with pytest.raises(ConfigError, match=r"leaves nothing|two pixels or more") as refusal:
        clp.target_loss(step=step)
    assert "\n" not in str(refusal.value)


def test_batches_that_do_not_pair_are_refused():
    step = a_step(build())
    clp.source_loss(step=step)
    source, target = step.kept[clp.KEPT]
    step.kept[clp.KEPT] = (source, clp.Output(logits=target.logits[:1], features=target.features[:1]))
    with pytest.raises(ConfigError, match="pairs of a source and a target map"):
        clp.target_loss(step=step)


def test_a_round_that_frees_the_sources_graph_is_told_to_join_the_losses():
    source, target = batches()
    with pytest.raises(PluginError, match="`update: joint`"):
        train(build(), Settings(), source, target, "accumulate")


def test_the_control_differs_in_its_batch_norm_from_a_source_round_and_in_nothing_else():
    ours, alone = build(), build()
    source, target = batches()
    train(ours, Settings(), source, target, control=True)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.01)
    alone.train()
    alone(target.image, domain="target")
    sum(clp.source_loss(step=a_step(alone, target=None)).values()).backward()
    optimizer.step()
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_diagnostics_are_shares_and_off_by_default():
    seen = {}
    both(a_step(build(), record=seen.__setitem__))
    assert seen == {}
    both(a_step(build(), Settings(diagnostics=True), record=seen.__setitem__))
    assert set(seen) == {f"cycles/{level}/{name}" for level in ("features", "probability") for name in ("pos_ratio", "cover_ratio")}
    assert all(0 < float(value) <= 1 for value in seen.values())


def test_both_players_of_the_adversarial_option_learn_and_neither_for_the_other():
    settings = Settings(adversarial=True, association_weight=0, lsr_weight=0, lovasz_weight=0)
    model, frozen = build(settings), build(settings)
    what = {"source": (64, 96), "target": (72, 80)}
    step = a_step(model, settings, **what)
    _, target = both(step)
    assert set(target) == {"adversarial", "discriminator/domain"}
    assert target["discriminator/domain"].item() == pytest.approx(math.log(2), abs=0.05)
    assert target["adversarial"].item() == pytest.approx(0.001 * math.log(2), abs=1e-4)
    train(model, settings, *batches(**what))
    before = frozen.state_dict()
    assert not torch.equal(model.state_dict()["discriminator.conv1.weight"], before["discriminator.conv1.weight"])
    assert not torch.equal(model.state_dict()["classifier.conv2d_list.0.weight"], before["classifier.conv2d_list.0.weight"])


def test_images_too_small_for_the_discriminator_are_refused():
    settings = Settings(adversarial=True)
    step = a_step(build(settings), settings)
    clp.source_loss(step=step)
    step.source.label.resize_(2, 31, 49)
    with pytest.raises(ConfigError, match=r"images of 32 pixels .* got 49 x 31"):
        clp._adversarial_losses(step, *step.kept[clp.KEPT])


def test_the_log_of_several_processes_says_once_what_is_local(caplog, monkeypatch):
    step, later = a_step(build()), a_step(build(), index=1)
    for each in (step, later):
        clp.source_loss(step=each)
    monkeypatch.setattr(ranks, "size", lambda: 2)
    with caplog.at_level(logging.INFO, logger="udacore"):
        clp._say_what_is_local(step)
        clp._say_what_is_local(later)
    (line,) = caplog.messages
    assert "cycles stay within a process" in line
    assert "than 2" in line
