"""FADA's presets, all rounds, on miniatures of the real data sets in exactly their format; sizes and
steps are cut, nothing else."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from udacore_fada.discriminator import Discriminator

from udacore.config.schema import ModelConfig
from udacore.models import build_segmenter
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia
from udacore.testing.runs import uda

sys.path.append(str(Path(__file__).resolve().parent))
from authors_files import released

ROUNDS = ("source", "adversarial", "distill")
ODD = (131, 67)
CUT = (
    *(f"rounds.{name}.{key}=2" for name in ROUNDS for key in ("steps", "batch")),
    "source.transform.resize.size=[96,54]", "target.transform.resize.size=[96,48]",
    "rounds.distill.target.transform.crop.size=[96,48]", "evaluate.target.size=[96,48]", "rounds.distill.evaluate.target.size=[112,56]",
    "initial=random", "device=cpu", "workers=0", "threads=1",
)  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's machine: the data sets, and a folder to work in."""
    write_gta5(tmp_path / "data" / "gta5")
    write_cityscapes(tmp_path / "data" / "cityscapes", size=ODD)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_run(run, classes):
    """Losses of each round, scores of each under its own protocol, and a hard label for
    every pixel of the target."""
    losses = {name: set() for name in ROUNDS}
    for row in rows(run):
        losses[row["round"]].update(key.removeprefix("loss/") for key in row if key.startswith("loss/"))
    assert losses["source"] == {"cross_entropy"}
    assert losses["adversarial"] == {"cross_entropy", "adversarial", "discriminator/source", "discriminator/target"}
    assert losses["distill"] == {"pseudo_label"}
    scores = {row["round"]: row for row in rows(run) if "miou" in row}
    assert {name: row["protocol"]["size"] for name, row in scores.items()} == {"source": [96, 48], "adversarial": [96, 48], "distill": [112, 56]}
    assert all(len(row["iou"]) == classes for row in scores.values())
    labels = sorted((run / "rounds" / "1-adversarial" / "labels").rglob("*.png"))
    assert len(labels) == 3
    for path in labels:
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("P", ODD)
            assert np.array(picture).max() < classes


def write_imagenet(path):
    """A file like torchvision's of ResNet-101: statistics that fit its weights, as frozen layers need."""
    torch.manual_seed(0)
    backbone = build_segmenter(ModelConfig(name="deeplab-resnet101"), 2).backbone.train()
    for name, norm in backbone.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean of all batches
            nn.init.constant_(norm.weight, 0.1 if name.endswith("bn3") else 1)  # as in trained ones, little is added by a block
    with torch.no_grad():
        for _ in range(2):
            backbone(torch.randn(2, 3, 48, 96))
    torch.save(backbone.state_dict(), path)


@pytest.mark.slow
@pytest.mark.long
def test_gta5_to_cityscapes_runs_whole(place):
    write_imagenet(place / "imagenet.pth")
    assert uda("run", "--plugin", "fada", "gta5-cityscapes", *CUT, f"initial={place / 'imagenet.pth'}") == 0
    run = place / "here" / "runs" / "fada-gta5-cityscapes"
    check_run(run, 19)
    aligned = torch.load(run / "checkpoints" / "1-adversarial.pt", weights_only=True)["model"]
    assert aligned["discriminator.trunk.0.weight"].shape == (256, 2048, 3, 3)
    fresh, final = (torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["model"] for name in ("0-source", "2-distill"))
    assert "backbone.bn1.num_batches_tracked" not in fresh  # frozen here, trained there
    assert final["backbone.bn1.num_batches_tracked"] == 4  # two in the file


@pytest.mark.long
@pytest.mark.slow
def test_synthia_to_cityscapes_runs_whole_on_vgg(place):
    write_synthia(place / "data" / "synthia")
    assert uda("run", "--plugin", "fada", "synthia-cityscapes-vgg16", *CUT) == 0
    run = place / "here" / "runs" / "fada-synthia-cityscapes-vgg16"
    check_run(run, 16)
    assert set(rows(run)[-1].get("subsets", {"synthia13": 0})) == {"synthia13"}


def test_the_file_that_the_variant_on_vgg_needs_is_named(place, capsys):
    assert uda("run", "--plugin", "fada", "gta5-cityscapes-vgg16", *(word for word in CUT if word != "initial=random")) == 2
    err = capsys.readouterr().err
    assert "vgg16-00b39a1b.pth: no such file" in err
    assert len(err.splitlines()) == 1


def test_authors_checkpoints_are_imported_and_evaluated_singly_and_as_a_folder(place, capsys):
    folder = place / "released"
    folder.mkdir()
    names = ("model_iter002000.pth", "model_iter004000.pth")
    for number, name in enumerate(names):
        torch.manual_seed(number)
        model = build_segmenter(ModelConfig(name="small", batch_norm="frozen-no-epsilon"), 19)
        model.discriminator = Discriminator(model.feature_channels, 19, width=8)
        torch.save(released(model, discriminator=number == 1), folder / name)
    how = ["gta5-cityscapes", "--plugin", "fada", "--round", "adversarial", "model.name=small", "method.width=8", *CUT]
    assert uda("eval", *how, "--checkpoint", str(folder)) == 0
    header, *table = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header[:3] == ["iters", "mIoU", "road"]
    assert header[-1] == "F1 bicycle"
    assert [row[0] for row in table] == ["2000", "4000"]
    for name, row in zip(names, table, strict=True):
        out = place / f"{name}.pt"
        assert uda("import", "--plugin", "fada", str(folder / name), str(out)) == 0
        capsys.readouterr()
        assert uda("eval", *how, "--checkpoint", str(out), "--json") == 0
        (alone,) = json.loads(capsys.readouterr().out)
        assert alone["miou"] == float(row[1])
        figures = dict(zip(header, row, strict=True))
        assert list(alone["iou"].values()) == [float(figures[name]) for name in alone["iou"]]
