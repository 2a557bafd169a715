"""ProCA's presets, all rounds, on miniatures of the real data sets in exactly their format; sizes and
steps are cut, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from udacore.cli import main
from udacore.labels import get_label_space
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia

ROUNDS = ("source", "adapt", "distill")
ODD = (131, 67)
CUT = (
    *(f"rounds.{name}.{key}=2" for name in ROUNDS for key in ("steps", "batch")),
    "source.transform.resize.size=[64,36]", "target.transform.resize.size=[64,32]",
    "rounds.distill.target.transform.crop.size=[64,32]", "evaluate.target.size=[64,32]", "rounds.distill.evaluate.target.size=[64,32]",
    "initial=random", "device=cpu", "workers=0",
)  # fmt: skip


@attrs.frozen
class Place:
    """A user's machine: the data sets, an empty home, a folder to work in, the cache."""

    root: Path

    @property
    def here(self) -> Path:
        return self.root / "here"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def cityscapes(self) -> Path:
        return self.root / "data" / "cityscapes"

    def environment(self) -> dict[str, str]:
        own = {"UDACORE_DATA": "data", "UDACORE_CACHE": "cache", "HOME": "home", "TMPDIR": "scratch", "TORCH_HOME": "home/torch"}
        return {name: str(self.root / folder) for name, folder in own.items()}

    def outside(self) -> dict[str, tuple[int, str]]:
        """Every file and folder but those of runs and cache: time of its last change, and
        digest of a file's content.

        Of the folder for temporary files only the files: torch makes an empty folder there.
        """
        paths = [path for path in self.root.rglob("*") if not path.is_relative_to(self.cache) and not path.is_relative_to(self.here / "runs")]
        return {
            str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
            for path in paths
            if path != self.here and not (path.is_dir() and path.is_relative_to(self.root / "scratch"))  # `runs` is made in `here`
        }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    found = Place(tmp_path)
    for folder in ("here", "home", "scratch"):
        (tmp_path / folder).mkdir()
    write_gta5(tmp_path / "data" / "gta5")
    write_cityscapes(found.cityscapes, size=ODD)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(found.here)
    yield found
    shutil.rmtree(found.here)  # checkpoints of ResNet-101


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scores(run: Path) -> list[dict[str, Any]]:
    return [row for row in rows(run) if "miou" in row]


def check_folder(run: Path) -> None:
    """All that a finished run of three rounds leaves, and nothing half-written."""
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    expected = {"config.yaml", "env.json", "metrics.jsonl", "log.txt", "checkpoints/best.pt"}
    expected |= {f"checkpoints/{number}-{name}{end}.pt" for number, name in enumerate(ROUNDS) for end in ("", "-steps")}
    expected |= {f"rounds/0-source/prototype_{kind}_dist.pth" for kind in ("feat", "out")} | {"rounds/1-adapt/labels/manifest.json"}
    assert expected <= files
    assert any(name.startswith("tensorboard/events.") for name in files)
    assert not [name for name in files if name.endswith(".part")]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert [(name, settings["steps"]) for name, settings in config["rounds"].items()] == [(name, 2) for name in ROUNDS]
    environment = json.loads((run / "env.json").read_text())
    assert environment["plugin"]["distribution"] == "udacore-proca"
    assert len(environment["data"]) == 3
    losses = {row["round"]: {key for key in row if key.startswith("loss/")} for row in rows(run) if "loss/cross_entropy" in row or "loss/pseudo_label" in row}
    assert losses["source"] == {"loss/cross_entropy", "loss/lovasz"}
    assert losses["adapt"] == {"loss/cross_entropy", "loss/lovasz", "loss/feature_contrast", "loss/output_contrast"}
    assert losses["distill"] == {"loss/pseudo_label"}


def check_pseudo_labels(run: Path, place: Place, label_space: str) -> None:
    """One 8-bit palette PNG for each training image, of its size, with ids of the classes and 255."""
    space = get_label_space(label_space)
    folder = run / "rounds" / "1-adapt" / "labels"
    pictures = place.cityscapes / "leftImg8bit" / "train"
    names = sorted(str(path.relative_to(pictures).with_suffix("")) for path in pictures.rglob("*.png"))
    assert sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.png")) == names
    assert len(names) == 3
    assert json.loads((folder / "manifest.json").read_text())["names"] == names
    found: set[int] = set()
    for name in names:
        header = (folder / f"{name}.png").read_bytes()[16:26]
        assert struct.unpack(">IIBB", header) == (*ODD, 8, 3)  # width, height, bits, colour type 3: palette
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.getpalette()[: 3 * len(space)] == [part for colour in space.palette[: len(space)] for part in colour]
            found |= {int(each) for each in np.unique(np.array(picture))}
    assert found <= {*range(len(space)), 255}
    assert found - {255}


