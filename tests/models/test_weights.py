import hashlib
import re
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError, DataError, UdaError
from udacore.models import (
    RESNET101_CAFFE,
    OwnFiles,
    ResNet,
    ResNetSettings,
    Segmenter,
    build_segmenter,
    load_children,
    load_initial,
    load_state,
    make_batch_norm,
)
from udacore.models.families import recognize_family

States = dict[str, dict[str, Tensor]]
RESNET, VGG, SMALL = (ModelConfig(name=name) for name in ("deeplab-resnet101", "deeplab-vgg16", "small"))


def compact(model: nn.Module) -> dict[str, Tensor]:
    """A state of the right keys and shapes whose tensors are one number each on
    disk, different for each key."""
    shapes = model.state_dict()
    return {key: torch.tensor(float(number)).to(value.dtype).expand(value.shape) for number, (key, value) in enumerate(shapes.items())}


@pytest.fixture(scope="module")
def torchvision_states() -> States:
    with torch.device("meta"):
        models = {name: torchvision.models.get_model(name) for name in ("resnet101", "resnet50", "vgg16")}
    return {name: compact(model) for name, model in models.items()}


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch's own cache, moved by TORCH_HOME, with the network cut off."""

    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "torch" / "hub" / "checkpoints"


def build(architecture: ModelConfig, classes: int = 3) -> Segmenter:
    return build_segmenter(architecture, classes)


def blank(architecture: ModelConfig) -> Segmenter:
    """A large network of ones, without the time that random numbers take."""
    with torch.device("meta"):
        model = build(architecture)
    model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(1)
    return model


def one_line(error: pytest.ExceptionInfo[UdaError], code: int = 2) -> str:
    assert "\n" not in str(error.value)
    assert error.value.exit_code == code
    return str(error.value)


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_imagenet_comes_from_torchs_cache(checkpoints: Path, torchvision_states: States, mode: str) -> None:
    checkpoints.mkdir(parents=True)
    torch.save(torchvision_states["resnet101"], checkpoints / "resnet101-63fe2227.pth")
    architecture = ModelConfig(name="deeplab-resnet101", batch_norm=mode)
    model = blank(architecture)
    head = {key: value.clone() for key, value in model.classifier.state_dict().items()}
    loaded = load_initial(model, "imagenet", architecture)
    assert (loaded.family, loaded.missing, loaded.unexpected) == ("torchvision ResNet-101", (), ())
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, torchvision_states["resnet101"][key])
    assert all(torch.equal(value, head[key]) for key, value in model.classifier.state_dict().items())


def test_without_network_the_error_names_file_folder_and_way_out(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_initial(build(SMALL), "imagenet", RESNET)
    message = one_line(error)
    assert f"put resnet101-63fe2227.pth into {checkpoints}" in message
    assert "no route to host" in message
    assert "initial: random" in message
    assert capsys.readouterr().out == ""


def test_a_damaged_file_in_the_cache_is_named(checkpoints: Path) -> None:
    checkpoints.mkdir(parents=True)
    (checkpoints / "vgg16-397923af.pth").write_bytes(b"half a file")
    with pytest.raises(ConfigError) as error:
        load_initial(build(SMALL), "imagenet", VGG)
    assert f"{checkpoints / 'vgg16-397923af.pth'}: not readable" in one_line(error)


def test_small_has_no_imagenet_weights() -> None:
    with pytest.raises(ConfigError) as error:
        load_initial(build(SMALL), "imagenet", SMALL)
    assert one_line(error) == "initial: imagenet: model 'small' has no ImageNet weights; use initial: random"


def test_random_leaves_the_model_as_built() -> None:
    model = build(SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_initial(model, "random", SMALL)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("caffe", [False, True])
def test_vgg_moves_down_behind_the_pool_that_is_left_out(tmp_path: Path, torchvision_states: States, caffe: bool) -> None:
    state = dict(torchvision_states["vgg16"])
    if caffe:
        state = {key.replace("classifier.0", "classifier.1").replace("classifier.3", "classifier.4"): value for key, value in state.items()}
    torch.save(state, tmp_path / "vgg.pth")
    model = blank(VGG)
    fc6 = model.backbone.state_dict()["29.weight"].clone()
    loaded = load_initial(model, str(tmp_path / "vgg.pth"), VGG)
    assert loaded.family == ("Caffe VGG-16" if caffe else "torchvision VGG-16")
    assert loaded.missing == ("29.weight", "29.bias", "31.weight", "31.bias")
    ours = model.backbone.state_dict()
    for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 23, 25, 27):
        assert torch.equal(ours[f"{index}.weight"], state[f"features.{index + (index > 22)}.weight"])
    assert torch.equal(ours["29.weight"], fc6)


def test_a_file_is_held_to_the_digest_in_its_name_or_given(tmp_path: Path) -> None:
    model = build(SMALL)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    digest = hashlib.sha256((tmp_path / "plain.pth").read_bytes()).hexdigest()
    good, bad = tmp_path / f"small-{digest[:8]}.pth", tmp_path / "small-01234567.pth"
    for path in (good, bad):
        path.write_bytes((tmp_path / "plain.pth").read_bytes())
    assert load_initial(model, str(good), SMALL).family == "udacore checkpoint"
    load_initial(model, str(tmp_path / "plain.pth"), SMALL, sha256=digest)
    with pytest.raises(ConfigError, match=f"begins with {digest[:8]}, not with 01234567"):
        load_initial(model, str(bad), SMALL)
    with pytest.raises(ConfigError, match="not with aaaa"):
        load_initial(model, str(good), SMALL, sha256="aaaa")


def test_a_checkpoint_of_ours_fills_backbone_and_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = build(SMALL), build(SMALL)
    torch.save({"format": 1, "model": {**first.state_dict(), "prototypes": torch.rand(3, 4)}}, tmp_path / "last.pt")
    loaded = load_initial(second, str(tmp_path / "last.pt"), SMALL)
    assert loaded.unexpected == ("prototypes",)
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in second.state_dict().items())
    with pytest.raises(ConfigError, match=r"of another shape: classifier\.conv2d_list\.0\.weight, \(3, 96, 3, 3\) there and \(5, 96"):
        load_initial(build(SMALL, classes=5), str(tmp_path / "last.pt"), SMALL)


