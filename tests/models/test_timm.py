"""Networks of timm under our heads: their maps, their sizes, their weights, and
runs of every method on one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from udacore.cli import main
from udacore.config.quick import make_quick
from udacore.config.resolve import load_config
from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError, DataError
from udacore.models import FrozenBatchNorm2d, SyncBatchNorm2d, build_segmenter, load_initial
from udacore.models.families import describe_expected
from udacore.models.timm_weights import describe_file
from udacore.testing.runs import configure, train

timm = pytest.importorskip("timm")

RUN = (
    "run", "streets", "device=cpu", "threads=1", "workers=0", "tensorboard=false", "rounds.source.steps=1", "batch=2", "source.count=2",
    "source.image_size=[64,32]", "evaluate.target.count=1", "evaluate.target.image_size=[64,32]", "evaluate.source=null", "name=bad",
    "initial=random",
)  # fmt: skip


def build(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return build_segmenter(ModelConfig(name=f"timm:{name}", width=16, **settings), 5)


@pytest.mark.parametrize(
    ("name", "settings", "features", "size"),
    [
        ("test_convnext", {"head": "daformer"}, 16, (16, 24)),
        ("test_convnext", {}, 64, (2, 3)),
        ("test_convnext", {"head": "linear", "out_indices": (1, 3)}, 32 + 64, (8, 12)),
        ("test_resnet", {"head": "daformer"}, 16, (16, 24)),
        ("test_resnet", {"options": {"output_stride": 8}}, 96, (8, 12)),
        ("test_efficientnet", {"head": "daformer"}, 16, (16, 24)),
        ("test_vit", {"head": "daformer"}, 16, (4, 6)),
        ("test_vit", {"head": "linear"}, 64, (4, 6)),
        ("swin_tiny_patch4_window7_224", {"head": "daformer", "options": {"depths": [1, 1, 1, 1], "embed_dim": 24}}, 16, (16, 24)),
    ],
)
def test_a_head_gets_maps_of_the_channels_and_sizes_that_it_is_built_for(
    name: str, settings: dict[str, Any], features: int, size: tuple[int, int]
) -> None:
    model = build(name, **settings)
    output = model(torch.rand(2, 3, 64, 96), domain="target")
    assert output.features.shape == (2, features, *size)
    assert output.logits.shape == (2, 5, *size)
    assert (model.feature_channels, model.num_classes, model.align_corners) == (features, 5, False)
    output.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in (*model.classifier.parameters(), *model.backbone.neck.parameters()))


def test_the_maps_of_a_network_are_there_without_its_neck() -> None:
    backbone = build("test_convnext", head="daformer").backbone.eval()
    maps = backbone.maps(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (count, 64 // stride, 96 // stride) for count, stride in zip(backbone.net.feature_info.channels(), (4, 8, 16, 32), strict=True)
    ]
    assert torch.equal(backbone(torch.zeros(1, 3, 64, 96)), backbone.neck(maps))


def test_daformer_takes_four_maps_of_a_transformer_that_are_spread_evenly() -> None:
    assert build("test_vit", head="daformer").backbone.recipe.out_indices == (0, 2, 3, 5)
    assert build("test_resnet", head="daformer").backbone.recipe.out_indices == (1, 2, 3, 4)


def test_a_vit_takes_any_size_that_its_patches_divide_and_names_one_that_it_does_not() -> None:
    model = build("test_vit")
    assert model(torch.rand(1, 3, 160, 320)).logits.shape == (1, 5, 10, 20)
    with pytest.raises(ConfigError) as caught:
        model(torch.rand(1, 3, 100, 90))
    said = "model timm:test_vit: an image of 90 x 100 does not divide into patches of 16 x 16; possible: 96 x 96"
    assert str(caught.value) == said


def test_batch_norm_is_that_of_the_mode_and_begins_as_timms() -> None:
    plain = timm.create_model("test_resnet", features_only=True)
    image = torch.rand(2, 3, 64, 64)
    for mode, kind in (("train", SyncBatchNorm2d), ("frozen", FrozenBatchNorm2d)):
        net = build("test_resnet", batch_norm=mode, out_indices=(0, 1, 2, 3, 4)).backbone.net
        found = {type(layer) for layer in net.modules() if hasattr(layer, "running_mean")}
        assert found == {kind}
        net.load_state_dict(plain.state_dict(), strict=mode == "train")
        for ours, theirs in zip(net.eval()(image), plain.eval()(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_batch_norm_with_an_activation_inside_is_replaced_too() -> None:
    plain = timm.create_model("test_efficientnet", features_only=True)
    net = build("test_efficientnet", out_indices=(0, 1, 2, 3, 4)).backbone.net
    assert {type(layer) for layer in net.modules() if hasattr(layer, "running_mean")} == {SyncBatchNorm2d}
    assert list(net.state_dict()) == list(plain.state_dict())
    net.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 64, 64)
    for ours, theirs in zip(net.eval()(image), plain.eval()(image), strict=True):
        torch.testing.assert_close(ours, theirs)
    domain = build("test_efficientnet", batch_norm="domain")
    source, target = (domain.train()(image, domain=name).logits for name in ("source", "target"))
    assert torch.equal(source, target)
    means = [value for key, value in domain.state_dict().items() if key.endswith("norm_layers.1.running_mean")]
    assert means
    assert all(bool(mean.any()) for mean in means)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_resnet"])
def test_a_file_as_timm_publishes_it_fills_the_backbone(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    whole = timm.create_model(name, num_classes=10)
    path = tmp_path / f"weights.{suffix}"
    save(whole.state_dict(), path)
    model = build(name)
    before = model.classifier.conv2d_list[0].weight.clone()
    load_initial(model, str(path), ModelConfig(name=f"timm:{name}"))
    image = torch.rand(1, 3, 160, 160)
    want = whole.eval().forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(model.eval()(image).features, want)
    assert torch.equal(model.classifier.conv2d_list[0].weight, before)


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)


def test_position_embeddings_are_resized_to_the_size_that_a_network_is_made_for(tmp_path: Path) -> None:
    save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    model = build("test_vit", options={"img_size": [64, 128]})
    load_initial(model, str(tmp_path / "vit.safetensors"), ModelConfig(name="timm:test_vit"))
    assert dict(model.backbone.net.named_parameters())["model.pos_embed"].shape[1] == 1 + 4 * 8


def test_files_that_do_not_fill_a_network_are_refused(tmp_path: Path) -> None:
    architecture = ModelConfig(name="timm:test_vit")
    state = timm.create_model("test_vit").state_dict()
    cut = {key: value for key, value in state.items() if key != "blocks.3.attn.qkv.weight"}
    other = timm.create_model("test_resnet").state_dict()
    shaped = {**state, "blocks.3.attn.qkv.weight": torch.zeros(3, 3)}
    rows = (
        (cut, "cut.pth: holds nothing for 1 weights of timm's 'test_vit', the first model.blocks.3.attn.qkv.weight"),
        (other, "other.pth: holds nothing for "),
        (shaped, "shaped.pth: timm's 'test_vit' does not take these weights (RuntimeError: "),
    )
    for content, said in rows:
        path = tmp_path / said.partition(":")[0]
        torch.save(content, path)
        with pytest.raises(ConfigError) as caught:
            load_initial(build("test_vit"), str(path), architecture)
        assert str(caught.value).startswith(str(tmp_path / said))
        assert "\n" not in str(caught.value)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0nothing of this")
    with pytest.raises(DataError, match=r"broken.safetensors: not readable as weights \(damaged, or not written by safetensors: "):
        load_initial(build("test_vit"), str(broken), architecture)
    missing = str(tmp_path / "none.pth")
    with pytest.raises(ConfigError, match="no such file of weights; expected timm's weights of test_vit"):
        load_initial(build("test_vit"), missing, architecture)
    assert describe_expected(build("test_vit").backbone).startswith("timm's weights of test_vit")


def test_without_a_network_the_file_that_is_expected_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*given: Any, **more: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(ConfigError) as caught:
        load_initial(build("test_vit"), "timm", ModelConfig(name="timm:test_vit"))
    said = str(caught.value)
    assert said.startswith("initial: timm: timm:test_vit: timm's weights cannot be had (OSError: no route); the file is model.safetensors of")
    assert "huggingface.co/timm/test_vit" in said
    assert said.endswith("name it under initial, or set initial: random")
    assert len(said) <= 400
    assert describe_file("resnetv2_50").startswith("the file is ")


def test_weights_of_timm_are_for_its_networks_only() -> None:
    with pytest.raises(ConfigError, match="initial: timm: this round's network is none of timm's"):
        load_initial(build_segmenter(ModelConfig(name="small"), 5), "timm", ModelConfig(name="small"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.name=timm:convnxt_tiny"], "model.name: timm has no network 'convnxt_tiny'; did you mean 'convnext_tiny'"),
        (["model.name=timm:test_vit.nonsense"], "model.name: timm does not make a backbone of 'test_vit.nonsense'"),
        (["model.name='timm:'"], "model.name: must be deeplab-resnet101 or deeplab-vgg16 or small or timm:NAME, got 'timm:'"),
        (["model.name=timm:test_vit", "model.options={depht: 3}"], "model.name: timm does not make a backbone of 'test_vit' with {'depht': 3}"),
        (["model.name=timm:test_vit", "model.options={pretrained: true}"], "model.options: pretrained is set by udacore, not there"),
        (["model.name=timm:test_convnext", "model.out_indices=[4]"], "timm:test_convnext has no map 4; possible: 0 to 3, at strides 4, 8, 16, 32"),
        (["model.name=timm:test_mixer"], "model.name: timm has no network 'test_mixer'"),
        (["model.name=timm:dla34", "source.image_size=[60,32]"], "rounds.source.source: timm:dla34 takes no image of 60 x 32: "),
        (["model.name=timm:test_vit", "source.image_size=[72,32]"], "rounds.source.source: model timm:test_vit: an image of 72 x 32 does not divide"),
        (["model.name=timm:test_vit", "evaluate.target.size=[64,40]"], "rounds.source.evaluate.target: model timm:test_vit: an image of 64 x 40"),
        (["model.name=timm:test_vit", "evaluate.target.scales=[1, 0.75]"], "rounds.source.evaluate.target: model timm:test_vit: an image of 48 x 24"),
        (["model.name=timm:beit_base_patch16_224"], "timm:beit_base_patch16_224 takes no image of 64 x 32: Input height (32) doesn't match model (224)"),
        (["model.head=linear"], "model.head: is for networks of timm, such as timm:convnext_tiny; 'small' has its own"),
        (["initial=timm"], "initial: timm has no weights of 'small'; possible: imagenet, random, a file"),
        (["model.name=timm:test_vit", "initial=imagenet"], "imagenet means torchvision's weights, which timm:test_vit has not; possible: timm, random"),
    ],
)
def test_what_timm_does_not_take_is_one_line_before_the_first_step(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert len(lines[0]) <= 400
    assert not Path("runs").exists()


def test_a_network_without_feature_maps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda name, **options: torch.nn.Identity())
    with pytest.raises(ConfigError, match=r"model\.name: timm's 'test_vit' gives no feature maps, so no head fits it"):
        build("test_vit")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"model.name: timm:test_vit needs timm, which is not installed: pip install 'udacore\[timm\]'"):
        build("test_vit")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["clp", "fada", "mic", "pycda", *(pytest.param(name, marks=pytest.mark.long) for name in ("bdl", "proca"))])
def test_every_method_trains_on_a_network_of_timm(method: str, tmp_path: Path) -> None:
    pytest.importorskip(f"udacore_{method}")
    words = (
        "model={name: 'timm:test_convnext', head: daformer, width: 16}", "initial=random", "workers=0", "threads=1", "device=cpu",
        f"folder='{tmp_path}'", "tensorboard=false",
    )  # fmt: skip
    done = train(method, make_quick(configure(method, "streets", words), 10**6))
    assert all(result.scores.miou >= 0 for result in done.results)
    last = sorted((done.folder / "checkpoints").glob("[0-9]*.pt"))[-1].stem
    state = done.state(last)
    assert any(key.endswith("fuse_layer.bottleneck.conv.weight") for key in state)  # in the neck, or in a head of the method's
    assert any(key.startswith("backbone.net.") for key in state)


def test_a_run_goes_on_from_its_own_checkpoint_and_is_scored(workshop_run: Any) -> None:
    folder = workshop_run("model={name: 'timm:test_vit', head: linear}", "name=vit")
    assert (folder / "checkpoints" / "0-source.pt").exists()
    assert '"timm": ' in (folder / "env.json").read_text()


@pytest.fixture
def workshop_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Path:
        assert main([*RUN, *words]) == 0
        name = next(word.partition("=")[2] for word in words if word.startswith("name="))
        assert main(["eval", f"runs/{name}"]) == 0
        return tmp_path / "runs" / name

    return run


def test_settings_read_back_as_they_were_written() -> None:
    config = load_config("streets", ("model={name: 'timm:convnextv2_base.fcmae_ft_in22k_in1k', head: daformer}", "initial=timm"))
    assert config.rounds["source"].model == ModelConfig(name="timm:convnextv2_base.fcmae_ft_in22k_in1k", head="daformer")
