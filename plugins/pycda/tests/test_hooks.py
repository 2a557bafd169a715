from __future__ import annotations

from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import torch
import udacore_pycda as pycda
from udacore_pycda import Settings, losses
from udacore_pycda.pyramid import Pyramid, Weights, target_losses

from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.errors import ConfigError, DataError
from udacore.interface import IGNORE, PassBatch, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.losses import upsample
from udacore.models import SyncBatchNorm2d
from udacore.testing.steps import take_steps

CLASSES = ("road", "sky", "car", "tree")
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=CLASSES)
CORE = Settings(network="core", threshold=0.3, box_sizes=(2, 4))
PYRAMID = Settings(network="core", threshold=0.3, box_sizes=(2, 4), adapt="pyramid")
STATISTICS = Settings(network="core", adapt="statistics")
TINY = Settings(network="ppm", encoder="tiny", adapt="pyramid", threshold=0.3, box_sizes=(2, 4))


def build(settings, batch_norm="train"):
    torch.manual_seed(0)
    return pycda.build_model(settings=settings, architecture=ModelConfig(name="small", batch_norm=batch_norm), round=INFO)


def with_settings(settings, **changes):
    return attrs.evolve(settings, **changes)


def batches(*, source=True, target=True, seed=7, label=None):
    """Images of two sizes; the target's upper rows are padding."""
    generator = torch.Generator().manual_seed(seed)
    pictures = {domain: torch.randn(2, 3, *size, generator=generator) for domain, size in (("source", (17, 25)), ("target", (20, 24)))}
    label = torch.randint(0, len(CLASSES), (2, 17, 25), generator=generator) if label is None else label
    valid = {domain: torch.ones(2, *image.shape[2:], dtype=torch.bool) for domain, image in pictures.items()}
    valid["target"][:, :5] = False
    return (
        SourceBatch(image=pictures["source"], label=label, name=("a", "b"), valid=valid["source"]) if source else None,
        TargetBatch(image=pictures["target"], name=("c", "d"), valid=valid["target"]) if target else None,
    )


def a_step(model, settings, index=0, **what):
    source, target = batches(**what)
    return Step(
        settings=settings, round=INFO, index=index, micro=0, model=model, source=source, target=target,
        generator=torch.Generator(), record=lambda name, value: None,
    )  # fmt: skip


def train(model, settings, *pairs, update="alternate", draws=("source", "target")):
    """Take a step of the core with each pair of a source and a target batch."""
    config = RoundConfig(steps=10, update=update, draws=draws, parts={"segmenter": PartConfig(lr=0.05)}, method=settings)
    take_steps(pycda, config, model, *zip(*pairs, strict=True), round=INFO)


def means(model):
    return torch.cat([module.running_mean for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)])


def test_the_source_teaches_both_heads():
    step = a_step(build(TINY), TINY)
    found = pycda.source_loss(step=step)
    output = step.model(step.source.image)
    main, second = (losses.source_loss(logits, step.source.label, False) for logits in (output.logits, output.heads["aux"]))
    assert set(found) == {"cross_entropy", "auxiliary"}
    torch.testing.assert_close(found["cross_entropy"].shape, main.shape)
    assert found["auxiliary"].item() / second.item() == pytest.approx(0.4, rel=0.2)  # dropout differs
    without = with_settings(TINY, lambda_aux=0.0)
    assert set(pycda.source_loss(step=a_step(step.model, without))) == {"cross_entropy"}


def test_a_network_of_the_core_has_one_head_and_weights_hold():
    step = a_step(build(CORE), with_settings(CORE, lambda_trade_off=0.5))
    found = pycda.source_loss(step=step)
    whole = losses.source_loss(step.model(step.source.image).logits, step.source.label, True)
    torch.testing.assert_close(found, {"cross_entropy": 0.5 * whole})


def test_a_source_without_a_labelled_pixel_is_a_zero_with_a_graph():
    step = a_step(build(TINY), TINY, label=torch.full((2, 17, 25), IGNORE))
    found = pycda.source_loss(step=step)
    assert {name: loss.item() for name, loss in found.items()} == {"cross_entropy": 0, "auxiliary": 0}
    assert all(loss.requires_grad for loss in found.values())


def test_a_round_that_adapts_nothing_asks_nothing_of_the_target():
    step = a_step(build(CORE), CORE)
    before = means(step.model).clone()
    assert pycda.target_loss(step=step) == {}
    assert torch.equal(means(step.model), before)


def test_the_targets_losses_are_those_of_the_pyramid_at_the_size_of_the_input():
    model = build(PYRAMID)
    step = a_step(model, PYRAMID)
    found = pycda.target_loss(step=step)
    logits = upsample(model(step.target.image).logits, (20, 24), True)
    seen = Pyramid(logits=logits, valid=step.target.valid, threshold=0.3, box_sizes=(2, 4))
    torch.testing.assert_close(found, target_losses(seen, Weights()))
    assert set(found) == {"image", "pixel", "region"}


def test_statistics_come_from_a_forward_that_leaves_no_graph_and_no_loss():
    step = a_step(build(STATISTICS), STATISTICS)
    before = means(step.model).clone()
    assert pycda.target_loss(step=step) == {}
    assert not torch.equal(means(step.model), before)


