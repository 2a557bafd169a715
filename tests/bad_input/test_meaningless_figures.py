"""A figure that means nothing is not printed as a figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.config.schema import ModelConfig
from udacore.engine.results.comparison import spread
from udacore.metrics import format_scores, score
from udacore.models import build_segmenter

VAL = "cityscapes/gtFine/val"


def save_weights(name: str, value: float) -> None:
    model = build_segmenter(ModelConfig(name="small"), 19)
    torch.nn.init.constant_(model.backbone.conv1.weight, value)
    torch.save(model.state_dict(), name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_scored_nor_trained(data: Path, refused: Any, value: float) -> None:
    save_weights("bad.pt", value)
    said = "weights are not finite: backbone.conv1.weight"
    refused("eval {GTA5} --checkpoint bad.pt", 1, f"bad.pt: its {said}")
    refused(
        "run {GTA5} rounds.source.weights=bad.pt", 1,
        "round 'source' would begin with weights that are not finite: backbone.conv1.weight", writes=("runs", "runs/*"),
    )  # fmt: skip


def test_outputs_that_are_not_finite_are_not_scored(data: Path, refused: Any) -> None:
    save_weights("large.pt", 1e38)  # finite, but its products are not
    refused("eval {GTA5} --checkpoint large.pt", 1, "evaluate.target: outputs of the network are not finite")


def test_a_set_without_a_labelled_pixel_is_not_scored(data: Path, refused: Any) -> None:
    for path in Path(VAL).rglob("*_labelIds.png"):
        Image.fromarray(np.zeros((32, 64), np.uint8)).save(path)
    save_weights("plain.pt", 0.1)
    for absent in ("zero", "nan"):
        refused(
            "eval {GTA5} --checkpoint plain.pt evaluate.target.absent=" + absent, 3,
            "evaluate.target: no pixel of its 2 images has a class of cityscapes19",
        )  # fmt: skip


def test_a_subset_of_which_no_class_occurs_has_no_mean() -> None:
    scores = score(np.diag([5, 3, 0]), subsets={"part": [2]})
    assert format_scores({"run": scores}, ["road", "sky", "car"]).splitlines()[-1].split() == ["mIoU", "part", "-"]


def test_runs_without_a_mean_are_compared_by_a_dash(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *("source.root=gta5", "target.root=cityscapes", "evaluate.target.root=cityscapes", "model.name=small"),
        *("source.transform.resize.size=[48,24]", "evaluate.target.size=[48,24]", "initial=random", "device=cpu"),
        *("rounds.source.steps=1", "batch=2", "workers=0", "tensorboard=false"),
    )
    assert main(["run", "gta5-cityscapes", *words, "name=one"]) == 0
    metrics = Path("runs/one/metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows[-1]["miou"] = None
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert main(["compare", "runs/one"]) == 0
    assert "nan" not in capsys.readouterr().out


def test_the_deviation_of_a_mean_that_is_none_is_none() -> None:
    assert spread([float("nan"), 2.0]) == "-"
    assert spread([2.0]) == "2.0 (one seed)"
