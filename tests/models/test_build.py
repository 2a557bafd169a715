import pytest
import torch
import torchvision
from torch import nn

from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError
from udacore.models import RESNET101_CAFFE, DeepLabHead, ResNet, ResNetSettings, Segmenter, build_segmenter, make_batch_norm
from udacore.models.build import BUILDERS

MODES = ("train", "eval", "frozen", "frozen-no-epsilon", "live", "domain")


def build(name: str, mode: str = "train", classes: int = 12) -> Segmenter:
    with torch.device("meta"):
        return build_segmenter(ModelConfig(name=name, batch_norm=mode), classes)


@pytest.mark.parametrize("mode", MODES)
def test_small_has_264_k_parameters_and_stride_4_in_every_mode(mode: str) -> None:
    model = build_segmenter(ModelConfig(name="small", batch_norm=mode), 12)
    output = model(torch.rand(2, 3, 64, 96), domain="target")
    assert output.logits.shape == (2, 12, 16, 24)
    assert output.features.shape == (2, model.feature_channels, 16, 24)
    affine = sum(module.weight.numel() * 2 for module in model.modules() if hasattr(module, "running_mean"))
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == {"train": 263872, "eval": 263872, "domain": 263872 + affine // 2}.get(mode, 263872 - affine)


def test_resnet101_has_torchvisions_keys_and_shapes_in_order() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet101(weights=None)
    want = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours = {key: value.shape for key, value in build("deeplab-resnet101").backbone.state_dict().items()}
    assert list(ours.items()) == list(want.items())


def test_resnet_equals_torchvisions_dilated_network() -> None:
    settings = ResNetSettings(blocks=(1, 2, 2, 2))
    ours = ResNet(settings, make_batch_norm("train")).eval()
    theirs = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, [1, 2, 2, 2], replace_stride_with_dilation=[False, True, True]
    ).eval()
    theirs.fc = theirs.avgpool = nn.Identity()
    assert not theirs.load_state_dict(ours.state_dict(), strict=False).unexpected_keys
    image = torch.rand(1, 3, 65, 97)
    features = ours(image)
    assert features.shape == (1, 2048, 9, 13)
    assert torch.equal(theirs(image), features.flatten(1))


def test_caffe_form_rounds_up_and_strides_on_the_1x1() -> None:
    with torch.device("meta"):
        backbone = ResNet(RESNET101_CAFFE, make_batch_norm("train"))
        assert [tuple(stage.shape[1:]) for stage in backbone.stages(torch.rand(1, 3, 512, 1024))] == [
            (256, 129, 257),
            (512, 65, 129),
            (1024, 65, 129),
            (2048, 65, 129),
        ]
    block = backbone.get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    assert [block.conv2.dilation[0] for block in backbone.get_submodule("layer4")] == [4, 4, 4]
    # 43,900,992 with PLCA's head of 1,400,832
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 42_500_160


def test_deep_stem_with_basic_blocks_is_resnet18_of_the_pyramid_network() -> None:
    settings = ResNetSettings(block="basic", blocks=(2, 2, 2, 2), stem="deep")
    with torch.device("meta"):
        backbone = ResNet(settings, make_batch_norm("train"))
        assert backbone(torch.rand(1, 3, 65, 97)).shape == (1, 512, 9, 13)
    stem = [key for key in backbone.state_dict() if "layer" not in key and key.endswith("weight")]
    assert stem == [f"{kind}{number}.weight" for number in (1, 2, 3) for kind in ("conv", "bn")]
    assert backbone.get_submodule("layer1.0.downsample.0").in_channels == 128
    first = backbone.get_submodule("layer4.0")
    assert (first.conv1.dilation[0], first.conv2.dilation[0]) == (2, 4)


def test_vgg16_has_the_flat_keys_of_the_specification() -> None:
    model = build("deeplab-vgg16")
    indices = [int(key.split(".")[0]) for key in model.backbone.state_dict() if key.endswith("weight")]
    assert indices == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31]
    with torch.device("meta"):
        assert model(torch.rand(1, 3, 65, 97)).features.shape == (1, 1024, 8, 12)


def test_the_head_sums_its_branches_or_the_first_few() -> None:
    head = DeepLabHead(5, 4, dilations=(1, 2, 3))
    features = torch.rand(1, 5, 9, 9)
    branches = [conv(features) for conv in head.conv2d_list]
    torch.testing.assert_close(head(features), branches[0] + branches[1] + branches[2])
    head.summed = 2
    torch.testing.assert_close(head(features), branches[0] + branches[1])
    assert list(DeepLabHead(5, 4, bias=False).state_dict()) == [f"conv2d_list.{n}.weight" for n in range(4)]
    assert abs(DeepLabHead(256, 19).conv2d_list[3].weight.detach().std().item() - 0.01) < 1e-3
    with pytest.raises(ConfigError, match="possible: 1 to 3"):
        DeepLabHead(5, 4, dilations=(1, 2, 3), summed=4)


def test_further_heads_run_when_asked_for() -> None:
    plain = build_segmenter(ModelConfig(name="small"), 3)
    model = Segmenter(
        plain.backbone, plain.classifier, num_classes=3, feature_channels=96, heads={"projection": nn.Conv2d(96, 8, 1)}
    ).eval()
    image = torch.rand(1, 3, 32, 32)
    assert dict(model(image).heads) == {}
    assert model(image, head="projection").heads["projection"].shape == (1, 8, 8, 8)
    assert [name for name, _ in model.named_children()] == ["backbone", "classifier", "projection"]
    with pytest.raises(ConfigError, match="did you mean 'projection'"):
        model(image, head="projections")


def test_a_seed_gives_the_same_network() -> None:
    states = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            states.append(build_segmenter(ModelConfig(name="small"), 3).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_norm_takes_the_place_of_the_mode() -> None:
    with torch.device("meta"):
        model = build_segmenter(ModelConfig(name="small", batch_norm="train"), 3, norm=make_batch_norm("frozen"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be .* or timm:NAME, got 'smal'; did you mean 'small'"):
        ModelConfig(name="smal")
    assert set(BUILDERS) == {"deeplab-resnet101", "deeplab-vgg16", "small"}
