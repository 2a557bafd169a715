from __future__ import annotations

import pytest
from udacore_proca import Settings

from udacore.config.files import list_presets
from udacore.config.transforms import Blur, Crop, Flip, Grey, Jitter, Resize, Scale
from udacore.testing.runs import configure

PUBLISHED = ("gta5-cityscapes", "synthia-cityscapes")
REAL = (*PUBLISHED, "gta5-cityscapes-vgg16", "synthia-cityscapes-vgg16", "gta5-cityscapes-memory-bank")


def preset(name):
    return configure("proca", name)


def test_there_is_a_preset_for_each_task_and_variant():
    variants = ["gta5-cityscapes-memory-bank", "gta5-cityscapes-vgg16", "synthia-cityscapes-vgg16"]
    assert list_presets("udacore_proca") == sorted([*PUBLISHED, *variants, "streets"])


@pytest.mark.parametrize("name", list_presets("udacore_proca"))
def test_a_preset_is_complete(name):
    config = preset(name)
    assert config.plugin == "proca"
    assert list(config.rounds)[:3] == ["source", "adapt", "distill"]
    assert config.rounds["source"].draws == ("source",)
    assert config.rounds["adapt"].update == "joint"
    assert config.rounds["adapt"].method.contrast
    assert not any(round.method.contrast for name, round in config.rounds.items() if name != "adapt")
    assert config.rounds["distill"].target.labels == "make"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schedule(name):
    rounds = preset(name).rounds
    segmenter = {name: round.parts["segmenter"] for name, round in rounds.items()}
    assert [round.steps for round in rounds.values()] == [20000, 90000, 90000]
    assert [round.batch for round in rounds.values()] == [8, 4, 8]
    assert [part.lr for part in segmenter.values()] == [5e-4, 2.5e-4, 5e-4]
    assert [part.schedule.horizon or rounds[name].steps for name, part in segmenter.items()] == [31250, 90000, 90000]
    for part in segmenter.values():
        assert (part.optimizer, part.options, part.groups) == ("SGD", {"momentum": 0.9, "weight_decay": 5e-4}, {r"^classifier\.": 10.0})
        assert (part.schedule.name, part.schedule.power, part.schedule.warmup, part.no_decay) == ("poly", 0.9, 0, ())
    assert [round.weights for round in rounds.values()] == ["initial", "previous", "initial"]
    assert [round.keep for round in rounds.values()] == ["last", "best", "last"]
    assert {round.initial for round in rounds.values()} == {"imagenet"}
    assert preset(name).workers == 4


@pytest.mark.parametrize(("name", "size", "classes"), [("gta5-cityscapes", (1280, 720), "cityscapes19"), ("synthia-cityscapes", (1280, 760), "synthia16")])
def test_the_published_data(name, size, classes):
    rounds = preset(name).rounds
    colours = [Jitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2), Grey(probability=0.2), Blur(sigma=(0.1, 2.0))]
    assert list(rounds["source"].source.transform.values()) == [Resize(size=size)]
    assert list(rounds["adapt"].source.transform.values()) == [Resize(size=size), *colours]
    assert list(rounds["adapt"].target.transform.values()) == [Resize(size=(1024, 512))]
    geometry = [Scale(range=(0.5, 1.5)), Crop(size=(1024, 512), pad="both"), Flip(probability=0.5)]
    assert list(rounds["distill"].target.transform.values()) == [*geometry, *colours]
    for round in rounds.values():
        assert round.label_space == classes
        assert round.source.sampler.name == "class_balanced"
        assert round.source.sampler.sub_epoch == 3000
        assert round.pixels.mean == (0.485, 0.456, 0.406)
        assert (round.model.name, round.model.batch_norm) == ("deeplab-resnet101", "train")


@pytest.mark.parametrize("name", REAL)
def test_the_published_evaluation(name):
    for key, round in preset(name).rounds.items():
        (protocol,) = round.evaluate.values()
        assert protocol.size == ((2048, 1024) if key == "distill" else (1024, 512))
        assert (protocol.every, protocol.absent, protocol.split) == (1000, "zero", "val")
        assert (protocol.interpolation, protocol.upsample) == ("bicubic", "logits")
        assert (protocol.scales, protocol.flip) == ((1.0,), False)
        assert protocol.subsets == (("synthia13",) if name.startswith("synthia") else ())


@pytest.mark.parametrize("name", REAL)
def test_labels_are_made_at_the_size_of_the_adaptation(name):
    assert preset(name).rounds["adapt"].target.transform["resize"] == Resize(size=(1024, 512))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_method(name):
    config = preset(name)
    defaults = Settings()
    for round in config.rounds.values():
        for key in ("tau", "delta", "feature_weight", "output_weight", "lovasz_weight", "multi_level", "prototype_update", "momentum", "percent", "cap"):
            assert getattr(round.method, key) == getattr(defaults, key)
    assert config.rounds["source"].method.initialise_prototypes


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_variant_on_vgg_changes_the_network_alone(name):
    plain, vgg = preset(name), preset(f"{name}-vgg16")
    assert {round.model.name for round in vgg.rounds.values()} == {"deeplab-vgg16"}
    assert vgg.rounds["adapt"].parts == plain.rounds["adapt"].parts
    assert vgg.rounds["adapt"].source == plain.rounds["adapt"].source


def test_the_variant_with_a_memory_bank_initialises_no_prototypes():
    rounds = preset("gta5-cityscapes-memory-bank").rounds
    assert {round.method.variant for round in rounds.values()} == {"memory_bank"}
    assert not any(round.method.initialise_prototypes for round in rounds.values())
