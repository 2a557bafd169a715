"""A network from elsewhere under the hooks, with a teacher made of it."""

from __future__ import annotations

import json

import pytest

from udacore.testing.runs import uda

MINE = """
import torch
from torch import nn
from udacore import hookimpl
from udacore.interface import Output
from udacore.models import Teacher
from udacore_mic import Settings, source_loss, target_loss

class Network(nn.Module):
    align_corners = False

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.score = nn.Conv2d(8, num_classes, 1)

    def forward(self, image):
        features = self.trunk(image)
        return Output(logits=self.score(features), features=features)

@hookimpl
def build_model(settings, round):
    model = Network(len(round.classes))
    {teacher}
    return model
"""
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=4")),
    "tensorboard=false", "device=cpu", "threads=1", "workers=0", "evaluate.source=null", "name=mine", "folder=.", "log_every=1",
    *(f"rounds.{name}.{word}" for name in ("source", "adapt") for word in ("steps=1", "batch=2")),
    "rounds.adapt.source.sampler.min_pixels=2",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_it_trains_with_all_losses_of_one_scale(folder):
    (folder / "mine.py").write_text(MINE.replace("{teacher}", "model.teacher = Teacher(model, settings.alpha)"))
    assert uda("run", "--plugin", "./mine.py", "mic/streets", *SMALL) == 0
    rows = [json.loads(line) for line in (folder / "mine" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/source", "loss/mixed", "loss/masked"} <= set().union(*rows)


def test_without_a_teacher_it_is_said_how_to_make_one(folder, capsys):
    (folder / "mine.py").write_text(MINE.replace("{teacher}", "pass"))
    assert uda("run", "--plugin", "./mine.py", "mic/streets", *SMALL) != 0
    assert "model.teacher = udacore.models.Teacher(model, settings.alpha)" in capsys.readouterr().err
