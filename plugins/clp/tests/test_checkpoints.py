from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from udacore_clp.checkpoints import CLASSES, LAYOUTS, ORDERS, RESUME, WEIGHTS
from udacore_clp.discriminator import Discriminator
from udacore_clp.segmenters import AssociationSegmenter, build_network

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.labels import CITYSCAPES_IDS, CLASSES16, CLASSES19
from udacore.models import DeepLabHead, ResNet, ResNetSettings, Segmenter, convert_checkpoint, load_state, make_batch_norm, recognize_layout
from udacore.models.layouts import list_left
from udacore.models.weights import load_initial

sys.path.append(str(Path(__file__).resolve().parent))
from clp_files import resume_file, weights_file

TINY = ResNetSettings(blocks=(1, 1, 1, 1), widths=(4, 4, 4, 4), stride_in="1x1", first_dilations=(1, 1, 2, 4), ceil_mode=True)


def tiny(classes, batch_norm="train", discriminator=False):
    """The method's network with fewer and narrower blocks: same keys, fewer of them."""
    backbone = ResNet(TINY, make_batch_norm(batch_norm))
    channels = backbone.channels[-1]
    head = DeepLabHead(channels, classes, bias=False, std=None)
    model = AssociationSegmenter(Segmenter(backbone, head, num_classes=classes, feature_channels=channels), align_corners=False)
    if discriminator:
        model.discriminator = Discriminator(classes)
    return model


def are_equal(converted, model):
    expected = model.state_dict()
    return set(converted) == set(expected) and all(torch.equal(value, expected[key]) for key, value in converted.items())


def test_the_orders_follow_the_ids_of_the_released_lists():
    assert [CITYSCAPES_IDS[name] for name in CLASSES] == [23, 11, 7, 8, 13, 21, 17, 26, 20, 24, 33, 32, 19, 25, 28, 12, 22, 27, 31]
    for ours in (CLASSES19, CLASSES16):
        assert tuple(CLASSES[place] for place in ORDERS[len(ours)]) == ours
    assert sorted(CLASSES[:16]) == sorted(CLASSES16)


@pytest.mark.parametrize("classes", [19, 16])
@pytest.mark.parametrize("batch_norm", ["train", "domain"])
def test_a_released_file_is_recognised_and_comes_into_our_order(classes, batch_norm, tmp_path):
    model = tiny(classes, batch_norm)
    path = tmp_path / "ckpt_final.weights"
    torch.save(weights_file(model), path)
    assert recognize_layout(path, LAYOUTS) is WEIGHTS
    assert are_equal(convert_checkpoint(path, WEIGHTS), model)


@pytest.mark.parametrize("discriminator", [True, False])
def test_a_file_to_resume_from_brings_its_discriminator_whose_inputs_are_classes_too(discriminator, tmp_path):
    model = tiny(19, discriminator=discriminator)
    path = tmp_path / "ckpt_4_1859.resume"
    torch.save(resume_file(model), path)
    assert recognize_layout(path, LAYOUTS) is RESUME
    assert are_equal(convert_checkpoint(path, RESUME), model)
    assert "optimizer_state_dict" in list_left(resume_file(model), RESUME)


def test_predictions_of_a_released_network_are_those_of_ours():
    theirs, ours = tiny(19), tiny(19)
    load_state(ours, convert_checkpoint(weights_file(theirs), WEIGHTS), where="a file")
    image = torch.randn(1, 3, 33, 49, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours.eval()(image).logits, theirs.eval()(image).logits)


def test_plain_weights_start_both_domains_of_a_network_with_domain_specific_batch_norm():
    plain, model = tiny(19), tiny(19, "domain")
    with torch.no_grad():
        plain.backbone.bn1.running_mean.uniform_()
    load_state(model, convert_checkpoint(weights_file(plain), WEIGHTS), where="a file")
    for layer in model.backbone.bn1.norm_layers:
        assert torch.equal(layer.running_mean, plain.backbone.bn1.running_mean)


def test_a_head_of_other_classes_is_refused_in_one_line():
    content = weights_file(tiny(19))
    content["weights"]["classifier.0.convs.0.0.weight"] = torch.zeros(13, 16, 3, 3)
    with pytest.raises(ConfigError, match=r"knows the order of 19 or 16 classes; 'classifier.conv2d_list.0.weight' has 13") as refusal:
        convert_checkpoint(content, WEIGHTS)
    assert "\n" not in str(refusal.value)


def test_an_unknown_key_is_listed():
    content = weights_file(tiny(19))
    content["weights"]["aux_classifier.0.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"does not know weights\.aux_classifier\.0\.weight"):
        convert_checkpoint(content, WEIGHTS)


@pytest.fixture(scope="module")
def network():
    return build_network(ModelConfig(), 19)


@pytest.mark.slow
@pytest.mark.parametrize(("prefix", "wrapped"), [("Scale.", True), ("", False)])
def test_imagenet_weights_of_the_caffe_kind_fill_the_backbone_and_leave_the_head(prefix, wrapped, network, tmp_path):
    state = {prefix + key: torch.full_like(value, 7) for key, value in network.backbone.state_dict().items()} | {f"{prefix}fc.bias": torch.zeros(1000)}
    path = tmp_path / "resnet101-imagenet.pth"
    torch.save({"model": state} if wrapped else state, path)
    head = network.classifier.conv2d_list[0].weight.clone()
    load_initial(network, str(path), ModelConfig())
    assert all(bool((value == 7).all()) for value in network.backbone.state_dict().values())
    assert torch.equal(network.classifier.conv2d_list[0].weight, head)
    del state[f"{prefix}layer2.0.conv2.weight"]
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"resnet101-imagenet\.pth .*: weights of another architecture: missing there: layer2.0.conv2.weight"):
        load_initial(network, str(path), ModelConfig())


def test_resnet101_has_the_methods_own_form_and_head(network):
    assert network.backbone.settings.stride_in == "1x1"
    assert network.backbone.settings.ceil_mode
    assert not network.align_corners
    for conv in network.classifier.conv2d_list:
        bound = (2048 * 9) ** -0.5  # of torch's own start
        assert conv.bias is None
        assert float(conv.weight.detach().abs().max()) <= bound * (1 + 1e-6)  # the bound itself is rounded to float32
        assert float(conv.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.01)
