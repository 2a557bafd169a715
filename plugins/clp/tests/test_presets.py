from __future__ import annotations

import pytest
from udacore_clp import Settings

from udacore.config.files import list_presets
from udacore.config.transforms import Crop, Flip, ResizeShortSide
from udacore.testing.runs import configure

PUBLISHED = ("gta5-cityscapes", "synthia-cityscapes")
LENGTHS = {"gta5-cityscapes": (10416, 11160), "synthia-cityscapes": (2976, 3720)}


def preset(name, *words):
    return configure("clp", name, words)


def associate(name, *words):
    return preset(name, *words).rounds["associate"]


def test_there_is_a_preset_for_each_task():
    assert list_presets("udacore_clp") == sorted([*PUBLISHED, "streets"])


@pytest.mark.parametrize("name", list_presets("udacore_clp"))
def test_a_preset_is_complete(name):
    config = preset(name)
    assert config.plugin == "clp"
    round = config.rounds["associate"]
    assert (round.update, round.draws) == ("joint", ("source", "target"))
    assert round.keep == "last"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_run_is_one_round_from_imagenet_whose_schedule_is_longer_than_itself(name):
    config = preset(name)
    assert list(config.rounds) == ["associate"]
    round = config.rounds["associate"]
    steps, horizon = LENGTHS[name]
    assert (round.steps, round.batch, round.accumulation) == (steps, 8, 2)
    assert (round.weights, round.initial) == ("initial", "resnet101-imagenet.pth")
    part = round.parts["segmenter"]
    assert (part.optimizer, part.lr, part.options, part.groups) == ("SGD", 2.5e-4, {"momentum": 0.9, "weight_decay": 5e-4}, {r"^classifier\.": 1.0})
    assert (part.schedule.name, part.schedule.power, part.schedule.horizon, part.schedule.warmup) == ("poly", 0.9, horizon, 0)
    part = round.parts["discriminator"]
    assert (part.optimizer, part.lr, part.options) == ("Adam", 1e-4, {"betas": [0.9, 0.999], "weight_decay": 5e-4})
    assert (part.schedule.name, part.schedule.horizon) == ("poly", horizon)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_method_is_that_of_the_defaults(name):
    assert associate(name).method == Settings()


def test_the_published_values_are_the_defaults():
    settings = Settings()
    assert (settings.association_weight, settings.multi_level, settings.aggregation, settings.alpha) == (0.1, True, True, 0.5)
    assert (settings.lsr_weight, settings.lsr_threshold, settings.lovasz_weight) == (0.01, 10, 3.0)
    assert (settings.sampling, settings.sampling_factor, settings.diagnostics) == ("none", 1, False)
    assert (settings.adversarial, settings.adversarial_weight) == (False, 0.001)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_data(name):
    round = associate(name)
    steps = [ResizeShortSide(range=(760, 988), interpolation="bilinear"), Flip(probability=0.5), Crop(size=(730, 730), pad="end", fill=(0, 0, 0))]
    assert list(round.source.transform.values()) == list(round.target.transform.values()) == steps
    assert (round.source.dataset, round.label_space) == {"g": ("gta5", "cityscapes19"), "s": ("synthia", "synthia16")}[name[0]]
    assert (round.target.dataset, round.target.split, round.target.labels) == ("cityscapes", "train", "none")
    assert (round.source.sampler.name, round.target.sampler.name) == ("shuffle", "shuffle")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_network_and_pixels(name):
    round = associate(name)
    assert (round.model.name, round.model.batch_norm) == ("deeplab-resnet101", "train")
    assert (round.pixels.order, round.pixels.scale, round.pixels.std) == ("bgr", 255, (1, 1, 1))
    assert round.pixels.mean == (104.00698793, 116.66876762, 122.67891434)


@pytest.mark.parametrize("name", PUBLISHED)
def test_results_are_those_of_aggregated_inference_and_validation_goes_without(name):
    final, plain = associate(name).evaluate.values()
    assert (final.head, final.upsample, final.every) == ("aggregated", "probability", 0)
    assert (plain.head, plain.upsample, plain.every) == (None, "logits", 372)
    for protocol in (final, plain):
        assert (protocol.size, protocol.interpolation, protocol.absent, protocol.split) == ((1460, 730), "bilinear", "nan", "val")
        assert (protocol.scales, protocol.flip) == ((1.0,), False)
        assert protocol.subsets == (("synthia13",) if name.startswith("synthia") else ())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_word_puts_the_source_only_baseline_before_the_association(name):
    rounds = preset(name, "rounds.source.draws=[source]").rounds
    assert [(key, round.draws, round.weights) for key, round in rounds.items()] == [
        ("source", ("source",), "initial"),
        ("associate", ("source", "target"), "previous"),
    ]
    assert rounds["source"].steps == rounds["associate"].steps
    assert rounds["source"].method.lovasz_weight == 3


def test_streets_takes_as_many_steps_after_the_source_as_the_other_methods():
    rounds = preset("streets").rounds
    assert list(rounds) == ["source", "associate"]
    assert (rounds["associate"].steps, rounds["associate"].batch) == (900, 4)
    assert rounds["source"].draws == ("source",)
