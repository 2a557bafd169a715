from __future__ import annotations

import pytest
from udacore_fada import Settings

from udacore.config.files import list_presets
from udacore.config.transforms import Crop, Flip, Jitter, Resize, Scale
from udacore.testing.runs import configure

PUBLISHED = ("gta5-cityscapes", "synthia-cityscapes")
VGG = tuple(f"{name}-vgg16" for name in PUBLISHED)
ON = Jitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2)
OFF = Jitter(brightness=0, contrast=0, saturation=0, hue=0)


def preset(name, *words):
    return configure("fada", name, words)


def test_there_is_a_preset_for_each_task_and_network():
    assert list_presets("udacore_fada") == sorted([*PUBLISHED, *VGG, "streets"])


@pytest.mark.parametrize("name", list_presets("udacore_fada"))
def test_a_preset_is_complete(name):
    config = preset(name)
    assert config.plugin == "fada"
    assert list(config.rounds) == ["source", "adversarial", "distill"]
    assert [round.method.adversarial for round in config.rounds.values()] == [False, True, False]
    assert config.rounds["adversarial"].update == "accumulate"
    assert set(config.rounds["adversarial"].parts) == {"segmenter", "discriminator"}
    assert config.rounds["adversarial"].parts["discriminator"].optimizer == "Adam"
    assert config.rounds["distill"].target.labels == "make"


@pytest.mark.parametrize("name", PUBLISHED + VGG)
def test_the_published_schedule(name):
    config = preset(name)
    assert (config.workers, config.save_every, config.log_every) == (4, 2000, 20)
    rounds = config.rounds
    assert [round.steps for round in rounds.values()] == [20000, 40000, 20000]
    assert [round.batch for round in rounds.values()] == [8, 4, 8]
    assert [round.draws for round in rounds.values()] == [("source",), ("source", "target"), ("target",)]
    assert [round.weights for round in rounds.values()] == ["initial", "previous", "initial"]
    assert [round.keep for round in rounds.values()] == ["last"] * 3
    segmenter = [round.parts["segmenter"] for round in rounds.values()]
    assert [part.lr for part in segmenter] == [5e-4, 2.5e-4, 5e-4]
    assert [part.schedule.horizon for part in segmenter] == [31250, 62500, 31250]
    for part in segmenter:
        assert (part.optimizer, part.options, part.groups) == ("SGD", {"momentum": 0.9, "weight_decay": 5e-4}, {r"^classifier\.": 10.0})
        assert (part.schedule.name, part.schedule.power, part.schedule.warmup, part.no_decay) == ("poly", 0.9, 0, ())
    part = rounds["adversarial"].parts["discriminator"]
    assert (part.lr, part.options, part.schedule.name, part.schedule.horizon) == (1e-4, {"betas": [0.9, 0.99]}, "poly", 62500)


@pytest.mark.parametrize("name", PUBLISHED + VGG)
def test_the_published_data(name):
    rounds = preset(name).rounds
    size, classes = {"g": ((1280, 720), "cityscapes19"), "s": ((1280, 760), "synthia16")}[name[0]]
    assert list(rounds["source"].source.transform.values()) == [OFF, Resize(size=size)]
    assert list(rounds["adversarial"].source.transform.values()) == [ON, Resize(size=size)]
    assert list(rounds["adversarial"].target.transform.values()) == [Resize(size=(1024, 512))]
    last = OFF if name.endswith("vgg16") else ON
    own = [last, Scale(range=(0.5, 1.5)), Crop(size=(1024, 512), pad="both"), Flip(probability=0.5)]
    assert list(rounds["distill"].target.transform.values()) == own
    for round in rounds.values():
        assert round.label_space == classes
        assert (round.source.sampler.name, round.source.sampler.sub_epoch) == ("class_balanced", 3000)


@pytest.mark.parametrize("name", PUBLISHED + VGG)
def test_the_published_networks_and_pixels(name):
    rounds = preset(name).rounds
    last = "train" if name.startswith("gta5") else "frozen-no-epsilon"
    assert [round.model.batch_norm for round in rounds.values()] == ["frozen-no-epsilon"] * 2 + [last]
    for round in rounds.values():
        if name.endswith("vgg16"):
            assert (round.model.name, round.initial) == ("deeplab-vgg16", "vgg16-00b39a1b.pth")
            assert (round.pixels.order, round.pixels.scale) == ("bgr", 255)
            assert (round.pixels.mean, round.pixels.std) == ((103.939, 116.779, 123.68), (1, 1, 1))
        else:
            assert (round.model.name, round.initial) == ("deeplab-resnet101", "imagenet")
            assert (round.pixels.order, round.pixels.scale, round.pixels.mean) == ("rgb", 1, (0.485, 0.456, 0.406))


@pytest.mark.parametrize("name", PUBLISHED + VGG)
def test_the_published_evaluation(name):
    for key, round in preset(name).rounds.items():
        (protocol,) = round.evaluate.values()
        assert protocol.size == ((2048, 1024) if key == "distill" else (1024, 512))
        assert (protocol.interpolation, protocol.upsample, protocol.absent, protocol.split) == ("bicubic", "logits", "zero", "val")
        assert protocol.subsets == (("synthia13",) if name.startswith("synthia") else ())
        assert (protocol.scales, protocol.flip) == ((1.0,), False)


def test_the_documented_override_gives_three_scales_and_mirrored_images():
    rounds = preset("gta5-cityscapes", "evaluate.target.scales=[0.7,1,1.3]", "evaluate.target.flip=true").rounds
    assert {(round.evaluate["target"].scales, round.evaluate["target"].flip) for round in rounds.values()} == {((0.7, 1.0, 1.3), True)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_method(name):
    defaults = Settings()
    for round in preset(name).rounds.values():
        for key in ("temperature", "clip", "adversarial_weight", "discriminator_weight", "width"):
            assert getattr(round.method, key) == getattr(defaults, key)
