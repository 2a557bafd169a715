from __future__ import annotations

import pytest
import torch
from udacore_clp.aggregation import aggregate
from udacore_clp.segmenters import AGGREGATED, build_network

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.inference import predict_label, predict_probability
from udacore.losses import upsample
from udacore.models import build_segmenter, load_state


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_network(ModelConfig(name="small"), 5).eval()


@pytest.fixture(scope="module")
def image():
    return torch.randn(2, 3, 33, 49, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def by_definition(model, image):
    """Spec clp 9.1 written out."""
    mixed = aggregate(model(image).features, "cos", 0.5)
    return aggregate(model.classifier(mixed).softmax(1), "kl", 0.5)


@torch.no_grad()
def test_the_further_head_holds_the_log_of_the_aggregated_probability_and_all_else_stays(model, image):
    output, plain = model(image, head=AGGREGATED), model(image)
    torch.testing.assert_close(output.heads[AGGREGATED].exp(), by_definition(model, image))
    assert torch.equal(output.logits, plain.logits)
    assert not plain.heads


def test_an_evaluation_that_asks_for_it_enlarges_the_aggregated_probability(model, image):
    want = upsample(by_definition(model, image), (66, 97), model.align_corners)
    how = {"head": AGGREGATED, "upsample": "probability"}
    torch.testing.assert_close(predict_probability(model, image, (66, 97), **how), want)
    assert torch.equal(predict_label(model, image, (66, 97), **how), want.argmax(1))


def test_a_mirrored_image_is_aggregated_too(model, image):
    how = {"head": AGGREGATED, "upsample": "probability"}
    views = [upsample(by_definition(model, view), (33, 49), model.align_corners) for view in (image, image.flip(-1))]
    got = predict_probability(model, image, (33, 49), flip=True, **how)
    torch.testing.assert_close(got, (views[0] + views[1].flip(-1)) / 2, rtol=1e-4, atol=1e-5)


def test_a_probability_of_nothing_has_a_finite_logarithm(model):
    features = torch.randn(1, model.feature_channels, 3, 4) * 1e3
    with torch.no_grad():
        assert torch.isfinite(model.aggregate(features)).all()


def test_another_head_is_named(model, image):
    with pytest.raises(ConfigError, match=r"head 'aggregate'.*did you mean 'aggregated'"):
        model(image, head="aggregate")
    with pytest.raises(ConfigError, match="no output 'aggregate'; did you mean 'aggregated'"):
        predict_label(model, image, (33, 49), head="aggregate")


@pytest.mark.parametrize("name", ["small", "deeplab-vgg16"])
def test_the_cores_networks_keep_their_keys_and_corner_rule(name):
    with torch.device("meta"):
        core, ours = build_segmenter(ModelConfig(name=name), 4), build_network(ModelConfig(name=name), 4)
    assert ours.align_corners == core.align_corners
    assert {key: value.shape for key, value in ours.state_dict().items()} == {key: value.shape for key, value in core.state_dict().items()}


def test_weights_of_the_core_load(model):
    core = build_segmenter(ModelConfig(name="small"), 5)
    ours = build_network(ModelConfig(name="small"), 5)
    loaded = load_state(ours, core.state_dict(), where="a run of the core")
    assert not loaded.missing
    assert not loaded.unexpected
