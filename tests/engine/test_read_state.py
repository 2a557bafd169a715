"""The end of a round is followed by a score only if it changed what predictions read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from udacore.engine.results.read_state import noted_reads

METHOD = """
from udacore import hookimpl
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter
import torch

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.register_buffer("prototypes", torch.zeros(3))
    return model

@hookimpl
def on_round_end(round):
    {line}
"""


def count_scores(workshop: Any, line: str) -> int:
    method = workshop.write_method(METHOD.format(line=line))
    workshop.run({"plugin": str(method), "rounds": {"a": {"steps": 1, "draws": ["source"]}}})
    rows = [json.loads(text) for text in (workshop.path / "run" / "metrics.jsonl").read_text().splitlines()]
    return sum("miou" in row for row in rows)


@pytest.mark.parametrize(
    ("line", "scores"),
    [
        ("pass", 1),
        ("round.model.prototypes.add_(1)", 1),
        ("round.model.backbone.bn1.running_mean.add_(1)", 2),
        ("round.model.backbone.conv1.weight.mul_(2)", 2),
        ("round.model.prototypes.add_(1); round.model.backbone.bn1.running_var.mul_(2)", 2),
    ],
)
def test_a_round_is_scored_again_only_if_its_end_changed_what_is_read(line: str, scores: int, workshop: Any) -> None:
    assert count_scores(workshop, line) == scores


def test_reads_are_noted_by_name() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)).eval()
    with torch.no_grad(), noted_reads(model) as names:
        model[1](model[0](torch.ones(1, 2)))
    assert names == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
