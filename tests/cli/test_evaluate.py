"""`uda eval` on a folder of checkpoints: one table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from udacore.cli import main
from udacore.cli.arguments import open_run
from udacore.config.schema import ModelConfig
from udacore.engine.results.scoring import choose_checkpoint
from udacore.models import build_segmenter

SMALL = ("device=cpu", "threads=1", *(f"evaluate.{name}.{word}" for name in ("target", "source") for word in ("count=3", "image_size=[64,32]")))
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Three files of weights, named as published programs do, and something else."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for number, name in enumerate(("model_iter000010.pth", "model_iter000002.pth", "last.pt")):
        torch.manual_seed(number)
        torch.save(build_segmenter(ModelConfig(name="small"), 12).state_dict(), folder / name)
    (folder / "notes.txt").write_text("not weights")
    return folder


def score(capsys: Capture, *words: str) -> tuple[str, str]:
    assert main(["eval", "streets", *SMALL, *words]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_a_folder_gives_a_line_for_each_file_in_the_order_of_names(checkpoints: Path, capsys: Capture) -> None:
    out, err = score(capsys, "--checkpoint", str(checkpoints))
    header, *rows = list(csv.reader(io.StringIO(out)))
    assert header[:4] == ["iters", "mIoU", "road", "sidewalk"]
    assert header[14:17] == ["mean F1", "F1 road", "F1 sidewalk"]
    assert len(header) == 27
    assert [row[0] for row in rows] == ["", "2", "10"]
    for row, name in zip(rows, ("last.pt", "model_iter000002.pth", "model_iter000010.pth"), strict=True):
        alone = json.loads(score(capsys, "--checkpoint", str(checkpoints / name), "--json")[0])[0]
        assert alone["set"] == "target"
        assert float(row[1]) == alone["miou"]
        assert [float(value) if value else None for value in row[2:14]] == list(alone["iou"].values())
        assert [float(value) if value else None for value in row[14:]] == [alone["mean_f1"], *alone["f1"].values()]
    best = max(rows, key=lambda row: float(row[1]))
    assert f"mIoU {100 * float(best[1]):.1f} on target" in err


def test_the_table_as_json_says_under_which_protocol(checkpoints: Path, capsys: Capture) -> None:
    rows = json.loads(score(capsys, "--checkpoint", str(checkpoints), "--json")[0])
    assert [(row["iters"], row["protocol"]["checkpoint"]) for row in rows] == [
        (None, "last.pt"), (2, "model_iter000002.pth"), (10, "model_iter000010.pth")]  # fmt: skip


def test_the_checkpoints_of_a_run_state_their_steps(tmp_path: Path, capsys: Capture) -> None:
    pictures = [f"{name}.{word}" for name in ("source", "target") for word in ("count=4", "image_size=[64,32]")]
    words = [*SMALL, *pictures, "steps=3", "batch=2", f"folder={tmp_path}", "name=run", "tensorboard=false"]
    assert main(["run", "streets", *words]) == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--checkpoint", str(tmp_path / "run" / "checkpoints")]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:]
    assert {row[0] for row in rows} == {"3"}
    assert len(rows) == len(list((tmp_path / "run" / "checkpoints").glob("*.pt")))


def test_a_folder_without_checkpoints_is_an_error_of_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert main(["eval", "streets", *SMALL, "--checkpoint", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "holds no checkpoint" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("content", [{"model": 3}, {"model": {"a": {"b": 1}}}, {3: torch.zeros(2)}])
@pytest.mark.parametrize("plugin", ["source-only", "fada"])
def test_a_file_without_weights_is_an_error_of_one_line(content: object, plugin: str, tmp_path: Path, capsys: Capture) -> None:
    torch.save(content, tmp_path / "odd.pt")
    code = 3 if plugin == "source-only" else 2  # 2: none of the layouts that the method's authors have released
    assert main(["eval", "streets", "--plugin", plugin, "device=cpu", "--checkpoint", str(tmp_path / "odd.pt")]) == code
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'odd.pt'}: no ")


@pytest.mark.parametrize("preset", [f"{pair}-cityscapes{network}" for pair in ("gta5", "synthia") for network in ("", "-vgg16")])
def test_a_released_file_of_proca_is_scored_at_the_size_of_its_last_stage_and_scales_refer_to_that(preset: str) -> None:
    scales = "evaluate.target.scales=[0.5,0.75,1,1.25,1.5,1.75]"
    released = Path("model_proca_ssl.pth")
    _, config, run = open_run(preset, (scales, "evaluate.target.flip=true"), "proca", released)
    name, path = choose_checkpoint(config, run, None, released)
    protocol = config.rounds[name].evaluate["target"]
    assert (name, path, protocol.size, protocol.flip) == ("distill", released, (2048, 1024), True)
    assert protocol.scales == (0.5, 0.75, 1, 1.25, 1.5, 1.75)


THEIRS = """
from udacore import hookimpl
from udacore.models import Layout

LAYOUTS = (Layout(name="theirs", parts={"": {r"backbone\\.": "backbone.", r"decode_head\\.": "classifier."}}, drop=(r"ema\\.",)),)


@hookimpl
def target_loss(step): ...
"""


def test_a_plain_state_dict_of_the_authors_that_shares_a_name_with_ours_is_converted(
    checkpoints: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    state = torch.load(checkpoints / "last.pt", weights_only=True)
    released = {key.replace("classifier.", "decode_head."): value for key, value in state.items()}
    torch.save({**released, "ema.backbone.conv1.weight": torch.zeros(1)}, tmp_path / "released.pth")
    torch.save({**state, "bank": torch.zeros(1)}, tmp_path / "ours.pth")
    words = ("--plugin", str(tmp_path / "theirs.py"), "--json", "--checkpoint")
    scores = [json.loads(score(capsys, *words, str(tmp_path / name))[0]) for name in ("released.pth", "ours.pth")]
    assert scores[0][0]["miou"] == scores[1][0]["miou"]
    torch.save({**released, "auxiliary.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    assert main(["eval", "streets", *SMALL, *words, str(tmp_path / "odd.pth")]) == 2
    assert "odd.pth: weights of another architecture: missing there: classifier" in capsys.readouterr().err