@pytest.mark.parametrize(
    ("name", "architecture", "expected"),
    [
        ("resnet50", RESNET, "ResNet-50 (keys conv1.weight, bn1.weight, bn1.bias and 317 more); expected torchvision ResNet-101"),
        ("vgg16", RESNET, "VGG-16 (keys features.0.weight, features.0.bias, features.2.weight and 29 more); expected torchvision ResNet-101"),
        ("resnet101", SMALL, "ResNet-101 (keys conv1.weight, bn1.weight, bn1.bias and 623 more); expected a udacore checkpoint"),
    ],
)
def test_another_family_is_refused_by_name(
    tmp_path: Path, torchvision_states: States, name: str, architecture: ModelConfig, expected: str
) -> None:
    torch.save(torchvision_states[name], tmp_path / "file.pth")
    with torch.device("meta"):
        model = build(architecture)
    with pytest.raises(ConfigError) as error:
        load_initial(model, str(tmp_path / "file.pth"), architecture)
    assert f"file.pth: torchvision {expected}" in one_line(error)


@pytest.mark.parametrize(("change", "expected"), [("lose", "missing there: layer2"), ("gain", "unknown to the model: extra")])
def test_a_key_too_few_or_too_many_is_refused(tmp_path: Path, torchvision_states: States, change: str, expected: str) -> None:
    state = dict(torchvision_states["resnet101"])
    if change == "lose":
        del state["layer2.1.bn1.running_mean"]
    else:
        state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(ConfigError, match=expected):
        load_initial(blank(RESNET), str(tmp_path / "file.pth"), RESNET)


def test_families_are_told_apart(torchvision_states: States) -> None:
    resnet = torchvision_states["resnet101"]
    assert recognize_family({f"Scale.{key}": value for key, value in resnet.items()}) == "Caffe ResNet-101"
    assert recognize_family({**resnet, "layer5.conv2d_list.0.weight": torch.zeros(1)}) == "Caffe ResNet-101"
    stem = {f"conv{number}.weight": torch.zeros(*shape, 3, 3) for number, shape in enumerate(((64, 3), (64, 64), (128, 64)), start=1)}
    assert recognize_family({**resnet, **stem}) == "deep-stem ResNet-101"
    assert recognize_family({**resnet, **stem, "conv1.weight": torch.zeros(32, 3, 3, 3)}) == "ResNet-101 with another stem"
    assert recognize_family(torchvision_states["resnet50"]) == "torchvision ResNet-50"
    assert recognize_family({"encoder.weight": torch.zeros(1)}) == "unknown family"
    with torch.device("meta"):
        assert recognize_family(torchvision.models.vgg16_bn().state_dict()) == "VGG of another depth, or with batch norm"
        assert recognize_family(torchvision.models.wide_resnet101_2().state_dict()) == "wide or grouped ResNet"


