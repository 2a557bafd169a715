"""The pyramid head and its segmenter, with any form of batch norm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from udacore_pycda.pyramid_pooling import PyramidHead, PyramidSegmenter, multiplied_means

from udacore.errors import ConfigError
from udacore.inference import predict_label
from udacore.models import ResNet, ResNetSettings, make_batch_norm, use_domain

TINY = ResNetSettings(block="basic", blocks=(1, 1, 1, 1), widths=(8, 8, 16, 32), stem="deep")


def build(mode: str = "train", classes: int = 5) -> PyramidSegmenter:
    torch.manual_seed(0)
    norm = make_batch_norm(mode)
    return PyramidSegmenter(ResNet(TINY, norm), classes, norm, width=8)


def pictures(height: int = 33, width: int = 50, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_training_gives_both_heads_at_the_features_resolution() -> None:
    output = build().train()(pictures())
    assert output.features.shape == (2, 32, 5, 7)
    assert output.logits.shape == output.heads["aux"].shape == (2, 5, 5, 7)


def test_evaluation_gives_logits_of_the_images_size_with_corners_not_aligned() -> None:
    model = build().eval()
    output = model(pictures())
    low = model.classifier(output.features)
    torch.testing.assert_close(output.logits, F.interpolate(low, (33, 50), mode="bilinear", align_corners=False))
    assert not output.heads
    label = predict_label(model, pictures(), (66, 100), align_corners=True)
    assert torch.equal(label, F.interpolate(output.logits, (66, 100), mode="bilinear", align_corners=True).argmax(1))


def test_the_auxiliary_head_runs_on_demand_in_evaluation() -> None:
    model = build().eval()
    low = model.classifier.auxiliary(model.backbone.stages(pictures())[2])
    asked = model(pictures(), head="aux").heads["aux"]
    torch.testing.assert_close(asked, F.interpolate(low, (33, 50), mode="bilinear", align_corners=False))
    assert torch.equal(predict_label(model, pictures(), (33, 50), head="aux"), asked.argmax(1))
    with pytest.raises(ConfigError, match=r"head 'auxx'.*did you mean 'aux'"):
        model(pictures(), head="auxx")


def test_the_pyramid_is_averages_of_the_map_beside_the_map() -> None:
    head = PyramidHead((4, 8), 3, make_batch_norm("train"), width=2).eval()
    features = torch.rand(1, 8, 7, 9)
    seen = []
    head.conv_last[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    head(features)
    assert torch.equal(seen[0][:, :8], features)
    assert seen[0].shape == (1, 8 + 4 * 2, 7, 9)
    whole = F.relu(head.ppm[0].get_submodule("2")(head.ppm[0].get_submodule("1")(features.mean((2, 3), keepdim=True))))
    torch.testing.assert_close(seen[0][:, 8:10], whole.expand(1, 2, 7, 9))


@pytest.mark.parametrize("mode", ["train", "eval", "frozen", "live", "domain"])
def test_the_start_is_kaimings_and_a_small_shift_in_every_form_of_batch_norm(mode: str) -> None:
    norm = make_batch_norm(mode)
    head = PyramidHead((256, 512), 7, norm, width=64)
    convolution = head.conv_last[0]
    assert isinstance(convolution, nn.Conv2d)
    inputs = (512 + 4 * 64) * 9
    assert convolution.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.02)
    shifts = [value for key, value in head.state_dict().items() if key.endswith("bias") and (".1." in key or ".2." in key)]
    assert len(shifts) == 6 * (2 if mode == "domain" else 1)
    assert all((value == 1e-4).all() for value in shifts)


def test_layers_of_a_domain_are_chosen_by_the_call() -> None:
    model = build("domain").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model(pictures(), domain="target")
    moved = {key.partition("norm_layers.")[2][0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"1"}
    with use_domain(model, "source"):
        model(pictures())
    assert not torch.equal(model.state_dict()["backbone.bn1.norm_layers.0.running_mean"], before["backbone.bn1.norm_layers.0.running_mean"])


@pytest.mark.parametrize("size", [(7, 5), (12, 6), (3, 4), (1, 9)])
@pytest.mark.parametrize("scale", [1, 2, 3, 6])
def test_means_by_products_of_matrices_are_those_of_adaptive_pooling(size: tuple[int, int], scale: int) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    factor = torch.randn(2, 3, scale, scale, dtype=torch.float64)
    plain, ours = F.adaptive_avg_pool2d(x, scale), multiplied_means(x, scale)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*(torch.autograd.grad((form * factor).sum(), x)[0] for form in (ours, plain)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert multiplied_means(x.bfloat16(), scale).dtype == torch.bfloat16
        torch.testing.assert_close(multiplied_means(x.float(), scale), plain.float())