def check_scores(run: Path, classes: int, subsets: set[str]) -> None:
    for row in scores(run):
        assert row["set"] == "target"
        assert len(row["iou"]) == classes
        assert row["miou"] == pytest.approx(sum(row["iou"].values()) / classes)  # absent: zero
        assert set(row["subsets"]) == subsets
    assert [row["round"] for row in scores(run)] == ["source", "adapt", "adapt", "distill"]  # the source's end changes buffers alone
    assert scores(run)[2]["protocol"]["checkpoint"] == "best on target"


@pytest.mark.slow
def test_gta5_to_cityscapes_runs_from_the_command_line_and_writes_nothing_elsewhere(place: Place) -> None:
    before = place.outside()
    words = [sys.executable, "-m", "udacore", "run", "--plugin", "proca", "gta5-cityscapes", *CUT]
    done = subprocess.run(words, cwd=place.here, env={**os.environ, **place.environment()}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.splitlines()[20].startswith("mIoU ")  # a heading, 19 classes, the mean
    run = place.here / "runs" / "proca-gta5-cityscapes"
    check_folder(run)
    check_pseudo_labels(run, place, "cityscapes19")
    check_scores(run, 19, set())
    prototypes = torch.load(run / "rounds" / "0-source" / "prototype_feat_dist.pth", weights_only=True)
    assert {key: tuple(value.shape) for key, value in prototypes.items()} == {"Proto": (19, 2048), "Amount": (19,)}
    assert prototypes["Amount"].sum() == next(row["on_round_end"]["prototype_pixels"] for row in rows(run) if "on_round_end" in row)
    assert [path.name.partition("-")[0] for path in place.cache.iterdir()] == ["statistics"]
    assert place.outside() == before


@pytest.mark.long
@pytest.mark.slow
def test_synthia_to_cityscapes_runs_on_16_bit_labels(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthia(place.root / "data" / "synthia")
    before = place.outside()
    assert main(["run", "--plugin", "proca", "synthia-cityscapes", *CUT]) == 0
    shown = capsys.readouterr().out
    assert "synthia13" in shown
    assert "terrain" not in shown
    run = place.here / "runs" / "proca-synthia-cityscapes"
    check_folder(run)
    check_pseudo_labels(run, place, "synthia16")
    check_scores(run, 16, {"synthia13"})
    last = scores(run)[-1]
    kept = [value for name, value in last["iou"].items() if name not in ("wall", "fence", "pole")]
    assert last["subsets"]["synthia13"] == pytest.approx(sum(kept) / 13)
    assert place.outside() == before


@pytest.mark.long
@pytest.mark.slow
def test_the_vgg16_variant_runs(place: Place) -> None:
    before = place.outside()
    assert main(["run", "--plugin", "proca", "gta5-cityscapes-vgg16", *CUT]) == 0
    run = place.here / "runs" / "proca-gta5-cityscapes-vgg16"
    check_folder(run)
    check_pseudo_labels(run, place, "cityscapes19")
    check_scores(run, 19, set())
    prototypes = torch.load(run / "rounds" / "0-source" / "prototype_feat_dist.pth", weights_only=True)
    assert tuple(prototypes["Proto"].shape) == (19, 1024)
    assert place.outside() == before


def outcome(place: Place, name: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, bytes]]:
    """Final weights, scores and pseudo labels of a run with the small network."""
    assert main(["run", "--plugin", "proca", "gta5-cityscapes", *CUT, f"name={name}", "model.name=small"]) == 0
    run = place.here / "runs" / name
    labels = {str(path.relative_to(run)): path.read_bytes() for path in (run / "rounds").rglob("*.png")}
    return torch.load(run / "checkpoints" / "2-distill.pt", weights_only=True)["model"], scores(run), labels


@pytest.mark.slow
def test_training_never_opens_the_targets_training_labels(place: Place) -> None:
    truth = place.cityscapes / "gtFine" / "train"
    weights, scored, labels = outcome(place, "with-labels")
    for path in truth.rglob("*.png"):
        path.write_bytes(b"not an image")
    garbage = outcome(place, "with-garbage")
    shutil.rmtree(truth)
    without = outcome(place, "without-labels")
    assert len(labels) == 3
    for other in (garbage, without):
        assert all(torch.equal(other[0][key], value) for key, value in weights.items())
        assert other[1:] == (scored, labels)
