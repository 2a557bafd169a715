"""A dry run times every round, writes nothing, and finds broken data first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from udacore.cli import main
from udacore.config.resolve import load_config
from udacore.engine.dry_run import dry_run
from udacore.errors import DataError
from udacore.methods.discovery import load_plugin

CHANGES: dict[str, Any] = {
    "parts": {"critic": {}},
    "rounds": {
        "source": {"steps": 300, "draws": ["source"]},
        "adapt": {"steps": 3, "target": {"labels": "make"}, "source": {"images": "source"}, "weights": {"segmenter": "round source"}},
        "elsewhere": {"steps": 0, "weights": "previous"},
    },
}


def everything(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_every_round_is_timed_with_stand_ins_and_nothing_is_written(workshop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = workshop.write({**CHANGES, "plugin": str(workshop.method)})
    before = everything(workshop.path)
    assert main(["run", str(config), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert list(rows) == ["round", "source", "adapt", "elsewhere", "total"]
    assert (rows["source"][1], rows["adapt"][1], rows["elsewhere"][1:3]) == ("300", "3", ["0", "-"])
    assert all(0 < int(rows[name][2]) < 60_000 for name in ("source", "adapt"))  # one of 3 steps takes time too
    assert float(rows["source"][3]) > 0
    assert {path for path in everything(workshop.path) - before if "__pycache__" not in path} == set()


def test_broken_data_is_found(workshop: Any) -> None:
    method = load_plugin("source-only")
    config = load_config(str(workshop.write({})), ["source.dataset=folder", "source.root=nowhere"], packages=(), method_settings=method.settings)
    with pytest.raises(DataError, match="nowhere"):
        dry_run(config, method)
