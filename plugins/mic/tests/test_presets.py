from __future__ import annotations

import pytest
from udacore_mic import Settings

from udacore.config.files import list_presets
from udacore.config.transforms import Crop, Flip, ResizeWithin
from udacore.errors import ConfigError
from udacore.testing.runs import configure

GTA5 = ("gta5-cityscapes", "gta5-cityscapes-hrda", "gta5-cityscapes-daformer")
DEEPLAB = tuple(f"{name}-deeplab" for name in GTA5)
SYNTHIA = tuple(name.replace("gta5", "synthia") for name in GTA5)
WEATHER = tuple(name.replace("gta5-cityscapes", f"cityscapes-{data}") for data in ("acdc", "darkzurich") for name in GTA5)
HALF = ("gta5-cityscapes-half",)
PUBLISHED = GTA5 + DEEPLAB + SYNTHIA + WEATHER + HALF
STREETS = ("streets", "streets-hrda", "streets-daformer")
FILL = (124, 116, 104)


def adapt(name, *words):
    return configure("mic", name, words).rounds["adapt"]


def is_daformer(name):
    """Whether the network has one scale."""
    return "daformer" in name or name in HALF


def test_there_is_a_preset_for_each_task_and_network():
    assert list_presets("udacore_mic") == sorted(PUBLISHED + STREETS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schedule(name):
    config = configure("mic", name, ())
    (round,) = config.rounds.values()
    assert (round.steps, round.batch, round.draws, round.update) == (40000, 2, ("source", "target"), "accumulate")
    assert (round.weights, round.keep, round.accumulation) == ("initial", "last", 1)
    part = round.parts["segmenter"]
    assert (part.optimizer, part.lr, part.groups) == ("AdamW", 6e-5, {r"^classifier\.": 10.0})
    assert part.options == {"betas": [0.9, 0.999], "weight_decay": 0.01}
    assert part.no_decay == (() if name in DEEPLAB else (r"^backbone\..*norm",))
    schedule = part.schedule
    assert (schedule.name, schedule.power, schedule.warmup, schedule.warmup_from) == ("poly", 1.0, 1500, 1e-6)
    assert round.parts["imagenet"].frozen
    file = "resnet101_v1c-e67eebb6.pth" if name in DEEPLAB else "mit_b5.pth"
    assert round.initial == {"segmenter": file, "imagenet": file}
    assert round.method.network == ("resnet101_v1c" if name in DEEPLAB else "mit_b5")
    assert round.pixels.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_data(name):
    round, factor = adapt(name), 1 if is_daformer(name) else 2
    wide = {"gta5": (1280, 720), "synt": (1280, 760), "city": (1024, 512)}[name[:4]]
    far = (960, 540) if name in WEATHER else (1024, 512)
    side = 512 * factor

    def steps(size, share):
        bound = ResizeWithin(size=(factor * size[0], factor * size[1]), interpolation="opencv")
        return [bound, Crop(size=(side, side), pad="end", fill=FILL, max_share=share), Flip(probability=0.5)]

    assert list(round.source.transform.values()) == steps(wide, 0.75)
    assert list(round.target.transform.values()) == steps(far, None)
    sampler = round.source.sampler
    assert (sampler.name, sampler.temperature, sampler.min_pixels) == ("rare_class", 0.01, 3000)
    assert sampler.min_crop_ratio == (0.5 if is_daformer(name) else 2.0)
    assert round.target.sampler.name == "replacement"
    assert round.label_space == "cityscapes19"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_method(name):
    method, defaults = adapt(name).method, Settings()
    for key in ("alpha", "threshold", "feature_share", "feature_classes", "jitter", "jitter_threshold", "blur_threshold"):
        assert getattr(method, key) == getattr(defaults, key)
    assert method.feature_distance == 0.005
    assert (method.ignore_top, method.ignore_bottom) == ((15, 120) if is_daformer(name) else (0, 0))
    assert method.detail_size == (None if is_daformer(name) else (512, 512))
    mic = not name.removesuffix("-deeplab").endswith(("-daformer", "-hrda"))
    masked = ("both", False) if name in WEATHER else ("target", True)
    assert (method.masked, method.masked_augmented) == (masked if mic else ("none", True))
    if mic:
        assert (method.mask_block, method.mask_ratio, method.mask_weight) == (32 if name in HALF else 64, 0.7, 1.0)
    margins = adapt(name).target.extras
    assert set(margins) == (set() if is_daformer(name) or name in WEATHER else {method.trust})
    for each in margins.values():
        assert (each.margins.top, each.margins.bottom, each.margins.left, each.margins.right) == (30, 240, 30, 30)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_evaluation(name):
    (protocol,) = adapt(name).evaluate.values()
    one = (960, 540) if name in WEATHER else (1024, 512)
    size = one if is_daformer(name) else (2 * one[0], 2 * one[1])
    assert protocol.size == size
    assert (protocol.window, protocol.stride) == ((size, size) if is_daformer(name) else ((1024, 1024), (512, 512)))
    assert (protocol.interpolation, protocol.upsample, protocol.absent, protocol.split, protocol.every) == ("opencv", "logits", "nan", "val", 4000)
    assert protocol.subsets == (("synthia16:sum", "synthia16:alone", "synthia16") if name in SYNTHIA else ())
    assert (protocol.scales, protocol.flip) == ((1.0,), False)
    assert protocol.condition == ("night" if "darkzurich" in name else "all")


@pytest.mark.parametrize("name", STREETS)
def test_the_embedded_domains_have_the_budget_of_the_other_methods(name):
    rounds = configure("mic", name, ()).rounds
    assert [(key, round.steps, round.batch) for key, round in rounds.items()] == [("source", 1200, 8), ("adapt", 900, 4)]
    assert rounds["adapt"].weights == "previous"


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("gta5-cityscapes-daformer", ["parts.imagenet.frozen=false"], r"parts.imagenet: {frozen: true} and initial.imagenet, or feature_distance: 0"),
        ("streets", ["method.feature_distance=0.005"], r"parts.imagenet: {frozen: true} and initial.imagenet, or feature_distance: 0"),
        ("streets", ["rounds.adapt.draws=[target]"], r"source classes are pasted into target images: draws: \[source, target\]"),
        ("gta5-cityscapes", ["target.transform.crop.size=[512,512]"], r"not 1024 x 1024 and 512 x 512: end both transforms with the same crop"),
        ("cityscapes-acdc", ["rounds.adapt.batch=3"], "both hides half of the images of each domain: an even number, not 3"),
        ("gta5-cityscapes", ["method.mask_block=3000"], "images of 1024 x 1024 have no block of 3000; possible: at most 2047"),
        ("gta5-cityscapes", ["method.detail_size=[2048,512]"], "a crop of 2048 x 512 does not fit into images of 1024 x 1024"),
        ("gta5-cityscapes", [f"{domain}.transform.crop.size=[1020,1020]" for domain in ("source", "target")], "multiples of 8, not 1020 x 1020"),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_configuration_is_read(name, words, says):
    with pytest.raises(ConfigError, match=says):
        configure("mic", name, words)
