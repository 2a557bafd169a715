from __future__ import annotations

import pytest
import torch
from udacore_bdl.checkpoints import DEEPLAB, FCN8S, LAYOUTS
from udacore_bdl.discriminators import OutputDiscriminator, PatchDiscriminator
from udacore_bdl.fcn8s import FCN8s
from udacore_bdl.generators import Generator
from udacore_bdl.segmenters import BranchedHead, build_deeplab, count_branches

from udacore import ConfigError
from udacore.models.layouts import convert_checkpoint, recognize_layout
from udacore.models.weights import load_children, load_state
from udacore.testing.runs import configure, score


class Host(torch.nn.Module):
    """A head in a model of its own."""

    def __init__(self, head, name="classifier"):
        super().__init__()
        self.add_module(name, head)


def release(trained, classes=5, channels=2048):
    """A released head under the authors' keys: `trained` branches moved away from their random start."""
    head = BranchedHead(channels, classes)
    state = {f"layer5.{key}": value for key, value in head.state_dict().items() if key != "branches"}
    for number in range(trained):
        state[f"layer5.conv2d_list.{number}.weight"] = 1.3 * state[f"layer5.conv2d_list.{number}.weight"]
    return state


@pytest.mark.parametrize(("trained", "summed"), [(2, 2), (4, 4)])
def test_both_variants_of_the_head_are_told_apart_on_import(trained, summed, tmp_path):
    torch.manual_seed(0)
    torch.save(release(trained), tmp_path / "gta_2_city_deeplab.pth")
    assert recognize_layout(tmp_path / "gta_2_city_deeplab.pth", LAYOUTS) is DEEPLAB
    model = Host(BranchedHead(2048, 5))
    load_state(model, convert_checkpoint(tmp_path / "gta_2_city_deeplab.pth", DEEPLAB), where="there")
    assert model.classifier.summed == summed
    again = Host(BranchedHead(2048, 5))
    load_state(again, model.state_dict(), where="a checkpoint of ours")
    assert again.classifier.summed == summed
    features = torch.randn(1, 2048, 3, 3)
    expected = sum(conv(features) for conv in model.classifier.conv2d_list[:summed])
    torch.testing.assert_close(again.classifier(features), expected)


def test_a_released_file_is_evaluated_as_it_is(tmp_path):
    model = build_deeplab(12, "live", head_branches=None)
    state = {key.removeprefix("backbone.").replace("classifier.", "layer5."): value for key, value in model.state_dict().items()}
    torch.save({key: value for key, value in state.items() if key != "layer5.branches"}, tmp_path / "released.pth")
    words = ("method.network=deeplab-caffe", "model.batch_norm=live", "evaluate.target.count=1", "evaluate.target.image_size=[32,32]", "device=cpu")
    config = configure("bdl", "streets", words)
    (result,) = score("bdl", config, tmp_path / "released.pth", round="adapt-1")
    assert len(result.scores.iou) == 12


def test_a_number_of_branches_that_is_given_stays():
    model = Host(BranchedHead(2048, 5, summed=4))
    load_state(model, convert_checkpoint(release(2), DEEPLAB), where="there")
    assert model.classifier.summed == 4


def test_an_untrained_head_has_four_branches():
    assert count_branches(BranchedHead(2048, 5).state_dict(), "conv2d_list.") == 4


def test_released_vgg_files_are_recognised():
    with torch.device("meta"):
        state = FCN8s(19).state_dict()
    theirs = {key.partition(".")[2]: value for key, value in state.items()}
    assert recognize_layout(theirs, LAYOUTS) is FCN8S
    assert set(convert_checkpoint(theirs, FCN8S)) == set(state)
    with pytest.raises(ConfigError, match=r"layout 'bdl-fcn8s' does not know score_fr2\.weight|does not know"):
        convert_checkpoint({**theirs, "fc8.weight": torch.zeros(1)}, FCN8S)


def test_fcn8s_answers_at_the_size_of_the_image():
    with torch.device("meta"):
        model = FCN8s(19).eval()
        output = model(torch.zeros(1, 3, 45, 70))
    assert output.logits.shape == (1, 19, 45, 70)
    assert output.features.shape[:2] == (1, 4096)


@pytest.mark.parametrize("network", [Generator(4, 2), PatchDiscriminator(4)])
def test_running_statistics_of_the_authors_files_are_dropped(network):
    state = dict(network.state_dict())
    for key in [name for name in state if name.endswith("bias")]:
        prefix = key.rpartition(".")[0]
        number = int(prefix.rpartition(".")[2]) + 1
        state[f"{prefix.rpartition('.')[0]}.{number}.running_mean"] = torch.ones(3)
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.InstanceNorm2d)}
    kept = {key: value for key, value in state.items() if not key.endswith("running_mean") or key.removesuffix(".running_mean") in norms}
    network.load_state_dict(kept)
    assert not any("running" in key for key in network.state_dict())


def test_a_generator_keeps_the_size_and_normalises_by_the_image_alone():
    torch.manual_seed(0)
    network = Generator(4, 1)
    images = torch.rand(2, 3, 36, 40) * 2 - 1
    together = network.train()(images)
    assert together.shape == images.shape
    assert together.abs().max() <= 1
    torch.testing.assert_close(network.eval()(images[1:]), together[1:])


def test_sides_that_cannot_be_translated_are_named():
    with pytest.raises(ConfigError, match=r"sides that are multiples of 4, got 40 x 34"):
        Generator(2, 1)(torch.zeros(1, 3, 34, 40))
    for network, channels, smallest in ((OutputDiscriminator(5, 2), 5, 32), (PatchDiscriminator(2), 3, 24)):
        assert network(torch.zeros(1, channels, smallest, smallest)).shape == (1, 1, 1, 1)
        with pytest.raises(ConfigError, match=f"needs sides of at least {smallest} pixels, got 64 x {smallest - 1}"):
            network(torch.zeros(1, channels, smallest - 1, 64))


def test_a_discriminator_of_another_number_of_classes_is_refused():
    model = Host(OutputDiscriminator(19, 4), "discriminator")
    other = Host(OutputDiscriminator(16, 4), "discriminator")
    with pytest.raises(ConfigError, match=r"of another shape: discriminator\.conv1\.weight, \(4, 16, 4, 4\) there and \(4, 19, 4, 4\) here"):
        load_children(model, other.state_dict(), where="discriminator.pt")
