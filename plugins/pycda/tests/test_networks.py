from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from udacore_pycda.normalization import CumulativeBatchNorm2d
from udacore_pycda.ppm import ARCHITECTURES, build_ppm

from udacore import ConfigError
from udacore.models.families import accepted_families

VECTORS = Path(__file__).parent / "golden"


def build(arch, classes=19):
    with torch.device("meta"):
        return build_ppm(arch, classes, CumulativeBatchNorm2d)


def test_the_published_number_of_parameters():
    model = build("resnet101")
    counts = [sum(parameter.numel() for parameter in child.parameters()) for child in (model.backbone, model.classifier)]
    assert counts == [42_623_936, 27_812_902]
    assert sum(counts) == 70_436_838


@pytest.mark.parametrize("arch", ["resnet101", "resnet18"])
def test_keys_shapes_and_types_are_those_of_the_published_networks(arch):
    layout = {key: (shape, dtype) for key, shape, dtype in json.loads((VECTORS / f"layout.{arch}_ppm.json").read_text())}
    names = {"backbone.": "encoder.", "classifier.": "decoder."}
    ours = {}
    for key, value in build(arch).state_dict().items():
        prefix = next(name for name in names if key.startswith(name))
        ours[names[prefix] + key.removeprefix(prefix)] = (list(value.shape), str(value.dtype).removeprefix("torch."))
    assert ours == layout


@pytest.mark.parametrize(("arch", "blocks"), [("resnet101", (3, 4, 23, 3)), ("resnet50", (3, 4, 6, 3))])
def test_dilations_and_strides_of_bottlenecks(arch, blocks):
    backbone = build(arch).backbone
    layers = [backbone.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    assert tuple(map(len, layers)) == blocks
    dilations = [[block.conv2.dilation[0] for block in layer] for layer in layers]
    assert dilations == [[1] * blocks[0], [1] * blocks[1], [1] + [2] * (blocks[2] - 1), [2] + [4] * (blocks[3] - 1)]
    assert [layer[0].conv2.stride[0] for layer in layers] == [1, 2, 1, 1]


def test_dilations_and_strides_of_basic_blocks():
    layers = [build("resnet18").backbone.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    dilations = [[(block.conv1.dilation[0], block.conv2.dilation[0]) for block in layer] for layer in layers]
    assert dilations == [[(1, 1)] * 2, [(1, 1)] * 2, [(1, 2), (2, 2)], [(2, 4), (4, 4)]]
    assert [layer[0].conv1.stride[0] for layer in layers] == [1, 2, 1, 1]
    assert layers[0][0].downsample is not None


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_layer_of_batch_norm_is_the_given_one_and_trained(arch):
    model = build(arch)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert {type(module) for module in norms} == {CumulativeBatchNorm2d}
    assert all(parameter.requires_grad for parameter in model.parameters())
    family = () if arch == "tiny" else (f"deep-stem ResNet-{arch.removeprefix('resnet')}",)
    assert accepted_families(model.backbone) == family


@pytest.mark.parametrize("size", [(17, 33), (48, 56), (40, 49)])
def test_maps_have_three_halvings_that_round_up(size):
    model = build_ppm("tiny", 4, CumulativeBatchNorm2d).train()
    output = model(torch.randn(2, 3, *size))
    expected = tuple(-(-side // 8) for side in size)
    assert output.logits.shape == output.heads["aux"].shape == (2, 4, *expected)
    assert model.eval()(torch.randn(1, 3, *size)).logits.shape == (1, 4, *size)


def test_one_image_trains_nothing_but_can_be_evaluated():
    model = build_ppm("tiny", 4, CumulativeBatchNorm2d)
    with pytest.raises(ConfigError, match="at least 2 images"):
        model.train()(torch.randn(1, 3, 16, 16))


def test_an_unknown_network_is_refused_with_near_matches():
    with pytest.raises(ConfigError, match="encoder 'resnet100'; did you mean 'resnet101'"):
        build("resnet100")
