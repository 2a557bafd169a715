from __future__ import annotations

import pytest
from udacore_bdl.settings import CAFFE_PIXELS

from udacore.config.files import list_presets
from udacore.config.transforms import Crop, Flip, Resize
from udacore.testing.runs import configure

PUBLISHED = ("gta5-cityscapes", "synthia-cityscapes", "gta5-cityscapes-vgg16", "synthia-cityscapes-vgg16")
TRAINING = ("translate-1", "translate-2")
ROUNDS = ["source", "translate-1", "adapt-1", "self-training-1", "self-training-2", "translate-2", "adapt-2", "self-training-3", "self-training-4"]


def preset(name):
    return configure("bdl", name)


def test_there_is_a_preset_for_each_task_and_network():
    assert list_presets("udacore_bdl") == sorted([*PUBLISHED, "streets"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_turns_of_translation_adaptation_and_self_training(name):
    config = preset(name)
    assert (config.workers, config.log_every) == (4, 100)
    rounds = config.rounds
    assert list(rounds) == ROUNDS
    assert [round.steps for round in rounds.values()] == [80000, "20 epochs", 80000, 120000, 120000, "20 epochs", 80000, 120000, 120000]
    images = ["own", "own", "translate-1", "translate-1", "translate-1", "own", "translate-2", "translate-2", "translate-2"]
    assert [round.source.images for round in rounds.values()] == images
    assert [key for key, round in rounds.items() if round.target.labels == "make"] == [key for key in ROUNDS if key.startswith("self")]
    for key, round in rounds.items():
        if key in TRAINING:
            assert round.weights == {"segmenter": "previous", "translators": "initial", "critics": "initial"}
            assert (round.trains, round.batch, round.method.translate, round.evaluate) == (("translators", "critics"), 4, True, {})
        else:
            assert (round.weights, round.trains, round.batch, round.method.translate) == ("initial", None, 1, False)
            assert round.pixels == CAFFE_PIXELS
            protocol = round.evaluate["target"]
            assert (protocol.size, protocol.upsample, protocol.absent, protocol.flip) == ((1024, 512), "probability", "nan", False)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_optimisers(name):
    rounds = preset(name).rounds
    is_vgg = name.endswith("vgg16")
    for key in ("adapt-1", "self-training-4"):
        segmenter, discriminator = (rounds[key].parts[part] for part in ("segmenter", "discriminator"))
        assert (segmenter.lr, discriminator.lr) == ((1e-5, 1e-6) if is_vgg else (2.5e-4, 1e-4))
        assert rounds[key].method.lambda_adv == (1e-4 if is_vgg else 1e-3)
        assert discriminator.options == {"betas": [0.9, 0.99]}
        assert segmenter.optimizer == ("Adam" if is_vgg else "udacore_bdl.optimizers:RepeatedSGD")
        assert segmenter.options == ({"betas": [0.9, 0.99]} if is_vgg else {"momentum": 0.9, "weight_decay": 5e-4})
    assert rounds["source"].method.lambda_adv == 0
    for part in ("translators", "critics"):
        config = rounds["translate-1"].parts[part]
        assert (config.optimizer, config.lr, config.options) == ("Adam", 2e-4, {"betas": [0.5, 0.999]})


@pytest.mark.parametrize(("name", "size", "translated"), [("gta5-cityscapes", (1280, 720), (1024, 564)), ("synthia-cityscapes", (1280, 760), (1024, 608))])
def test_the_published_sizes(name, size, translated):
    rounds = preset(name).rounds
    crops = [Crop(size=(452, 452)), Flip()]
    for key, round in rounds.items():
        is_translation = key in TRAINING
        assert list(round.source.transform.values()) == ([Resize(size=translated), *crops] if is_translation else [Resize(size=size)])
        assert list(round.target.transform.values()) == [Resize(size=(1024, 512)), *(crops if is_translation else [])]
        assert round.target.sampler.name == ("replacement" if is_translation else "shuffle")
        assert round.label_space == "cityscapes19"  # 19 outputs for SYNTHIA too
        assert round.model.batch_norm == "live"
    if name.startswith("synthia"):
        assert rounds["source"].evaluate["target"].subsets == ("synthia16", "synthia13")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_weights_of_the_losses(name):
    settings = preset(name).rounds["translate-1"].method
    values = ("lambda_a", "lambda_b", "lambda_identity", "lambda_semantic", "lambda_translated", "pool_size", "ngf", "ndf", "blocks", "fraction", "cap")
    assert [getattr(settings, value) for value in values] == [10, 10, 0.5, 1, 0.1, 50, 64, 64, 9, 0.5, 0.9]
    assert settings.perceptual_pixels == CAFFE_PIXELS
    assert settings.network == ("fcn8s" if name.endswith("vgg16") else "deeplab-caffe")
