from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from udacore_mic.detail import cut, slide_boxes
from udacore_mic.networks import Detail, build_network
from udacore_mic.transformer import ENCODERS, DropPath, MiT, MiTSettings, drop_path_rates

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.inference import predict_probability
from udacore.losses import upsample
from udacore.models import Teacher

VECTORS = Path(__file__).resolve().parent / "golden"
TINY = MiTSettings(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), heads=(1, 2, 3, 4), drop_path=0.0)
DETAIL = Detail(window=(32, 64), attention=8)


def tiny(detail=None, **more):
    torch.manual_seed(0)
    return build_network(TINY, 5, detail=detail, width=8, **more)


@pytest.mark.parametrize(
    ("encoder", "detail", "parameters", "entries"),
    [
        ("mit_b5", None, 85_155_283, 1110),
        ("mit_b5", Detail(), 85_685_990, 1126),
        ("resnet101_v1c", None, 43_219_846, 640),
        ("resnet101_v1c", Detail(), 43_920_300, 644),
    ],
)
def test_networks_have_the_published_sizes(encoder, detail, parameters, entries):
    with torch.device("meta"):
        network = build_network(encoder, 19, detail=detail)
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert len(network.state_dict()) == entries


@pytest.mark.parametrize("name", [name for name in ENCODERS if name.startswith("mit_b")])
def test_every_encoder_gives_maps_of_its_widths(name):
    with torch.device("meta"):
        maps = MiT(ENCODERS[name])(torch.zeros(1, 3, 65, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (width, *size) for width, size in zip(ENCODERS[name].widths, ((17, 24), (9, 12), (5, 6), (3, 3)), strict=True)
    ]


def test_the_encoders_entries_are_those_of_the_files_in_their_order():
    rows = json.loads((VECTORS / "layout_mit_tiny.json").read_text())
    assert [[key, list(value.shape)] for key, value in MiT(TINY).state_dict().items()] == [row[:2] for row in rows]


@pytest.mark.parametrize(("height", "width"), [(28, 64), (64, 28)])
def test_an_image_without_a_whole_cell_of_attention_is_one_line(height, width):
    encoder = MiT(TINY).eval()
    assert encoder(torch.zeros(1, 3, 29, 29))[0].shape[2:] == (8, 8)
    with pytest.raises(ConfigError, match=f"at least 29 pixels a side, got {width} x {height}$"):
        encoder(torch.zeros(1, 3, height, width))


def test_paths_are_dropped_image_by_image_in_training_only():
    torch.manual_seed(0)
    branch, drop = torch.ones(2000, 3, 4), DropPath(0.25)
    kept = drop.train()(branch)
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert sorted(kept.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert float((kept[:, 0, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.04)
    assert drop.eval()(branch) is branch
    assert drop_path_rates((1, 2), 0.1) == [0, 0.05, 0.1]
    assert [block.drop_path.rate for block in MiT(ENCODERS["mit_tiny"]).block4] == [0.1]


def test_a_teacher_drops_no_paths():
    network = build_network("mit_tiny", 5, width=8).train()
    teacher = Teacher(network).train()
    drops = [module for module in teacher.modules() if isinstance(module, DropPath)]
    assert len(drops) == 4
    assert not any(module.training for module in drops)
    assert teacher.network.classifier.fuse_layer.bottleneck.bn.training


def test_an_encoder_begins_as_it_was_published():
    torch.manual_seed(0)
    encoder = MiT(ENCODERS["mit_b0"])
    block = encoder.block3[0]
    assert float(block.attn.q.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(block.mlp.dwconv.dwconv.weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert float(encoder.patch_embed3.proj.weight.detach().std()) == pytest.approx((2 / (9 * 160)) ** 0.5, rel=0.05)
    assert not block.attn.kv.bias.any()
    assert not encoder.patch_embed1.proj.bias.any()


def test_gradients_reach_every_weight():
    for detail, box in ((None, None), (DETAIL, (8, 40, 0, 64))):
        network = tiny(detail).train()
        output = network(torch.rand(2, 3, 64, 96), domain="source", box=box)
        assert output.features.shape[:2] == (2, 32)
        assert output.logits.shape == (2, 5, 16, 24)
        output.logits.square().sum().backward()
        assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_at_two_scales_both_are_seen_by_the_same_encoder_and_head():
    network = tiny(DETAIL).eval()
    image, box = torch.rand(2, 3, 64, 96), (8, 40, 16, 80)
    output = network(image, box=box)
    plain = network.classifier.head
    torch.testing.assert_close(output.heads["detail"], plain(network.backbone(cut(image, box))))
    maps = network.backbone(network.context(image))
    torch.testing.assert_close(network.context(image), torch.nn.functional.avg_pool2d(image, 2))
    assert tiny().context(image) is image
    torch.testing.assert_close(output.heads["context"], plain(maps))
    torch.testing.assert_close(output.features, maps[-1])
    assert not torch.allclose(output.logits, network(image).logits)


@pytest.mark.parametrize(("at_once", "taken"), [(1, 2), (2, 2), (9, 8), (100, 24)])
def test_evaluation_takes_windows_some_at_a_time_with_equal_result(at_once, taken):
    network = tiny(Detail(window=(32, 32), attention=8, at_once=at_once)).eval()
    image = torch.rand(2, 3, 64, 80)
    counts = []
    network.backbone.register_forward_hook(lambda module, inputs, output: counts.append(len(inputs[0])))
    logits = network(image).logits
    boxes = slide_boxes((64, 80), (32, 32))
    assert len(boxes) == 12
    assert max(counts[1:]) == taken
    assert sum(counts[1:]) == 2 * 12
    whole = copy.deepcopy(network)
    whole.detail = Detail(window=(32, 32), attention=8, at_once=24)
    torch.testing.assert_close(logits, whole(image).logits)


def test_one_scale_alone_can_be_scored():
    network = tiny(Detail(window=(32, 32), attention=8)).eval()
    image = torch.rand(1, 3, 64, 96)
    output = network(image)
    for head in ("context", "detail"):
        found = predict_probability(network, image, (64, 96), head=head)
        torch.testing.assert_close(found, upsample(output.heads[head], (64, 96), False).softmax(1))
    torch.testing.assert_close(output.heads["context"], network.classifier.head(network.backbone(network.context(image))))


def test_in_training_batch_norm_sees_all_windows_together():
    network = tiny(Detail(window=(32, 32), attention=8, at_once=1)).train()
    counts = []
    network.backbone.register_forward_hook(lambda module, inputs, output: counts.append(len(inputs[0])))
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 80))
    assert counts == [2, 24]


def test_a_box_lies_on_a_grid_of_eight_and_is_that_of_the_generator():
    network, generator = tiny(DETAIL), torch.Generator().manual_seed(3)
    boxes = [network.draw_box((96, 128), generator) for _ in range(200)]
    assert {y1 for y1, *_ in boxes} == set(range(0, 64, 8))
    assert {x1 for _, _, x1, _ in boxes} == set(range(0, 64, 8))
    assert all((y2 - y1, x2 - x1) == (32, 64) for y1, y2, x1, x2 in boxes)
    assert network.draw_box((32, 70), generator) == (0, 32, 0, 64)
    assert boxes[0] == network.draw_box((96, 128), torch.Generator().manual_seed(3))
    assert tiny().draw_box((96, 128), generator) is None


def test_images_that_two_scales_cannot_take_are_one_line():
    network = tiny(DETAIL)
    with pytest.raises(ConfigError, match=r"a detail window of 64 x 32 does not fit into images of 48 x 96; "):
        network.draw_box((96, 48), torch.Generator())
    with pytest.raises(ConfigError, match=r"images of 100 x 64 at two scales.*possible: 96 x 64$"):
        network(torch.zeros(1, 3, 64, 100))
    with pytest.raises(ConfigError, match=r"a detail window of 60 x 42 gives logits of 15 x 11: its sides"):
        network(torch.zeros(1, 3, 64, 96), box=(0, 42, 0, 60))


@pytest.mark.parametrize("detail", [None, Detail(window=(32, 32), attention=8)])
@pytest.mark.parametrize(
    ("encoder", "settings", "channels"),
    [
        ("small", {}, 96),
        ("small", {"batch_norm": "domain"}, 96),
        ("timm:test_convnext", {"head": "daformer", "width": 8}, 64),
        ("timm:test_convnext", {"head": "linear", "out_indices": (0, 1)}, 56),
        ("timm:test_resnet", {"options": {"output_stride": 8}}, 96),
        ("mit_tiny", {}, 96),
    ],
)
def test_networks_of_the_core_and_of_timm_take_the_same_parts(encoder, settings, channels, detail):
    if encoder.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network = build_network(encoder, 5, architecture=ModelConfig(**settings), detail=detail, width=8).train()
    image = torch.rand(2, 3, 64, 96)
    box = network.draw_box((64, 96), torch.Generator().manual_seed(0))
    assert (box is None) == (detail is None)
    output = network(image, domain="target", box=box)
    assert output.features.shape[1] == network.feature_channels == channels
    output.logits.sum().backward()
    assert all(value.grad is not None for name, value in network.named_parameters() if "norm_layers.0" not in name)
    with torch.no_grad():
        assert Teacher(network)(image, domain="target").logits.shape == output.logits.shape
        assert network.eval()(image).logits.shape == output.logits.shape


def test_an_encoder_that_is_not_there_is_one_line():
    with pytest.raises(ConfigError, match="timm has no network 'mit_b9'"):
        build_network("timm:mit_b9", 5)
    with pytest.raises(ConfigError, match="encoder: 'mit_b9'; did you mean 'mit_b5'"):
        build_network("mit_b9", 5)
