"""Run folders that udacore 0.1.0 wrote still resume, evaluate, predict and compare.

`run_of_0_1_0` was made by that version: `uda run tiny.yaml name=finished`, and once more as `killed`, which
died in round `adapt` at step 2.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from udacore.cli import main
from udacore.testing.formats import write_streets

MADE = Path(__file__).parent / "run_of_0_1_0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(MADE, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return state


def test_a_killed_run_goes_on_to_the_same_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads((folder / "killed/env.json").read_text())["versions"]["udacore"] == "0.1.0"
    assert main(["run", "tiny.yaml", "name=killed", "--resume-anyway"]) == 0, capsys.readouterr().err
    assert "goes on at step 2" in capsys.readouterr().err
    expected, found = (weights(folder / name / "checkpoints/1-adapt.pt") for name in ("finished", "killed"))
    assert expected.keys() == found.keys()
    for key, value in expected.items():  # equal to the last bit on one processor; other processors round otherwise
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)


def test_a_finished_run_is_shown_and_scored_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny.yaml", "name=finished", "--resume"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert main(["eval", "finished"]) == 0, capsys.readouterr().err
    assert table_of(capsys.readouterr().out) == table_of(shown)


def table_of(text: str) -> list[str]:
    """The lines of scores."""
    return [line for line in text.splitlines() if line.split() and line.split()[-1].replace(".", "").isdigit()]


def test_it_predicts_and_compares(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_streets(folder / "data", "target", 1, size=(64, 32), seed=0)
    assert main(["predict", "finished", "data/images", "--out", "out"]) == 0, capsys.readouterr().err
    (label,) = (folder / "out").rglob("*.png")
    with Image.open(label) as picture:
        assert picture.size == (64, 32)
    capsys.readouterr()
    assert main(["compare", "finished"]) == 0, capsys.readouterr().err
    assert "mIoU" in capsys.readouterr().out
