from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from udacore_fada.checkpoints import LAYOUTS, RELEASED
from udacore_fada.discriminator import Discriminator

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.models import build_segmenter, load_state
from udacore.models.layouts import convert_checkpoint, list_left, recognize_layout

sys.path.append(str(Path(__file__).resolve().parent))
from authors_files import released


def segmenter(classes=3):
    model = build_segmenter(ModelConfig(name="deeplab-vgg16"), classes)
    model.discriminator = Discriminator(model.feature_channels, classes, width=8)
    return model


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("discriminator", [True, False])
def test_a_checkpoint_of_any_stage_is_recognised_and_converted(prefix, discriminator, tmp_path):
    model = segmenter()
    path = tmp_path / "model_iter040000.pth"
    torch.save(released(model, prefix, discriminator), path)
    assert recognize_layout(path, LAYOUTS) is RELEASED
    converted = convert_checkpoint(path, RELEASED)
    expected = {key: value for key, value in model.state_dict().items() if discriminator or not key.startswith("discriminator.")}
    assert set(converted) == set(expected)
    assert all(torch.equal(converted[key], value) for key, value in expected.items())


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_the_unused_head_of_old_checkpoints_is_dropped_and_listed(prefix):
    content = released(segmenter(), prefix)
    content["feature_extractor"]["module.layer5.conv2d_list.0.weight"] = torch.zeros(1)
    assert not [key for key in convert_checkpoint(content, RELEASED) if "layer5" in key]
    assert [name for name in list_left(content, RELEASED) if "layer5" in name]


@pytest.mark.parametrize(("saved", "built"), [("frozen-no-epsilon", "train"), ("train", "frozen-no-epsilon")])
def test_frozen_and_trained_batch_norm_take_each_others_values(saved, built):
    models = {mode: build_segmenter(ModelConfig(name="small", batch_norm=mode), 3) for mode in (saved, built)}
    load_state(models[built], convert_checkpoint(released(models[saved], discriminator=False), RELEASED), where="a file")
    for key, value in models[built].state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, models[saved].state_dict()[key])


def test_an_unknown_key_is_listed():
    content = released(segmenter())
    content["model_D"]["module.cls3.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"does not know model_D\.cls3\.weight"):
        convert_checkpoint(content, RELEASED)


def test_a_discriminator_of_another_number_of_classes_is_refused_in_one_line():
    state = convert_checkpoint(released(segmenter(16)), RELEASED)
    model = segmenter(16)
    model.discriminator = Discriminator(model.feature_channels, 19, width=8)
    with pytest.raises(ConfigError, match=r"another shape: discriminator\.source\.weight, \(16, 4, 3, 3\) there") as refusal:
        load_state(model, state, where="s2c_adv.pth")
    assert "\n" not in str(refusal.value)
