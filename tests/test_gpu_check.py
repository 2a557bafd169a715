"""The GPU check's parts that need no device: a path without an installation, and a run without tensorboardX."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert {"bdl", "clp", "fada", "proca", "pycda", "source-only"} <= set(names)


def test_a_run_does_without_tensorboardx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    monkeypatch.delitem(sys.modules, "udacore.engine.files.board", raising=False)
    tracker = Tracker(tmp_path, tensorboard=True)
    tracker.board({"loss": 1.0}, 1)
    tracker.close()
    assert (tmp_path / "log.txt").read_text().startswith("tensorboard: nothing is written, since tensorboardX")
