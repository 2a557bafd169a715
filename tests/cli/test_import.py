"""`uda import`: files in exactly the layout of the authors' program (algorithms/proca 12)
become checkpoints of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from udacore.cli import main
from udacore.cli.import_ import gather
from udacore.config.schema import ModelConfig
from udacore.labels import CITYSCAPES_IDS, CLASSES19
from udacore.models import BUILDERS, build_segmenter
from udacore.models.build import recognize_network
from udacore.testing.formats import write_cityscapes
from udacore.testing.golden import fill_state_dict

Capture = pytest.CaptureFixture[str]
SIZE = (130, 66)


def release(name: str, classes: int = 19, *, prefix: str = "module.", momentum: bool = False) -> dict[str, Any]:
    """What the authors' program saves for a network of ours: two parts under DistributedDataParallel, two
    SGD optimisers, the iteration."""
    model = build_segmenter(ModelConfig(name=name), classes)  # type: ignore[arg-type]
    parts = {"feature_extractor": ("backbone.", "backbone."), "classifier": ("classifier.", "")}
    saved: dict[str, Any] = {"iteration": 90000}
    for part, (ours, theirs) in parts.items():
        state = {prefix + theirs + key.removeprefix(ours): value for key, value in model.state_dict().items() if key.startswith(ours)}
        filled = fill_state_dict([(key, list(value.shape), str(value.dtype)) for key, value in state.items()])
        saved[part] = {key: torch.from_numpy(value) for key, value in filled.items()}
    for entry, parameters in (("optimizer_fea", model.backbone.parameters()), ("optimizer_cls", model.classifier.parameters())):
        optimizer = torch.optim.SGD(parameters, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
        if momentum:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        saved[entry] = optimizer.state_dict()
    return saved


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "model_proca_ssl.pth"
    torch.save(release("small", momentum=True), path)
    return path


def run(*words: str | Path) -> int:
    return main(["import", "--plugin", "proca", *map(str, words)])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_was_recognised_converted_and_left_is_printed(tmp_path: Path, capsys: Capture, prefix: str) -> None:
    saved = release("small", prefix=prefix, momentum=True)
    torch.save(saved, tmp_path / "theirs.pth")
    assert run(tmp_path / "theirs.pth", tmp_path / "ours.pt", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    model = build_segmenter(ModelConfig(name="small"), 19)
    count = sum(value.numel() for value in model.state_dict().values())
    expected = {"plugin": "proca", "layout": "proca", "network": "small", "classes": 19, "entries": len(model.state_dict()), "parameters": count}
    assert {key: told[key] for key in expected} == expected
    assert told["converted"] == {"feature_extractor": len(saved["feature_extractor"]), "classifier": len(saved["classifier"])}
    assert told["left"] == ["iteration", "optimizer_fea", "optimizer_cls"]

    ours = torch.load(tmp_path / "ours.pt", weights_only=True)
    model.load_state_dict(ours["model"], strict=True)
    assert torch.equal(model.backbone.get_parameter("conv1.weight"), saved["feature_extractor"][f"{prefix}backbone.conv1.weight"])
    assert torch.equal(model.classifier.get_parameter("conv2d_list.3.bias"), saved["classifier"][f"{prefix}conv2d_list.3.bias"])
    assert ours["imported"] == {"plugin": "proca", "layout": "proca", "file": "theirs.pth"}


OTHERS = r"""
from udacore import hookimpl
from udacore.models import Layout

LAYOUTS = (Layout(name="theirs", parts={"state_dict": {r"model\.": ""}}, drop=(r"ema_model\.", r"other\."), ignore=("meta",)),)


