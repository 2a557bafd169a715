"""The presets of the real data sets train on miniatures of them, with a small network:
optimiser, sampler and crops fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from udacore.testing.formats import write_cityscapes, write_gta5, write_synthia

SMALL = [
    *("model.name=small", "initial=random", "threads=1", "workers=0", "device=cpu", "tensorboard=false"),
    *("steps=2", "evaluate.target.size=[64,32]", "source.transform.resize.size=[80,40]", "target.transform.resize.size=[64,32]"),
    *("source.transform.crop.size=[32,32]", "target.transform.crop.size=[32,32]", "source.sampler.min_pixels=10", "method.ignore_bottom=7"),
]
OF_RUN = ("threads", "workers", "device", "tensorboard", "model.", "initial", "evaluate.")


@pytest.mark.parametrize("source", ["gta5", pytest.param("synthia", marks=pytest.mark.long)])
def test_preset_trains(source: str, tmp_path: Path) -> None:
    if source == "gta5":
        write_gta5(tmp_path / source)
    else:
        write_synthia(tmp_path / source)
    write_cityscapes(tmp_path / "cityscapes")
    roots = [f"source.root={tmp_path / source}", f"target.root={tmp_path / 'cityscapes'}", f"evaluate.target.root={tmp_path / 'cityscapes'}"]
    changes = [change if change.startswith(OF_RUN) else f"rounds.adapt.{change}" for change in SMALL]
    command = [sys.executable, "-m", "udacore", "run", "--plugin", "daformer-lite", f"{source}-cityscapes", *roots, *changes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "adapt 2/2" in done.stdout + done.stderr
    assert (tmp_path / f"runs/daformer-lite-{source}-cityscapes/checkpoints/0-adapt.pt").is_file()
