"""The presets of the core hold the published values (algorithms/proca 2, algorithms/streets 3)."""

from __future__ import annotations

import re

import pytest

from udacore.config.resolve import load_config
from udacore.config.schema import EvaluationConfig, PartConfig, ScheduleConfig
from udacore.config.transforms import Flip, Resize, StreetsJitter, Zoom

REAL = [(pair, suffix) for pair in ("gta5", "synthia") for suffix in ("", "-vgg16")]


@pytest.mark.parametrize(("pair", "suffix"), REAL)
def test_real_tasks_follow_the_first_stage_of_the_table(pair: str, suffix: str) -> None:
    config = load_config(f"{pair}-cityscapes{suffix}")
    entry = config.rounds["source"]
    schedule = ScheduleConfig(name="poly", power=0.9, horizon=31250)
    options = {"momentum": 0.9, "weight_decay": 5e-4}
    assert config.plugin == "source-only"
    assert list(config.rounds) == ["source"]
    assert (entry.steps, entry.batch, entry.draws, entry.weights, entry.initial) == (20000, 8, ("source",), "initial", "imagenet")
    assert entry.parts == {"segmenter": PartConfig(optimizer="SGD", lr=5e-4, options=options, groups={r"classifier\.": 10.0}, schedule=schedule)}
    assert entry.model.name == ("deeplab-vgg16" if suffix else "deeplab-resnet101")
    assert entry.model.batch_norm == "train"
    assert entry.source.dataset == pair
    assert entry.source.sampler.name == "class_balanced"
    assert entry.source.transform == {"resize": Resize(size=(1280, 720 if pair == "gta5" else 760))}
    assert entry.target.transform == {"resize": Resize(size=(1024, 512))}
    assert entry.label_space == ("cityscapes19" if pair == "gta5" else "synthia16")
    subsets = () if pair == "gta5" else ("synthia13",)
    expected = EvaluationConfig(dataset="cityscapes", split="val", size=(1024, 512), absent="zero", every=1000, subsets=subsets)
    assert entry.evaluate == {"target": expected}


def test_the_pattern_of_the_classifier_names_its_parameters_only() -> None:
    (pattern,) = load_config("gta5-cityscapes").rounds["source"].parts["segmenter"].groups
    assert re.search(pattern, "classifier.branches.0.weight")
    assert not re.search(pattern, "backbone.layer1.0.conv1.weight")


def test_streets_follow_the_published_schedule() -> None:
    config = load_config("streets")
    entry = config.rounds["source"]
    part = entry.parts["segmenter"]
    assert (entry.steps, entry.batch, entry.initial, entry.model.name, config.workers) == (1200, 8, "random", "small", 0)
    assert (part.optimizer, part.lr, part.options) == ("AdamW", 3e-3, {"weight_decay": 1e-4})
    assert part.schedule == ScheduleConfig(name="poly", power=0.9, warmup=20)
    assert entry.pixels.mean == (118 / 255,) * 3
    assert entry.pixels.std == (60 / 255,) * 3
    for domain in (entry.source, entry.target):
        assert (domain.dataset, domain.pair) == ("streets", "W")
        assert list(domain.transform.values()) == [Flip(), Zoom(), StreetsJitter()]
    assert {name: (held.domain, held.split) for name, held in entry.evaluate.items()} == {"target": ("target", "val"), "source": ("source", "val")}


def test_methods_without_a_preset_adapt_as_published() -> None:
    source, adapt = load_config("streets-adapt").rounds.values()
    assert source == load_config("streets").rounds["source"]
    assert (adapt.steps, adapt.batch, adapt.draws, adapt.weights) == (600, 4, ("source", "target"), "previous")
    assert (adapt.parts["segmenter"].lr, adapt.model.batch_norm) == (2e-3, "eval")


def test_a_run_is_cut_short_by_one_override_of_a_preset() -> None:
    entry = load_config("gta5-cityscapes", ["steps=2", "batch=1", "source.transform.resize.size=[64,32]"]).rounds["source"]
    assert (entry.steps, entry.batch, entry.source.transform["resize"].size) == (2, 1, (64, 32))
