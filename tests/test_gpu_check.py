"""The GPU check's parts that need no device: a path without an installation, and
a run without tensorboardX."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from udacore.engine.tracking import Tracker

ROOT = Path(__file__).resolve().parent.parent
PRINT = "from importlib import metadata; import udacore; print(udacore.__file__, *sorted(p.name for p in metadata.entry_points(group='udacore.plugins')))"


def test_packages_on_a_path_have_their_entry_points(tmp_path: Path) -> None:
    for part in ("pyproject.toml", "udacore", "plugins"):
        place = ROOT / part
        ignored = shutil.ignore_patterns("__pycache__", "tests", "docs", "*.egg-info")
        if place.is_dir():
            shutil.copytree(place, tmp_path / "copy" / part, ignore=ignored)
        else:
            (tmp_path / "copy").mkdir()
            shutil.copy(place, tmp_path / "copy" / part)
    site = tmp_path / "site"
    site.mkdir()
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_path.py"), str(tmp_path / "copy"), str(site), "--by-hand"]
    assert "metadata written by hand" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    place, *names = done.stdout.split()
    assert place == str(site / "udacore" / "__init__.py")
    assert {"bdl", "clp", "fada", "mic", "proca", "pycda", "source-only"} <= set(names)


def test_a_run_does_without_tensorboardx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    monkeypatch.delitem(sys.modules, "udacore.engine.files.board", raising=False)
    tracker = Tracker(tmp_path, tensorboard=True)
    tracker.board({"loss": 1.0}, 1)
    tracker.close()
    assert (tmp_path / "log.txt").read_text().startswith("tensorboard: nothing is written, since tensorboardX")


def test_a_round_is_measured_and_one_that_fails_is_told(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--quick", "--only", "fada adversarial", "--forms", "float32", "--write", str(tmp_path / "steps.md")]
    command = [sys.executable, str(ROOT / "benchmarks" / "steps.py"), *words]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in (tmp_path / "steps.md").read_text().splitlines() if line.startswith("| fada adversarial | float32 |")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert float(cells[2]) > 0
    assert float(cells[3]) == 1.0


@pytest.mark.long
def test_every_round_that_is_measured_finds_its_data_at_the_published_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("UDACORE_DATA", "")
    import steps

    from udacore.testing import formats

    gta5, cityscapes = formats.write_gta5, formats.write_cityscapes
    monkeypatch.setattr(formats, "write_gta5", lambda root, count, sizes: gta5(root, count))
    monkeypatch.setattr(formats, "write_cityscapes", lambda root, counts, size: cityscapes(root, counts))
    data, taken = steps.write_data(tmp_path, quick=False), []

    def look(trial: steps.Trial, work: steps.training.RoundInProgress) -> tuple[float, int, int]:
        taken.append((trial.method, trial.round))
        work.session.check_data()
        return 1.0, 0, 1

    monkeypatch.setattr(steps, "time_steps", look)
    for method, name in steps.ROUNDS:
        trial = steps.Trial(method=method, round=name, data=[*data, "model.name=small"], device=torch.device("cpu"), quick=False)
        steps.measure(trial, "float32")
    assert tuple(taken) == steps.ROUNDS
