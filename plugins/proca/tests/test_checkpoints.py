from __future__ import annotations

import pytest
import torch
from udacore_proca.checkpoints import FEATURE_FILE, LAYOUTS, OUTPUT_FILE, RELEASED, read_prototypes, write_prototypes
from udacore_proca.prototypes import Prototypes

from udacore import ConfigError
from udacore.config.schema import ModelConfig
from udacore.models import build_segmenter
from udacore.models.layouts import convert_checkpoint, recognize_layout


def released(prefix="module."):
    """A checkpoint as the authors save it, of the VGG form."""
    state = build_segmenter(ModelConfig(name="deeplab-vgg16"), 3).state_dict()
    parts = {"feature_extractor": {}, "classifier": {}}
    for key, value in state.items():
        if key.startswith("classifier."):
            parts["classifier"][prefix + key.removeprefix("classifier.")] = value
        else:
            parts["feature_extractor"][prefix + key] = value
    return {"iteration": 90000, **parts, "optimizer_fea": {}, "optimizer_cls": {}}, state


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_released_checkpoint_is_recognised_and_converted(prefix, tmp_path):
    content, state = released(prefix)
    path = tmp_path / "model_proca_ssl.pth"
    torch.save(content, path)
    assert recognize_layout(path, LAYOUTS) is RELEASED
    converted = convert_checkpoint(path, RELEASED)
    assert set(converted) == set(state)
    assert all(torch.equal(converted[key], value) for key, value in state.items())


def test_an_unknown_key_is_listed():
    content, _ = released()
    content["classifier"]["module.bottleneck.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"does not know classifier\.bottleneck\.weight"):
        convert_checkpoint(content, RELEASED)


def filled():
    prototypes = Prototypes(3, 5)
    for estimator in (prototypes.feature, prototypes.output):
        estimator.mean.normal_(generator=torch.Generator().manual_seed(0))
        estimator.count.copy_(torch.tensor([0, 7, 2**24]))
    return prototypes


def test_prototype_files_have_the_authors_layout(tmp_path):
    write_prototypes(tmp_path, filled())
    content = torch.load(tmp_path / FEATURE_FILE, weights_only=True)
    assert set(content) == {"Proto", "Amount"}
    assert content["Proto"].dtype == content["Amount"].dtype == torch.float32
    assert content["Proto"].shape == (3, 5)


def test_prototype_files_survive_a_round_trip(tmp_path):
    write_prototypes(tmp_path, filled())
    again = Prototypes(3, 5)
    read_prototypes(tmp_path, again)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in filled().state_dict().items())


def test_prototypes_of_another_network_are_refused(tmp_path):
    write_prototypes(tmp_path, filled())
    with pytest.raises(ConfigError, match=r"prototypes of shape \(3, 5\), the network needs \(3, 6\)"):
        read_prototypes(tmp_path, Prototypes(3, 6))


def test_a_missing_file_of_prototypes_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"prototype_feat_dist\.pth: no such file"):
        read_prototypes(tmp_path, Prototypes(3, 5))


@pytest.mark.parametrize("content", [{"Proto": 1}, [1, 2]])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / FEATURE_FILE)
    with pytest.raises(ConfigError, match="expected the tensors 'Proto' and 'Amount'"):
        read_prototypes(tmp_path, Prototypes(3, 5))


def test_a_broken_file_of_prototypes_is_refused(tmp_path):
    (tmp_path / FEATURE_FILE).write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="not a readable file of prototypes"):
        read_prototypes(tmp_path, Prototypes(3, 5))


def test_a_changed_byte_of_a_prototype_is_noticed(tmp_path):
    write_prototypes(tmp_path, filled())
    path = tmp_path / OUTPUT_FILE
    values = filled().output.mean.float().numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(values) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"prototype_out_dist\.pth: not a readable file of prototypes: damaged"):
        read_prototypes(tmp_path, Prototypes(3, 5))
