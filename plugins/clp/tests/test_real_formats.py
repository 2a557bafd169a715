"""The published presets on miniatures of the real data sets in exactly their format; sizes, batch and
steps are cut, nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from udacore_clp.segmenters import build_network

from udacore.config.schema import ModelConfig
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia
from udacore.testing.runs import uda

sys.path.append(str(Path(__file__).resolve().parent))
from clp_files import weights_file

CUT = (
    "steps=2", "batch=2", "evaluate.target.size=[130,65]", "evaluate.target-plain.size=[130,65]", "evaluate.target-plain.every=1",
    *(f"{domain}.transform.{word}" for domain in ("source", "target") for word in ("resize_short_side.range=[70,90]", "crop.size=[65,65]")),
    "log_every=1", "device=cpu", "workers=0", "threads=1", "tensorboard=false",
)  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's machine: the data sets, and a folder to work in."""
    write_gta5(tmp_path / "data" / "gta5")
    write_cityscapes(tmp_path / "data" / "cityscapes", size=(131, 67))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_run(run, classes):
    """All losses; plain validation each step, and at the end the aggregated result."""
    losses = {key.removeprefix("loss/") for row in rows(run) for key in row if key.startswith("loss/")}
    assert losses == {"cross_entropy", "lovasz", "association_features", "association_probability", "lsr_source", "lsr_target"}
    scores = [row for row in rows(run) if "miou" in row]
    assert [(row["step"], row["set"], row["protocol"]["head"]) for row in scores] == [
        (1, "target-plain", "logits"),
        (2, "target", "aggregated"),
        (2, "target-plain", "logits"),
    ]
    assert all(len(row["iou"]) == classes for row in scores)
    assert not scores[0]["protocol"]["align_corners"]
    return scores


@pytest.mark.slow
@pytest.mark.long
def test_gta5_to_cityscapes_runs_whole_from_imagenet_weights_of_the_caffe_kind(place):
    torch.manual_seed(0)
    backbone = build_network(ModelConfig(), 19).backbone
    state = {f"Scale.{key}": value for key, value in backbone.state_dict().items()} | {"Scale.fc.weight": torch.zeros(1000, 2048)}
    torch.save({"model": state}, place / "here" / "resnet101-imagenet.pth")
    assert uda("run", "--plugin", "clp", "gta5-cityscapes", *CUT) == 0
    run = place / "here" / "runs" / "clp-gta5-cityscapes"
    check_run(run, 19)
    trained = torch.load(run / "checkpoints" / "0-associate.pt", weights_only=True)["model"]
    assert trained["backbone.bn1.num_batches_tracked"] == 2 * 2 * 2  # steps, micro-batches, domains
    assert "classifier.conv2d_list.0.bias" not in trained


@pytest.mark.long
@pytest.mark.slow
def test_synthia_to_cityscapes_runs_whole_after_a_source_round(place):
    write_synthia(place / "data" / "synthia")
    words = ("initial=random", "rounds.source.draws=[source]", "rounds.source.evaluate=null", "model.batch_norm=domain")
    assert uda("run", "--plugin", "clp", "synthia-cityscapes", *CUT, *words) == 0
    run = place / "here" / "runs" / "clp-synthia-cityscapes"
    scores = check_run(run, 16)
    assert set(scores[0]["subsets"]) == {"synthia13"}
    source = [row for row in rows(run) if row["round"] == "source" and "step" in row]
    assert {key for row in source for key in row if key.startswith("loss/")} == {"loss/cross_entropy", "loss/lovasz"}


def test_the_imagenet_file_that_the_presets_need_is_named(place, capsys):
    assert uda("run", "--plugin", "clp", "gta5-cityscapes", *CUT) == 2
    err = capsys.readouterr().err
    assert "resnet101-imagenet.pth: no such file" in err
    assert len(err.splitlines()) == 1


def test_a_file_of_the_authors_is_imported_and_evaluated_with_the_same_result(place, capsys):
    torch.manual_seed(0)
    model = build_network(ModelConfig(name="small"), 19)
    for conv in model.classifier.conv2d_list:
        torch.nn.init.zeros_(conv.bias)  # as if there were none
    content = weights_file(model)
    torch.save(content, place / "ckpt_final.weights")
    how = ["gta5-cityscapes", "--plugin", "clp", "model.name=small", *CUT, "--json"]
    assert uda("eval", *how, "--checkpoint", str(place / "ckpt_final.weights")) == 0
    singly = json.loads(capsys.readouterr().out)
    assert uda("import", "--plugin", "clp", str(place / "ckpt_final.weights"), str(place / "plca.pt")) == 0
    assert "clp-weights" in capsys.readouterr().out
    assert uda("eval", *how, "--checkpoint", str(place / "plca.pt")) == 0
    imported = json.loads(capsys.readouterr().out)
    assert [row["iou"] for row in imported] == [row["iou"] for row in singly]
    assert [row["protocol"]["head"] for row in singly] == ["aggregated", "logits"]