@hookimpl
def target_loss(step): ...
"""


def test_many_names_that_begin_alike_are_told_by_their_beginning(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "theirs.py").write_text(OTHERS)
    state = build_segmenter(ModelConfig(name="small"), 19).state_dict()
    teacher = {f"ema_model.{key}": torch.zeros(1) for key in state}
    saved = {"meta": 1, "state_dict": {**{f"model.{key}": value for key, value in state.items()}, **teacher, "other.bias": torch.zeros(1)}}
    torch.save(saved, tmp_path / "theirs.pth")
    words = ("import", "--plugin", str(tmp_path / "theirs.py"), str(tmp_path / "theirs.pth"), str(tmp_path / "ours.pt"))
    assert main([*words]) == 0
    backbone, head = (sum(key.startswith(child) for key in state) for child in ("backbone.", "classifier."))
    counted = f"state_dict.ema_model.backbone.* ({backbone}), state_dict.ema_model.classifier.* ({head})"
    assert f"not converted: meta, {counted}, state_dict.other.bias\n" in capsys.readouterr().out
    assert main([*words, "--force", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["left"]) == 2 + len(state)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a.b.c", "a.b.d"], ["a.b.c", "a.b.d"]),
        ([str(number) for number in range(9)], [str(number) for number in range(9)]),
        ([f"a.{number}" for number in range(9)], ["a.* (9)"]),
        ([f"a.{number}.b" for number in range(9)] + ["c"], ["a.* (9)", "c"]),
    ],
)
def test_names_are_gathered_where_they_are_many(names: list[str], shown: list[str]) -> None:
    assert gather(names) == shown


def test_a_round_begins_with_the_imported_weights(tmp_path: Path, small: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cityscapes(tmp_path / "cityscapes", {"train": 2, "val": 1}, size=(64, 32))
    assert run(small, "ours.pt") == 0
    assert "use it with uda eval PRESET --plugin proca --checkpoint ours.pt" in capsys.readouterr().out
    config = {
        "label_space": "cityscapes19", "model": {"name": "small"}, "initial": "random", "workers": 0, "device": "cpu", "batch": 2,
        "target": {"dataset": "cityscapes", "root": "cityscapes"}, "tensorboard": False,
        "rounds": {"go-on": {"steps": 1, "draws": ["target"], "weights": "ours.pt"}},
    }  # fmt: skip
    Path("mine.yaml").write_text(json.dumps(config))
    assert main(["run", "--plugin", "proca", "mine.yaml"]) == 0
    assert "prototypes left as built: not in ours.pt" in capsys.readouterr().err
    kept = torch.load("runs/proca-mine/checkpoints/0-go-on.pt", weights_only=True)["model"]
    # no loss: not a single weight moves; the running statistics are not touched either, since nothing is run
    assert all(torch.equal(kept[key], value) for key, value in torch.load("ours.pt", weights_only=True)["model"].items())


@pytest.mark.slow
def test_a_release_is_scored_as_the_authors_network_would_be(tmp_path: Path, capsys: Capture) -> None:
    saved = release("deeplab-resnet101")
    torch.save(saved, tmp_path / "model_proca_ssl.pth")
    assert run(tmp_path / "model_proca_ssl.pth", tmp_path / "proca.pt") == 0
    said = capsys.readouterr().out
    assert "layout 'proca' of plugin 'proca'\nnetwork:       deeplab-resnet101, 19 classes\n" in said
    assert "not converted: iteration, optimizer_fea, optimizer_cls\n" in said
    root = tmp_path / "cityscapes"
    names = write_cityscapes(root, {"val": 2}, size=SIZE)["val"]

    sizes = ["rounds.distill.evaluate.target.size=[130,66]", f"evaluate.target.root={root}"]
    words = ["eval", "gta5-cityscapes", "--plugin", "proca", "--checkpoint", str(tmp_path / "proca.pt"), "--json", *sizes, "device=cpu", "workers=0"]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)
    (tmp_path / "proca.pt").unlink()
    (tmp_path / "model_proca_ssl.pth").unlink()
    expected = confusion(saved, root, names)
    hit, union = np.diag(expected), expected.sum(0) + expected.sum(1) - np.diag(expected)
    iou = np.divide(hit, union, out=np.zeros(19), where=union > 0)
    assert [row["iou"][name] for name in CLASSES19] == pytest.approx(iou, abs=1e-12)
    assert row["miou"] == pytest.approx(iou.mean(), abs=1e-12)
    assert (np.array(list(row["iou"].values())) > 0).any()


def confusion(saved: dict[str, Any], root: Path, names: list[str]) -> np.ndarray:
    """Truth x prediction, counted by a few lines of torch with torchvision's ResNet:
    nothing of ours but the data."""
    from torchvision.models import resnet101

    network = resnet101(weights=None, replace_stride_with_dilation=[False, True, True])
    theirs = {key.removeprefix("module.backbone."): value for key, value in saved["feature_extractor"].items()}
    network.load_state_dict({**{key: value for key, value in network.state_dict().items() if key.startswith("fc.")}, **theirs})
    network.eval()
    table = np.full(256, 255)
    table[[CITYSCAPES_IDS[name] for name in CLASSES19]] = np.arange(19)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    counts = np.zeros((19, 19), np.int64)
    for name in names:
        picture = np.array(Image.open(root / "leftImg8bit" / "val" / f"{name}.png"))
        label = table[np.array(Image.open(root / "gtFine" / "val" / f"{name.removesuffix('_leftImg8bit')}_gtFine_labelIds.png"))]
        image = ((torch.from_numpy(picture) / 255 - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            predicted = F.interpolate(_logits(network, image, saved["classifier"]), size=label.shape, mode="bilinear", align_corners=True).argmax(1)[0]
        valid = label != 255
        counts += np.bincount(19 * label[valid] + predicted.numpy()[valid], minlength=361).reshape(19, 19)
    return counts


def _logits(network: Any, image: Tensor, classifier: dict[str, Tensor]) -> Tensor:
    features = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        features = layer(features)
    branches = [
        F.conv2d(features, classifier[f"module.conv2d_list.{i}.weight"], classifier[f"module.conv2d_list.{i}.bias"], padding=d, dilation=d)
        for i, d in enumerate((6, 12, 18, 24))
    ]
    return torch.stack(branches).sum(0)


def change(saved: dict[str, Any], word: str) -> dict[str, Any]:
    """A release with one thing wrong."""
    if word == "unknown-key":
        saved["feature_extractor"]["module.aspp.weight"] = torch.zeros(1)
    elif word == "unknown-entry":
        saved["model_D"] = {}
    elif word == "half-marked":
        saved["classifier"]["conv2d_list.0.weight"] = saved["classifier"].pop("module.conv2d_list.0.weight")
    elif word == "no-part":
        del saved["classifier"]
    return saved


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("unknown-key", "layout 'proca' does not know feature_extractor.aspp.weight"),
        ("unknown-entry", "layout 'proca' does not know model_D"),
        ("half-marked", "layout 'proca' does not know classifier.module.conv2d_list.0.bias, "),
        ("no-part", "layout 'proca' expects the entry 'classifier'"),
    ],
)
def test_what_is_not_known_is_named_and_nothing_written(tmp_path: Path, small: Path, capsys: Capture, word: str, said: str) -> None:
    torch.save(change(torch.load(small, weights_only=True), word), tmp_path / "odd.pth")
    assert run(tmp_path / "odd.pth", tmp_path / "ours.pt") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'odd.pth'}: no known layout: {said}")
    assert error.count("\n") == 1
    assert not (tmp_path / "ours.pt").exists()


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path, small: Path, capsys: Capture) -> None:
    out = tmp_path / "ours.pt"
    out.write_bytes(b"mine")
    assert run(small, out) == 2
    assert capsys.readouterr().err == f"error: {out}: exists; replace it with --force, or choose another name\n"
    assert out.read_bytes() == b"mine"
    assert run(small, out, "--force") == 0
    assert "model" in torch.load(out, weights_only=True)
    assert run(out, out, "--force") == 2
    assert "is the file to be converted" in capsys.readouterr().err
    assert run(small, tmp_path) == 2
    assert "is a folder; give the name of the file" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["objects", "text", "nothing", "missing"])
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path, capsys: Capture, content: str) -> None:
    path = tmp_path / "odd.pth"
    if content == "objects":
        torch.save({"iteration": 1, "cfg": Path("x")}, path)
    elif content != "missing":
        path.write_bytes(b"not weights" if content == "text" else b"")
    said = {"objects": "it holds objects, pathlib.PosixPath among them, and nothing is unpickled", "missing": "no such file of weights"}
    assert run(path, tmp_path / "ours.pt") == (2 if content == "missing" else 3)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert said.get(content, "damaged, or not written by torch.save") in error
    assert error.count("\n") == 1


def test_a_method_without_layouts_says_so(tmp_path: Path, small: Path, capsys: Capture) -> None:
    assert main(["import", "--plugin", "source-only", str(small), str(tmp_path / "ours.pt")]) == 4
    assert capsys.readouterr().err.startswith("error: plugin 'source-only' ships no layout of an authors' checkpoint")
    (tmp_path / "odd.py").write_text("from udacore import hookimpl\nLAYOUTS = 'proca'\n@hookimpl\ndef target_loss(step): ...\n")
    assert main(["import", "--plugin", str(tmp_path / "odd.py"), str(small), str(tmp_path / "ours.pt")]) == 4
    assert "LAYOUTS must be a tuple of udacore.models.Layout, got 'proca'" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(BUILDERS))
def test_a_network_is_recognised_by_its_parameters(name: str) -> None:
    with torch.device("meta"):
        state = build_segmenter(ModelConfig(name=name), 16).state_dict()  # type: ignore[arg-type]
    assert recognize_network(state) == (name, 16)
    assert recognize_network({key: value for key, value in state.items() if key != "classifier.conv2d_list.2.bias"}) is None
