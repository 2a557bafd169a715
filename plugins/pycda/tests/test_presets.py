"""Every value of the released configurations (algorithms/pycda 3.4, 4, 6, 7, 8, 9)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from udacore_pycda import Settings
from udacore_pycda.prior import write_counts

from udacore import ConfigError
from udacore.config.files import list_presets
from udacore.config.transforms import Crop, Flip, Resize, Rotate, Scale
from udacore.data.lists import read_list
from udacore.schedules import rate
from udacore.testing.runs import configure

GTA5 = ("gta5-cityscapes", "gta5-cityscapes-spatial", "gta5-cityscapes-adabn", "gta5-cityscapes-source-only")
SYNTHIA = ("synthia-cityscapes", "synthia-cityscapes-spatial")
HELD_OUT = "udacore_pycda:lists/cityscapes_train_val500.txt"
SOURCE, TARGET = (Resize(size=size, interpolation="bilinear") for size in ((1024, 560), (1024, 512)))
SCALE, FLIP = Scale(range=(0.5, 1.5), interpolation="bilinear"), Flip(probability=0.5)
CROP = Crop(size=(560, 480), pad="centre", fill=(123, 116, 103))


def preset(name, *words):
    return configure("pycda", name, words)


def all_rounds(*names):
    return [(name, key, round) for name in names for key, round in preset(name).rounds.items()]


def test_there_is_a_preset_for_each_variant():
    assert list_presets("udacore_pycda") == sorted([*GTA5, *SYNTHIA, "streets"])
    rounds = {name: list(preset(name).rounds) for name in GTA5 + SYNTHIA}
    whole = ["adabn", "pyramid", "convert"]
    assert rounds == {**dict.fromkeys(GTA5 + SYNTHIA, whole), "gta5-cityscapes-adabn": ["adabn", "convert"], "gta5-cityscapes-source-only": ["source"]}


def test_the_published_steps_and_batches():
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        assert round.steps == (3000 if key == "convert" else 35000)
        is_small = name.endswith("spatial") and key in ("pyramid", "convert")
        assert round.batch == (4 if is_small else 8)
        assert round.draws == {"source": ("source",), "convert": ("target",)}.get(key, ("source", "target"))
        assert round.update == "alternate"
        assert round.weights == ("initial" if key in ("source", "adabn") else "previous")
        assert (round.source.sampler.name, round.target.sampler.name) == ("replacement", "replacement")


def test_the_published_optimisers_and_rates():
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        part = round.parts["segmenter"]
        assert (part.optimizer, part.groups) == ("SGD", {r"^classifier\.": 10.0})
        adapts, spatial = key == "pyramid", name.endswith("spatial")
        assert part.options == ({"momentum": 0, "weight_decay": 0} if adapts else {"momentum": 0.9, "weight_decay": 5e-4})
        assert part.lr == (1.6e-4 if adapts and not spatial else 1.6e-3)
        schedule = part.schedule
        if adapts and spatial:
            assert [rate(schedule, step, 35000) for step in (0, 1500, 1501, 34999)] == [1, 1, 0.1, 0.1]
        else:
            assert (schedule.name, schedule.power, schedule.lag, schedule.horizon) == ("poly", 0.9, 1, None)


def test_the_published_method():
    defaults = Settings()
    adapt = {"source": "none", "adabn": "statistics", "pyramid": "pyramid", "convert": "statistics"}
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        method, spatial = round.method, key == "pyramid" and name.endswith("spatial")
        assert method.adapt == adapt[key]
        assert (method.merge_pixels, method.lambda_balance, method.lambda_spatial) == ((True, 0.4, 0.4) if spatial else (False, 1, 0))
        assert method.prior_size == (1024, 512)
        assert method.source_statistics == (key == "adabn")
        assert not method.reset
        for field in ("network", "encoder", "batch_norm", "lambda_aux", "lambda_trade_off", "threshold", "box_sizes", "lambda_pseudo", "image_target"):
            assert getattr(method, field) == getattr(defaults, field)
        assert (method.lambda_aux, method.lambda_trade_off, method.threshold, method.box_sizes, method.lambda_pseudo) == (0.4, 1, 0.5, (4, 8), 1)


def test_the_published_images_of_the_source():
    steps = {"source": [SOURCE, SCALE, Rotate(range=(-10, 10), fill=(123, 116, 103)), CROP], "adabn": [SOURCE, SCALE, FLIP, CROP]}
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        if key != "convert":
            pyramid = [SOURCE] if name.endswith("spatial") else [SOURCE, CROP]
            assert list(round.source.transform.values()) == steps.get(key, pyramid)
        pixels = round.pixels
        assert (pixels.order, pixels.scale, pixels.mean, pixels.std) == ("rgb", 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_the_published_images_of_the_target():
    steps = {"adabn": [TARGET, SCALE, FLIP, CROP], "convert": [TARGET, SCALE, CROP]}
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        if key != "source":
            pyramid = [TARGET] if name.endswith("spatial") else [TARGET, CROP]
            assert list(round.target.transform.values()) == steps.get(key, pyramid)


def test_data_sets_and_classes():
    for _, _, round in all_rounds(*GTA5):
        assert (round.source.dataset, round.source.except_, round.label_space) == ("gta5", "udacore_pycda:lists/gta5_misaligned.txt", "cityscapes19")
    for _, _, round in all_rounds(*SYNTHIA):
        assert (round.source.dataset, round.source.except_, round.label_space) == ("synthia", None, "synthia16")
        assert {protocol.subsets for protocol in round.evaluate.values()} == {("synthia13",)}
    for _, _, round in all_rounds(*GTA5, *SYNTHIA):
        assert (round.target.dataset, round.target.split, round.target.except_) == ("cityscapes", "train", HELD_OUT)
        assert round.initial == "resnet101-imagenet.pth"


def test_the_published_evaluation_and_both_ways_to_choose_a_model():
    for name, key, round in all_rounds(*GTA5, *SYNTHIA):
        target, selection = round.evaluate["target"], round.evaluate["selection"]
        for protocol in (target, selection):
            assert (protocol.dataset, protocol.size, protocol.interpolation) == ("cityscapes", (1024, 512), "bilinear")
            assert (protocol.upsample, protocol.align_corners, protocol.absent) == ("logits", True, "nan")
            assert (protocol.scales, protocol.flip, protocol.batch) == ((1.0,), False, 1)
        assert (target.split, target.list_, target.every) == ("val", None, 0)
        assert (selection.split, selection.list_) == ("train", HELD_OUT)
        assert selection.every == (500 if name.endswith("spatial") and key == "pyramid" else 1000)
        assert (round.keep, round.best_on) == ("last", "selection")
    assert {round.keep for round in preset("gta5-cityscapes", "keep=best").rounds.values()} == {"best"}


def test_the_500_held_out_names_are_the_published_ones():
    names = [name for name, _ in read_list(HELD_OUT)]
    content = "".join(f"{name}\n" for name in sorted(names))
    assert hashlib.sha256(content.encode()).hexdigest() == "923318ea5cf490749d043e7a637ffd521043e98d6c39259e4afd8f5f85fd2ef0"
    cities = Counter(name.partition("/")[0] for name in names)
    assert (len(names), len(cities), cities["strasbourg"], cities["erfurt"]) == (500, 18, 61, 13)
    assert (resources.files("udacore_pycda") / "lists" / "cityscapes_train_val500.txt").is_file()
    assert read_list("udacore_pycda:lists/gta5_misaligned.txt") == [("15188.png", None)]


@pytest.mark.parametrize("name", GTA5 + SYNTHIA)
def test_a_preset_needs_no_more_than_the_data(name):
    config = preset(name)
    assert config.plugin == "pycda"
    assert (config.workers, config.log_every, config.save_every) == (5, 10, 1000)


@pytest.mark.parametrize(("words", "problem"), [
    (["rounds.pyramid.target.transform.flip.probability=0.5"], "rounds.pyramid.target.transform.flip: moves images, but method.lambda_spatial"),
    (["rounds.pyramid.target.transform.crop.size=[512,256]"], "rounds.pyramid.target.transform.crop: moves images"),
    (["rounds.pyramid.target.transform.scale.range=[0.5,1]"], "rounds.pyramid.target.transform.scale: moves images"),
    (["method.prior_size=[1024,560]"], "method.prior_size: the spatial prior is for inputs of 1024 x 560, but the target is resized to 1024 x 512"),
])  # fmt: skip
def test_with_the_spatial_ratio_a_target_whose_places_are_not_the_priors_is_refused_when_the_settings_are_read(words, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        preset("gta5-cityscapes-spatial", *words)
    assert preset("gta5-cityscapes-spatial", *words, "rounds.pyramid.method.lambda_spatial=0")


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_file_of_a_prior_for_inputs_of_another_size_is_refused_before_the_first_round(tmp_path, kind):
    path = tmp_path / f"prior.{kind}"
    np.save(path, np.ones((32, 64, 19), np.uint8)) if kind == "npy" else write_counts(path, np.ones((32, 64, 19), np.int32))
    with pytest.raises(ConfigError, match=r"method\.prior: the spatial prior is for inputs of 64 x 32, but the target is resized to 1024 x 512"):
        preset("gta5-cityscapes-spatial", f"method.prior={path}")
    assert preset("gta5-cityscapes-spatial", f"method.prior={path}", "target.transform.resize.size=[64,32]")
    path.write_bytes(b"nothing")
    assert preset("gta5-cityscapes-spatial", f"method.prior={path}")  # refused when it is read


def test_steps_that_leave_every_place_where_it_is_go_with_the_spatial_ratio():
    words = ("crop.size=[1024,512]", "crop.pad=end", "flip.probability=0", "grey.probability=0.2")
    assert preset("gta5-cityscapes-spatial", *(f"rounds.pyramid.target.transform.{word}" for word in words))
    assert preset("gta5-cityscapes-spatial", "method.prior=local.npy", "method.prior_size=null")
