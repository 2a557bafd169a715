"""`uda run --quick N` rehearses any preset, and overrides that reach only some rounds are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from udacore.cli import main
from udacore.config.counts import parse_count
from udacore.config.dump import dump_config
from udacore.config.presets import list_presets
from udacore.config.quick import IMAGES, LARGEST, make_quick
from udacore.config.resolve import load_config
from udacore.config.transforms import Crop, Resize
from udacore.methods.discovery import load_plugin
from udacore.testing.formats import write_cityscapes, write_gta5
from udacore.testing.runs import configure

METHODS = ("source-only", "bdl", "clp", "fada", "mic", "proca", "pycda")
PRESETS = [(method, preset) for method in METHODS for preset in list_presets(f"udacore_{method}" if method != "source-only" else "udacore")]
SMALL = ("device=cpu", "threads=1", "workers=0", "tensorboard=false", "initial=random")


def sizes(value: Any) -> list[tuple[int, int]]:
    """All sizes of transforms and evaluations."""
    if isinstance(value, Resize | Crop):
        return [value.size]
    if attrs.has(type(value)):
        own = [value.size] if getattr(value, "size", None) is not None else []
        return own + [size for field in attrs.fields(type(value)) for size in sizes(getattr(value, field.name))]
    return [size for entry in value.values() for size in sizes(entry)] if isinstance(value, dict) else []


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_every_preset_has_a_rehearsal(method: str, preset: str) -> None:
    whole = configure(method, preset)
    quick = make_quick(whole, 1000)
    assert (quick.name, quick.quick) == (f"{whole.name}-quick", 1000)
    assert max((max(size) for size in sizes(quick)), default=0) <= LARGEST
    if max(max(size) for size in [*sizes(whole), (0, 0)]) > LARGEST:
        assert {side % 8 for size in sizes(quick) for side in size} == {0}
    for name, round in quick.rounds.items():
        count, before = parse_count(round.steps), parse_count(whole.rounds[name].steps)
        assert count.unit == before.unit
        assert count.number <= max(1, before.number / 1000 + 1)
        assert (count.number == 0) == (before.number == 0)
        assert round.method == whole.rounds[name].method or "size" in str(round.method)
        for entry in (round.source, round.target, *round.evaluate.values()):
            assert entry.count is not None
            assert entry.count <= max(IMAGES, round.batch)


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_a_rehearsal_reads_back_as_it_was_written(method: str, preset: str, tmp_path: Path) -> None:
    quick = make_quick(configure(method, preset), 50)
    (tmp_path / "config.yaml").write_text(dump_config(quick))
    assert load_config(str(tmp_path / "config.yaml"), method_settings=load_plugin(method).settings) == quick


@pytest.mark.parametrize(("method", "preset"), [("fada", "gta5-cityscapes"), ("source-only", "gta5-cityscapes")])
def test_a_real_task_is_rehearsed_on_its_real_format(
    method: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "cityscapes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDACORE_DATA", str(tmp_path))
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    words = ["run", "--plugin", method, preset, *SMALL, "model.name=small", "--quick", "100000"]
    words += [f"rounds.{name}.batch=2" for name in configure(method, preset).rounds]
    assert main(words) == 0
    run = tmp_path / "runs" / f"{method}-{preset}-quick"
    scores = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "miou" in row]
    assert {row["protocol"]["quick"] for row in scores} == {100000}
    said = capsys.readouterr()
    assert "quick 100000" in said.out
    assert "a rehearsal: steps divided by 100000" in (run / "log.txt").read_text()
    assert "quick: 100000" in (run / "config.yaml").read_text()
    assert main([*words, "--resume"]) == 0


def test_an_override_that_reaches_some_rounds_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: streets\nrounds:\n  source: {steps: 1}\n  later: {}\n  last: {batch: 1}\n")
    data = ("source.count=2", "source.image_size=[64,32]", "evaluate=null", "model.name=small")
    assert main(["run", "mine.yaml", "name=x", "steps=1", "batch=2", *SMALL[:-1], *data]) == 0
    log = Path("runs/x/log.txt").read_text()
    assert "note: steps=1 reaches later, last; round source kept values of their own" in log
    assert "note: batch=2 reaches source, later; round last kept values of their own" in log
    assert "note: model.name" not in log