def test_a_deep_stem_takes_files_of_its_own_family_alone(tmp_path: Path, torchvision_states: States) -> None:
    with torch.device("meta"):
        model = nn.Module()
        model.backbone = ResNet(ResNetSettings(stem="deep"), make_batch_norm("train"))
    fitting = compact(model.backbone)
    model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(1)
    torch.save({**fitting, "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "deep.pth", _use_new_zipfile_serialization=False)
    assert load_initial(model, str(tmp_path / "deep.pth"), RESNET).family == "deep-stem ResNet-101"
    assert torch.equal(model.backbone.state_dict()["bn3.bias"], fitting["bn3.bias"])
    torch.save(torchvision_states["resnet101"], tmp_path / "plain.pth")
    address = "http://sceneparsing.csail.mit.edu/model/pretrained_resnet/resnet101-imagenet.pth"
    refusals = {"plain.pth": "torchvision ResNet-101 (keys", "none.pth": "no such file of weights; expected deep-stem ResNet-101"}
    for name, expected in refusals.items():
        with pytest.raises(ConfigError) as error:
            load_initial(model, str(tmp_path / name), RESNET)
        assert f"{name}: {expected}" in one_line(error)
        assert address in str(error.value)
    with pytest.raises(ConfigError, match=r"torchvision's weights do not fit this network; give a file: deep-stem ResNet-101") as error:
        load_initial(model, "imagenet", RESNET)
    assert address in one_line(error)


def test_a_v1c_stem_takes_files_of_open_mmlab_alone(tmp_path: Path, torchvision_states: States) -> None:
    torch.manual_seed(0)
    model = nn.Module()
    model.backbone = ResNet(ResNetSettings(stem="v1c"), make_batch_norm("train"))
    fitting = {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in model.backbone.state_dict().items()}
    stem = {"conv1": "stem.0", "bn1": "stem.1", "conv2": "stem.3", "bn2": "stem.4", "conv3": "stem.6", "bn3": "stem.7"}
    theirs = {re.sub(r"^(conv|bn)\d", lambda match: stem[match[0]], key): value for key, value in fitting.items()}
    assert {key.split(".")[0] for key in theirs} == {"stem", "layer1", "layer2", "layer3", "layer4"}
    torch.save({"state_dict": {**theirs, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}}, tmp_path / "v1c.pth")
    assert load_initial(model, str(tmp_path / "v1c.pth"), RESNET).family == "open-mmlab ResNet-v1c-101"
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, fitting[key])
    torch.save(torchvision_states["resnet101"], tmp_path / "plain.pth")
    for name in (str(tmp_path / "plain.pth"), "imagenet"):
        with pytest.raises(ConfigError, match=r"resnet101_v1c-e67eebb6\.pth") as error:
            load_initial(model, name, RESNET)
        assert "open-mmlab ResNet-v1c-101" in one_line(error)


class OwnBackbone(OwnFiles, nn.Module):
    """A backbone whose published files call its only convolution `stem`, and hold a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    @property
    def expected_file(self) -> str:
        return "own.pth of its authors"

    def convert_weights(self, state: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
        if "stem.weight" not in state:
            raise ConfigError(f"{where}: no file of the own kind")
        return {key.replace("stem.", "conv."): value for key, value in state.items() if not key.startswith("head.")}


def test_a_backbone_may_read_files_of_its_own(tmp_path: Path) -> None:
    model = nn.Module()
    model.backbone = OwnBackbone()
    held = {"stem.weight": torch.rand(4, 3, 3, 3), "stem.bias": torch.rand(4), "head.weight": torch.zeros(1000, 4)}
    torch.save({"model": held}, tmp_path / "own.pth")
    assert load_initial(model, str(tmp_path / "own.pth"), RESNET).missing == ()
    assert torch.equal(model.backbone.conv.weight, held["stem.weight"])
    torch.save({**held, "further.weight": torch.zeros(1)}, tmp_path / "more.pth")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pth")
    refusals = {
        str(tmp_path / "more.pth"): "more.pth: weights of another architecture: unknown to the model: further.weight",
        str(tmp_path / "other.pth"): "other.pth: no file of the own kind",
        str(tmp_path / "none.pth"): "none.pth: no such file of weights; expected own.pth of its authors",
        "imagenet": "torchvision's weights do not fit this network; give a file: own.pth of its authors",
    }
    for name, expected in refusals.items():
        with pytest.raises(ConfigError) as error:
            load_initial(model, name, RESNET)
        assert one_line(error).endswith(expected)


def test_the_caffe_form_takes_caffe_files(tmp_path: Path, torchvision_states: States) -> None:
    torch.save({f"Scale.{key}": value for key, value in torchvision_states["resnet101"].items()}, tmp_path / "file.pth")
    model = blank(RESNET)
    with pytest.raises(ConfigError, match=r"Caffe ResNet-101 \(keys Scale\.conv1\.weight"):
        load_initial(model, str(tmp_path / "file.pth"), RESNET)
    with torch.device("meta"):
        model.backbone = ResNet(RESNET101_CAFFE, make_batch_norm("frozen"))
    model.to_empty(device="cpu")
    assert load_initial(model, str(tmp_path / "file.pth"), RESNET).family == "Caffe ResNet-101"
    assert torch.equal(model.backbone.state_dict()["bn1.bias"], torchvision_states["resnet101"]["bn1.bias"])


@pytest.mark.parametrize(("content", "expected"), [(None, "no such file"), (b"x", "not readable"), ({"iteration": 3}, "no state_dict")])
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes | dict[str, int] | None, expected: str) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError if content is None else DataError) as error:
        load_initial(build(SMALL), str(path), SMALL)
    assert one_line(error, 2 if content is None else 3).startswith(f"{path}: {expected}")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "file.pth")
    with pytest.raises(DataError, match="not readable as weights"):
        load_initial(build(SMALL), str(tmp_path / "file.pth"), SMALL)


def test_buffers_take_the_saved_shape_and_missing_ones_stay() -> None:
    model = build(SMALL)
    model.register_buffer("bank", torch.zeros(2, 3))
    model.register_buffer("prior", torch.ones(4))
    model.register_buffer("late", None)
    state = {key: value for key, value in model.state_dict().items() if key != "prior"}
    loaded = load_state(model, {**state, "bank": torch.rand(5, 3), "late": torch.ones(2), "critic.weight": torch.ones(1)}, where="a round")
    assert model.bank.shape == (5, 3)
    assert torch.equal(model.late, torch.ones(2))
    assert torch.equal(model.prior, torch.ones(4))
    assert (loaded.missing, loaded.unexpected) == (("prior",), ("critic.weight",))


def test_parameters_are_strict_by_name_and_shape() -> None:
    model = build(SMALL)
    state = model.state_dict()
    key = "backbone.layer1.0.conv1.weight"
    for change, expected in (
        ({key: torch.zeros(1, 2)}, f"of another shape: {key}, (1, 2) there and (16, 16, 3, 3) here"),
        ({"backbone.layer9.weight": torch.zeros(1)}, "unknown to the model: backbone.layer9.weight"),
    ):
        with pytest.raises(ConfigError) as error:
            load_state(model, {**state, **change}, where="round 'source'")
        assert one_line(error) == f"round 'source': weights of another architecture: {expected}"
    del state[key]
    with pytest.raises(ConfigError, match=f"missing there: {key}"):
        load_state(model, state, where="round 'source'")


@pytest.mark.parametrize("mode", ["train", "eval", "frozen", "frozen-no-epsilon", "live", "domain"])
@pytest.mark.parametrize("saved", ["train", "frozen"])
def test_batch_norm_modes_take_each_others_weights(saved: str, mode: str) -> None:
    state = build(ModelConfig(name="small", batch_norm=saved)).state_dict()
    state["backbone.bn1.running_mean"] += 3
    model = build(ModelConfig(name="small", batch_norm=mode))
    loaded = load_state(model, state, where="a round")
    assert loaded.unexpected == ()
    assert all(key.endswith("num_batches_tracked") for key in loaded.missing)
    values = [value for key, value in model.state_dict().items() if key.startswith("backbone.bn1.") and key.endswith("running_mean")]
    assert len(values) == (2 if mode == "domain" else 1)
    assert all(torch.equal(value, state["backbone.bn1.running_mean"]) for value in values)


def test_children_that_are_not_in_the_state_stay_as_built() -> None:
    first, second = build(SMALL), build(SMALL, classes=7)
    state = {key: value for key, value in first.state_dict().items() if key.startswith("backbone.")}
    head = second.classifier.state_dict()["conv2d_list.0.weight"].clone()
    loaded = load_children(second, state, where="a round")
    assert set(loaded.missing) == {f"classifier.{key}" for key in second.classifier.state_dict()}
    assert torch.equal(second.classifier.state_dict()["conv2d_list.0.weight"], head)
    assert torch.equal(second.backbone.state_dict()["conv1.weight"], first.backbone.state_dict()["conv1.weight"])
