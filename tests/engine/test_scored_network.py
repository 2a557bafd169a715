"""`network: teacher`: a child of the model is scored and labels, under its own name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from udacore.cli import main

METHOD = """
from udacore import hookimpl
from udacore.losses import segmentation_loss
from udacore.models import Teacher, build_segmenter

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.teacher = Teacher(model, alpha=0.5)
    return model

@hookimpl
def target_loss(step):
    model = step.model
    if step.micro == 0:
        model.teacher.update(model)
    label = model.teacher(step.target.image).logits.argmax(1)
    return {"teacher": model(step.target.image).logits.square().mean() + 0 * label.sum()}
"""
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=4")),
    *("evaluate.source=null", "rounds.source.steps=2", "rounds.adapt.steps=3", "rounds.adapt.target.labels=none", "batch=2", "threads=1"),
    *("tensorboard=false", "device=cpu", "workers=0", "folder=.", "name=run", "log_every=1"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose protocol scores the teacher, beside its method."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "mine.py").write_text(METHOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "--plugin", "./mine.py", "streets-adapt", "evaluate.target.network=teacher", *SMALL]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def scores(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return dict(row)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines()) if "miou" in row]


def test_a_run_scores_the_teacher_and_says_so_and_the_model_where_there_is_none_yet(folder: Path) -> None:
    said = {row["round"]: row["protocol"]["network"] for row in rows(folder)}
    assert said == {"source": "the model itself, since teacher was never updated", "adapt": "teacher"}


def test_the_score_is_that_of_the_teachers_weights_in_a_network_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(folder / "run" / "checkpoints" / "1-adapt.pt", weights_only=True)["model"]
    own = {name.removeprefix("teacher.network."): value for name, value in state.items() if name.startswith("teacher.network.")}
    assert any(not torch.equal(value, state[name]) for name, value in own.items())
    torch.save(own, folder / "own.pt")
    expected = scores("streets-adapt", "--checkpoint", "own.pt", *SMALL[:7], capsys=capsys)
    taught = scores("run", capsys=capsys)
    student = scores("run", "evaluate.target.network=null", capsys=capsys)
    assert taught["iou"] == expected["iou"] == rows(folder)[-1]["iou"]
    assert student["iou"] != taught["iou"]
    assert "network" not in student["protocol"]
    assert scores("run", "evaluate.target.network=null", "--network", "teacher", capsys=capsys)["iou"] == taught["iou"]


def test_predictions_are_the_teachers(folder: Path) -> None:
    image = next(iter(torch.randint(0, 255, (1, 32, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8))).numpy()
    cv2.imwrite("photo.png", image)
    assert main(["predict", "streets-adapt", "photo.png", "--checkpoint", "own.pt", "--out", "expected", *SMALL[:7]]) == 0
    words = ("evaluate.target.network=null", "photo.png")
    assert main(["predict", "run", *words, "--network", "teacher", "--out", "labels"]) == 0
    assert main(["predict", "run", *words, "--out", "student"]) == 0
    expected, labels = (cv2.imread(f"{name}/photo.png") for name in ("expected", "labels"))
    assert (expected == labels).all()
    # a call with another network does not take the results of this one for its own
    assert main(["predict", "run", *words, "--out", "labels"]) == 0
    assert (cv2.imread("student/photo.png") == cv2.imread("labels/photo.png")).all()


REFUSED = {
    "unknown": (["eval", "run", "--network", "teachr"], 2, "the model of this round has no network 'teachr'; did you mean 'teacher'?"),
    "no segmenter": (["predict", "run", "photo.png", "--out", "x", "--network", "backbone"], 2, "has no network 'backbone'"),
    "never updated": (["eval", "run", "--round", "source"], 1, "its teacher was never updated, so it has no weights of its own"),
    "in a run": (
        ["run", "--plugin", "./mine.py", "streets-adapt", "evaluate.target.network=taecher", *SMALL[:-2], "name=other"],
        2, "rounds.source.evaluate.target.network: the model of this round has no network 'taecher'; did you mean 'teacher'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_is_not_there_is_refused_in_one_line(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "photo.png").touch()
    words, code, said = REFUSED[name]
    assert main(words) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error
