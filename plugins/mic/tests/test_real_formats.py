"""The presets on miniatures of the real data sets in exactly their format; sizes, steps and the encoder are cut, nothing else."""

from __future__ import annotations

import json

import pytest
import torch
from udacore_mic.networks import ENCODERS
from udacore_mic.transformer import MiT

from udacore.testing.formats import write_acdc, write_cityscapes, write_dark_zurich, write_gta5, write_synthia
from udacore.testing.runs import uda

COMMON = (
    "rounds.adapt.steps=2", "method.network=mit_tiny", "method.width=16", "source.sampler.min_pixels=20", "evaluate.target.every=0",
    "method.mask_block=16", "device=cpu", "workers=0", "threads=1", "tensorboard=false",
)  # fmt: skip
ONE = (
    *(f"{domain}.transform.{step}" for domain in ("source", "target") for step in ("resize_within.size=[96,64]", "crop.size=[64,32]")),
    "evaluate.target.size=[96,48]", "evaluate.target.window=[96,48]", "evaluate.target.stride=[96,48]",
    "method.ignore_top=2", "method.ignore_bottom=8",
)  # fmt: skip
TWO = (
    *(f"{domain}.transform.{step}" for domain in ("source", "target") for step in ("resize_within.size=[160,96]", "crop.size=[64,64]")),
    "evaluate.target.size=[128,64]", "evaluate.target.window=[64,64]", "evaluate.target.stride=[32,32]", "method.detail_size=[32,32]",
)  # fmt: skip
MARGINS = ("target.extras.trusted.margins={top: 1, bottom: 8, left: 1, right: 1}",)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's machine: the data sets, a file of ImageNet weights, and a folder to work in."""
    for name, write in (
        ("gta5", write_gta5), ("synthia", write_synthia), ("cityscapes", write_cityscapes), ("acdc", write_acdc), ("dark_zurich", write_dark_zurich),
    ):  # fmt: skip
        write(tmp_path / "data" / name)
    torch.manual_seed(0)
    torch.save({**MiT(ENCODERS["mit_tiny"]).state_dict(), "head.weight": torch.zeros(1000, 8)}, tmp_path / "mit_tiny.pth")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


CASES = [
    ("gta5-cityscapes-daformer", ONE), ("gta5-cityscapes-hrda", TWO + MARGINS), ("gta5-cityscapes", TWO + MARGINS),
    ("gta5-cityscapes-half", ONE), ("synthia-cityscapes", TWO + MARGINS), ("cityscapes-acdc", TWO), ("cityscapes-darkzurich", TWO),
    ("cityscapes-acdc-daformer", ONE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "cut"), [case if case[0] == "gta5-cityscapes" else pytest.param(*case, marks=pytest.mark.long) for case in CASES]
)
def test_a_preset_runs_whole(preset, cut, place):
    file = place / "mit_tiny.pth"
    words = (*COMMON, *cut, f"initial={{segmenter: {file}, imagenet: {file}}}")
    assert uda("run", "--plugin", "mic", preset, *words) == 0
    run = place / "here" / "runs" / f"mic-{preset}"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {key.removeprefix("loss/") for row in rows for key in row if key.startswith("loss/")}
    names = {"source", "mixed"} | ({"masked"} if preset.endswith(("cityscapes", "acdc", "darkzurich", "half")) else set())
    details = {f"{name}_detail" for name in names} if cut != ONE else set()
    assert losses == {"feature_distance"} | names | details
    scores = [row for row in rows if "miou" in row]
    assert [len(row["iou"]) for row in scores] == [19]
    state = torch.load(run / "checkpoints" / "0-adapt.pt", weights_only=True)
    assert set(state["frozen"]) == {"imagenet"}
    assert not any("imagenet" in key for key in state["model"])


def test_the_file_that_the_encoder_needs_is_named(place, capsys):
    assert uda("run", "--plugin", "mic", "gta5-cityscapes-daformer", "source.sampler.min_pixels=20") == 2
    err = capsys.readouterr().err
    assert "mit_b5.pth: no such file" in err
    assert len(err.splitlines()) == 1
