"""Files in exactly the form of the authors' are read: their training's, a bare state_dict, and ImageNet's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from udacore_mic.checkpoints import BARE, LAYOUTS, RELEASED
from udacore_mic.networks import Detail, build_network
from udacore_mic.transformer import ENCODERS, MiT, MiTSettings

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.models import load_initial, load_state
from udacore.models.layouts import convert_checkpoint, list_left, recognize_layout
from udacore.testing.golden import fill_state_dict

VECTORS = Path(__file__).resolve().parent / "golden"
TINY = MiTSettings(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), heads=(1, 2, 3, 4), drop_path=0.0)


def state(layout, prefix="model."):
    rows = json.loads((VECTORS / f"layout_{layout}.json").read_text())
    filled = {key: torch.tensor(np.asarray(value)) for key, value in fill_state_dict(rows).items()}
    return {prefix + key.removeprefix("model."): value for key, value in filled.items()} if prefix != "all" else filled


def training(layout):
    """What the authors' training saves: three whole segmenters, and notes of the program."""
    return {"meta": {"mmcv_version": "1.3.7", "CLASSES": ["road"], "iter": 40000}, "state_dict": state(layout, "all")}


def tiny(detail=None):
    torch.manual_seed(0)
    return build_network(TINY, 5, detail=detail, width=16)


HRDA = Detail(window=(64, 64), attention=16)


@pytest.mark.parametrize(("layout", "detail"), [("step_daformer", None), ("step_hrda", HRDA), ("step_mic_hrda", HRDA)])
def test_the_student_of_a_training_is_converted_and_the_others_are_listed(layout, detail, tmp_path):
    path = tmp_path / "iter_40000.pth"
    content = training(layout)
    torch.save(content, path)
    assert recognize_layout(path, LAYOUTS) is RELEASED
    network = tiny(detail)
    loaded = load_state(network, convert_checkpoint(path, RELEASED), where=path.name)
    assert (loaded.missing, loaded.unexpected) == ((), ())
    student = {key.removeprefix("model."): value for key, value in content["state_dict"].items() if key.startswith("model.")}
    for key, value in network.state_dict().items():
        assert torch.equal(value, student[key.replace("classifier.", "decode_head.")])
    left = list_left(content, RELEASED)
    assert left[0] == "meta"
    assert len(left) == 1 + len(content["state_dict"]) - len(student)


@pytest.mark.parametrize("prefix", ["", "model.", "module.model.", "module."])
@pytest.mark.parametrize("whole", [True, False])
def test_a_state_dict_alone_is_read_with_and_without_prefix(prefix, whole, tmp_path):
    content = state("groups_hrda", prefix)
    path = tmp_path / "latest.pth"
    torch.save({"state_dict": content} if whole else content, path)
    layout = recognize_layout(path, LAYOUTS)
    assert layout is (RELEASED if whole else BARE)
    load_state(tiny(HRDA), convert_checkpoint(path, layout), where=path.name)


@pytest.mark.parametrize(("layout", "detail"), [("net_deeplabv2_k19", None), ("net_hrda_deeplabv2_k19", Detail())])
def test_deeplabs_entries_have_the_names_of_ours(layout, detail):
    rows = json.loads((VECTORS / f"layout_{layout}.json").read_text())
    content = {"state_dict": {key: torch.zeros(()).expand(shape) for key, shape, _ in rows}}
    with torch.device("meta"):
        network = build_network("resnet101_v1c", 19, detail=detail)
    converted = convert_checkpoint(content, RELEASED)
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("layout", "detail", "expected"),
    [
        ("groups_hrda", None, "they are of a network of two scales (HRDA, MIC), and this round's has one scale (DAFormer)"),
        ("groups_daformer", HRDA, "they are of a network of one scale (DAFormer), and this round's has two scales (HRDA, MIC)"),
    ],
)
def test_a_checkpoint_of_the_wrong_of_the_three_is_one_line(layout, detail, expected):
    converted = convert_checkpoint({"state_dict": state(layout)}, RELEASED)
    with pytest.raises(ConfigError) as error:
        load_state(tiny(detail), converted, where="hrda.pth")
    assert str(error.value) == f"hrda.pth: weights that the model does not take: {expected}"


def test_a_key_that_no_network_of_the_authors_has_is_refused():
    content = {**state("groups_hrda"), "model.auxiliary_head.conv_seg.bias": torch.zeros(5)}
    with pytest.raises(ConfigError, match=r"does not know state_dict\.model\.auxiliary_head\.conv_seg\.bias"):
        convert_checkpoint({"state_dict": content}, RELEASED)


def encoder_file(path, name, wrap=None):
    """An ImageNet file of SegFormer's authors: the encoder's keys, and the classifier that it was trained with."""
    torch.manual_seed(1)
    held = {key: torch.rand_like(value) for key, value in MiT(ENCODERS[name]).state_dict().items()}
    content = {**held, "head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}
    torch.save({wrap: content} if wrap else content, path)
    return held


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_an_imagenet_file_fills_the_encoder(wrap, tmp_path):
    held = encoder_file(tmp_path / "mit_b0.pth", "mit_b0", wrap)
    network = build_network("mit_b0", 5, width=8)
    load_initial(network, str(tmp_path / "mit_b0.pth"), ModelConfig())
    for key, value in network.backbone.state_dict().items():
        assert torch.equal(value, held[key])


def test_an_encoder_of_other_channels_begins_with_those_of_the_file(tmp_path):
    held = encoder_file(tmp_path / "mit_b0.pth", "mit_b0")
    network = build_network("mit_b0", 5, architecture=ModelConfig(channels=4), width=8).eval()
    load_initial(network, str(tmp_path / "mit_b0.pth"), ModelConfig(channels=4))
    weight, theirs = network.backbone.patch_embed1.proj.weight, held["patch_embed1.proj.weight"]
    torch.testing.assert_close(weight, theirs[:, [0, 1, 2, 0]] * 0.75)
    assert network(torch.zeros(1, 4, 64, 64)).logits.shape == (1, 5, 16, 16)


@pytest.mark.parametrize("encoder", ["small", "resnet101_v1c"])
def test_any_network_takes_images_of_other_channels(encoder):
    with torch.device("meta"):
        network = build_network(encoder, 5, architecture=ModelConfig(channels=4), detail=Detail(window=(32, 32))).eval()
        assert network(torch.zeros(1, 4, 64, 64)).logits.shape[:2] == (1, 5)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("mit_b0", "weights of mit_b0; expected the ImageNet weights of mit_b1 as SegFormer's authors publish them"),
        ("other", "weights of no such encoder (keys layer1.weight); expected the ImageNet weights of mit_b1"),
    ],
)
def test_a_file_of_another_encoder_is_one_line(made, expected, tmp_path):
    if made == "other":
        torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "file.pth")
    else:
        encoder_file(tmp_path / "file.pth", made)
    with torch.device("meta"):
        network = build_network("mit_b1", 5, width=8)
    with pytest.raises(ConfigError) as error:
        load_initial(network, str(tmp_path / "file.pth"), ModelConfig())
    assert f"file.pth: {expected}" in str(error.value)
    with pytest.raises(ConfigError, match=r"initial: imagenet: .* give a file: the ImageNet weights of mit_b1 as"):
        load_initial(network, "imagenet", ModelConfig())
