"""`uda data check` looks at one data set, or at all that a configuration names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.cli.arguments import read_run
from udacore.cli.data import list_entries

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three images of 12 x 8 with labels of two classes, and `own.yaml` with the classes."""
    for folder in ("images", "labels"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    for index in range(3):
        Image.fromarray(np.full((8, 12, 3), 40 * index, np.uint8)).save(tmp_path / "own" / "images" / f"{index}.png")
        Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12) % 2).save(tmp_path / "own" / "labels" / f"{index}.png")
    (tmp_path / "own.yaml").write_text("classes: [grass, water]\n")
    return tmp_path


def check(own: Path, *words: str) -> int:
    return main(["data", "check", "--dataset", "folder", "--root", str(own / "own"), f"label_space={own / 'own.yaml'}", *words])


def test_a_sound_data_set_is_described(own: Path, capsys: Capture) -> None:
    assert check(own) == 0
    shown = capsys.readouterr()
    assert "images  3" in shown.out
    assert "12 x 8: 3" in shown.out
    assert "no problems" in shown.out
    assert "checking --dataset folder" in shown.err


def test_a_broken_image_and_a_missing_label_are_named_with_exit_code_3(own: Path, capsys: Capture) -> None:
    (own / "own" / "images" / "1.png").write_bytes(b"\x89PNG\r\n")
    assert check(own) == 3
    assert "1.png" in capsys.readouterr().out
    (own / "own" / "labels" / "2.png").unlink()
    assert check(own) == 3
    assert "2" in capsys.readouterr().out.partition("problem")[2]


def test_keys_and_values_describe_the_data_set(own: Path, capsys: Capture) -> None:
    assert check(own, "count=2", "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["images"], report["used"], report["problems"]) == (2, "--dataset folder", [])
    assert report["sizes"] == {"12 x 8": 2}


def test_a_missing_root_is_a_data_problem(tmp_path: Path, capsys: Capture) -> None:
    assert main(["data", "check", "--dataset", "gta5", "--root", str(tmp_path / "none")]) == 3
    assert f"no folder {tmp_path / 'none'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "folder"], "needs its classes: label_space="),
        (["--dataset", "gta5", "spilt=val"], "did you mean 'split'?"),
        (["--dataset", "gta5", "--plugin", "source-only"], "--plugin belongs to a configuration"),
        (["--dataset", "streets", "label_space=streetz"], "did you mean 'streets'?"),
        (["--root", "x"], "--root belongs to --dataset"),
        (["--dataset", "gta6"], "'gta5'"),
    ],
)
def test_a_slip_is_one_line(words: list[str], said: str, capsys: Capture) -> None:
    assert main(["data", "check", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err.splitlines()[-1]


def test_each_data_set_of_a_configuration_is_looked_at_once_and_target_labels_never(own: Path, capsys: Capture) -> None:
    root = own / "own"
    path = own / "run.yaml"
    path.write_text(
        f"steps: 1\nlabel_space: {own / 'own.yaml'}\nsource: {{dataset: folder, root: {root}}}\ntarget: {{dataset: folder, root: {root}}}\n"
        f"evaluate: {{all: {{dataset: folder, root: {root}, count: 1}}}}\n"
        "rounds: {source: {draws: [source]}, adapt: {}, distill: {draws: [target]}}\n"
    )
    _, config = read_run(None, [str(path)])
    assert [(entry.used, entry.domain, entry.labels) for entry in list_entries(config)] == [
        ("source.source, adapt.source", "source", True),
        ("source.evaluate.all, adapt.evaluate.all, distill.evaluate.all", "target", True),
        ("adapt.target, distill.target", "target", False),
    ]
    for label in (root / "labels").iterdir():
        label.write_bytes(b"unreadable")
    assert main(["data", "check", str(path), "--json"]) == 3
    reports = {report["used"].split(",")[0]: report for report in json.loads(capsys.readouterr().out)}
    assert [bool(report["problems"]) for report in reports.values()] == [True, True, False]
    assert reports["adapt.target"]["labels"] is None


def test_the_embedded_domains_are_sound(capsys: Capture) -> None:
    assert main(["data", "check", "--dataset", "streets", "count=2"]) == 0
    assert "no problems" in capsys.readouterr().out