@pytest.mark.parametrize("index", [0, 1])
def test_reset_clears_the_statistics_at_the_first_step_only(index):
    settings = with_settings(STATISTICS, reset=True)
    model = build(settings)
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    layer._running_iter.fill_(900)
    pycda.target_loss(step=a_step(model, settings, index=index, source=False))
    assert layer._running_iter.item() == pytest.approx(1 if index == 0 else 900 * 0.999 + 1)


def test_forwards_that_would_move_nothing_are_refused():
    settings = with_settings(STATISTICS, batch_norm="core")
    for mode in ("eval", "frozen"):
        with pytest.raises(ConfigError, match=r"rounds\.any\.method\.adapt: statistics, but no batch norm"):
            pycda.target_loss(step=a_step(build(settings, mode), settings, source=False))


def test_the_layers_of_the_core_may_be_used():
    model = build(with_settings(CORE, batch_norm="core"))
    assert {type(module) for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {SyncBatchNorm2d}


def test_an_alternating_step_is_two_updates_the_second_with_the_weights_of_the_first():
    ours, theirs = build(PYRAMID), build(PYRAMID)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05)
    train(ours, PYRAMID, *(batches(seed=index) for index in range(2)))
    for index in range(2):
        for hook in (pycda.source_loss, pycda.target_loss):
            optimizer.zero_grad()
            torch.stack(list(hook(step=a_step(theirs, PYRAMID, seed=index)).values())).sum().backward()
            optimizer.step()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_a_step_of_forwards_moves_no_parameter():
    model = build(STATISTICS)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    _, target = batches()
    train(model, STATISTICS, (None, target), update="accumulate", draws=("target",))
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def an_end(model, settings, tmp_path, label, key="k"):
    def source(*, size=None, batch=1, images=True):
        yield PassBatch(image=torch.empty(0), label=label, name=("a",), size=((1, 1),))

    return SimpleNamespace(model=model, settings=settings, round=INFO, folder=tmp_path, source=source, source_key=lambda: key)


def test_a_rounds_end_counts_the_sources_classes_at_every_position(tmp_path, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    settings = with_settings(PYRAMID, source_statistics=True)
    model, label = build(settings), torch.zeros(2, 20, 24, dtype=torch.int64)
    label[:, 10:] = 3
    label[:, 0] = IGNORE
    assert pycda.on_round_end(round=an_end(model, PYRAMID, tmp_path, label)) is None
    numbers = pycda.on_round_end(round=an_end(model, settings, tmp_path, label))
    assert numbers == {"source_pixels": 2 * 19 * 24, "unlabelled_positions": 24}
    assert model.source_statistics.histogram.tolist() == pytest.approx([9 / 19, 0, 0, 10 / 19])
    assert model.source_statistics.priors[4][:, 4, 0].tolist() == [0, 0, 0, 1]
    with np.load(tmp_path / pycda.STATISTICS_FILE) as kept:
        assert kept["counts"].shape == (20, 24, 4)


def test_counts_of_labels_at_another_size_are_not_those_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    settings = with_settings(PYRAMID, source_statistics=True)
    for size in ((20, 24), (10, 16)):  # as a run's source.transform.resize says; the files are the same
        model = build(settings)
        pycda.on_round_end(round=an_end(model, settings, tmp_path, torch.zeros(2, *size, dtype=torch.int64)))
        assert tuple(model.source_statistics.size.tolist()) == size


def test_labels_that_hold_no_class_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    settings = with_settings(CORE, source_statistics=True)
    with pytest.raises(DataError, match="no pixel of any class"):
        pycda.on_round_end(round=an_end(build(settings), settings, tmp_path, torch.full((2, 8, 8), IGNORE)))


SPATIAL = with_settings(PYRAMID, lambda_spatial=0.4, merge_pixels=True, source_statistics=True)


def knowing(settings, size=(20, 24)):
    model = build(settings)
    model.source_statistics.fill(np.random.default_rng(0).integers(1, 9, (*size, 4)))
    return model


def test_the_spatial_ratio_joins_the_losses():
    found = pycda.target_loss(step=a_step(knowing(SPATIAL), SPATIAL))
    assert set(found) == {"image", "region", "spatial"}
    assert found["spatial"].requires_grad


def test_the_papers_image_target_uses_the_counted_frequencies():
    settings = with_settings(PYRAMID, image_target="source_histogram")
    uniform, drawn = (pycda.target_loss(step=a_step(knowing(each), each))["image"] for each in (PYRAMID, settings))
    assert uniform.item() != drawn.item()


@pytest.mark.parametrize(("settings", "model", "match"), [
    (SPATIAL, build(SPATIAL), r"no spatial prior for squares of 2 pixels"),
    (SPATIAL, knowing(SPATIAL, (20, 25)), r"the spatial prior is for inputs of 25 x 20, but the target's are 24 x 20"),
    (with_settings(PYRAMID, image_target="source_histogram"), build(PYRAMID), r"image_target: source_histogram needs an earlier round"),
])  # fmt: skip
def test_what_a_loss_needs_and_the_model_does_not_know_is_said_in_one_line(settings, model, match):
    for hook, of_source in ((pycda.source_loss, True), (pycda.target_loss, False)):  # the round's first, before anything is learned
        with pytest.raises(ConfigError, match=match) as caught:
            hook(step=a_step(model, settings, source=of_source))
        assert "\n" not in str(caught.value)
