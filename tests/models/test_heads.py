"""Heads over several maps; DAFormer's against reference vectors of its authors' code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from udacore.models import make_batch_norm
from udacore.models.heads import ContextFusion, Joined, PixelClassifier
from udacore.testing.golden import fill_state_dict

VECTORS = Path(__file__).parent / "golden"


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_daformers_head_gives_its_authors_logits_and_gradients(mode: str) -> None:
    fusion, classifier = ContextFusion((8, 12, 16, 24), 16, make_batch_norm("train")), PixelClassifier(16, 7)
    layout = [(key, list(value.shape), str(value.dtype)) for part in (classifier, fusion) for key, value in part.state_dict().items()]
    state = {key: torch.from_numpy(np.asarray(value)) for key, value in fill_state_dict(layout).items()}
    for part in (fusion, classifier):
        part.load_state_dict({key: state[key] for key in part.state_dict()})
        part.train(mode == "train")
    with np.load(VECTORS / f"daformer_head_{mode}.npz") as arrays:
        given = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    maps = [given[f"in_feature{stage}"].requires_grad_() for stage in (1, 2, 3, 4)]
    logits = classifier(fusion(maps))
    (logits * given["in_upstream"]).sum().backward()
    torch.testing.assert_close(logits, given["out_logits"], rtol=2e-4, atol=1e-4)
    for stage, x in enumerate(maps, 1):
        torch.testing.assert_close(x.grad, given[f"out_grad_feature{stage}"], rtol=2e-4, atol=1e-4)


def test_a_plain_fusion_is_one_unit_over_the_embedded_maps() -> None:
    torch.manual_seed(0)
    fusion = ContextFusion((3, 5), 4, make_batch_norm("train"), fusion="1x1").eval()
    maps = [torch.rand(2, 3, 8, 12), torch.rand(2, 5, 4, 6)]
    embedded = [embed.proj(x.movedim(1, 3)).movedim(3, 1) for embed, x in zip(fusion.embed_layers, maps, strict=True)]
    embedded[1] = nn.functional.interpolate(embedded[1], (8, 12), mode="bilinear", align_corners=False)
    unit = fusion.fuse_layer
    expected = unit.bn(unit.conv(torch.cat(embedded, 1))).relu()
    torch.testing.assert_close(fusion(maps), expected)
    assert {key.split(".")[1] for key in fusion.state_dict() if key.startswith("fuse_layer.")} == {"conv", "bn"}


def test_maps_are_joined_at_the_size_of_the_first() -> None:
    maps = [torch.rand(2, 3, 8, 12), torch.rand(2, 5, 4, 6)]
    joined = Joined((3, 5))
    result = joined(maps)
    assert result.shape == (2, joined.channels, 8, 12)
    assert torch.equal(result[:, :3], maps[0])
    assert torch.equal(result[:, 3:], nn.functional.interpolate(maps[1], (8, 12), mode="bilinear", align_corners=False))
    assert joined(maps[1:]) is maps[1]


def test_a_classifier_begins_near_zero_and_drops_whole_channels_in_training_only() -> None:
    torch.manual_seed(0)
    classifier = PixelClassifier(64, 5, dropout=0.5)
    x = torch.ones(1, 64, 2, 3)
    assert float(classifier.conv_seg.weight.detach().std()) == pytest.approx(0.01, rel=0.2)
    assert torch.equal(classifier.eval()(x), classifier(x))
    dropped = classifier.train()(x)
    assert not torch.equal(dropped, classifier.eval()(x))
    torch.testing.assert_close(dropped[..., :1, :1].expand_as(dropped), dropped)
