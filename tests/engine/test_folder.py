"""The run folder: refused, begun again, one round of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from udacore.config.resolve import load_config
from udacore.engine.files import folder
from udacore.errors import ConfigError
from udacore.plugins import load_plugin

CHANGES: dict[str, Any] = {
    "rounds": {"a": {"steps": 4, "draws": ["source"]}, "b": {"steps": 4, "target": {"labels": "make"}}, "c": {"steps": 2, "draws": ["source"]}}
}


def model_bytes(path: Path) -> bytes:
    return b"".join(value.numpy().tobytes() for value in torch.load(path, weights_only=True)["model"].values())


@pytest.fixture(scope="session")
def finished(make_workshop: Any) -> Any:
    workshop = make_workshop()
    workshop.run(CHANGES)
    return workshop


def test_a_run_folder_holds_what_is_promised(finished: Any) -> None:
    place = finished.path / "run"
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file() and path.suffix != ".png"}
    states = {f"checkpoints/{name}.pt" for name in ("last", "0-a", "0-a-steps", "1-b", "1-b-steps", "2-c", "2-c-steps")}
    labels = {"rounds/0-a/labels/manifest.json", "rounds/0-a/labels/source.json"}
    assert files == {".lock", "config.yaml", "env.json", "log.txt", "metrics.jsonl", *states, *labels}
    assert json.loads((place / "env.json").read_text())["processes"] == 1


def test_an_existing_folder_is_refused_and_force_begins_again(workshop: Any) -> None:
    changes = {"rounds": {"a": {"steps": 1, "draws": ["source"]}}}
    workshop.run(changes)
    left = workshop.path / "run" / "rounds" / "0-a" / "left.txt"
    left.touch()
    with pytest.raises(ConfigError, match="the run folder exists; go on with --resume, begin again with --force, or choose another with name="):
        workshop.run(changes)
    assert left.exists()
    workshop.run(changes, force=True)
    assert not left.exists()
    assert not (workshop.path / "run" / ".replaced").exists()


def test_of_two_runs_begun_at_once_one_gets_the_folder(workshop: Any) -> None:
    config = load_config(str(workshop.write({})), [], packages=(), method_settings=load_plugin("source-only").settings)
    path = folder.run_folder(config)
    for _ in range(2):  # both look before either writes
        folder.check(path, config, resume=False, force=False, only=None)
    with folder.lock_folder(path):
        folder.prepare(path, config, resume=False, force=False, only=None)
    with folder.lock_folder(path), pytest.raises(ConfigError, match=r"run: another run has just begun in this folder; choose another with name="):
        folder.prepare(path, config, resume=False, force=False, only=None)


HOLDER = "import sys, pathlib; from udacore.engine.files import folder\nwith folder.lock_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"


@pytest.mark.parametrize("option", ["resume", "force"])
def test_a_folder_at_which_another_process_works_is_left_alone_until_it_dies(option: str, workshop: Any) -> None:
    changes = {"rounds": {"a": {"steps": 1, "draws": ["source"]}}}
    workshop.run(changes)
    place = workshop.path / "run"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="run: another run is at work in this folder"):
            workshop.run(changes, **{option: True})
        assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    finally:
        other.kill()  # no chance to tidy up: the system lets go of the lock
        other.communicate()
    workshop.run(changes, **{option: True})


def test_an_unknown_round_is_refused_before_anything_is_written(workshop: Any) -> None:
    with pytest.raises(ConfigError, match="--round: there is no round 'sourc'; did you mean 'source'"):
        workshop.run({}, only="sourc")
    assert not (workshop.path / "run").exists()


def test_rounds_one_by_one_are_the_whole_run(finished: Any, workshop: Any) -> None:
    for name in ("a", "b", "c"):
        results = workshop.run(CHANGES, only=name)
        assert [result.round for result in results] == [name]
    for label in ("0-a", "1-b", "2-c"):
        one, other = (place.path / "run" / "checkpoints" / f"{label}.pt" for place in (workshop, finished))
        assert model_bytes(one) == model_bytes(other)
    assert (workshop.path / "run" / "metrics.jsonl").read_bytes() == (finished.path / "run" / "metrics.jsonl").read_bytes()


def test_a_finished_round_needs_force_and_makes_later_ones_stale(workshop: Any) -> None:
    workshop.run(CHANGES)
    place = workshop.path / "run"
    before, metrics = model_bytes(place / "checkpoints" / "1-b.pt"), (place / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"--round b: it is finished in .*; run it again with --force \(later rounds become stale\)"):
        workshop.run(CHANGES, only="b")
    workshop.run(CHANGES, only="b", force=True)
    names = {path.name for path in (place / "checkpoints").iterdir()}
    assert {"0-a.pt", "1-b.pt", "1-b.stale.pt", "2-c.stale.pt", "2-c-steps.stale.pt"} <= names
    assert "2-c.pt" not in names
    assert model_bytes(place / "checkpoints" / "1-b.pt") == before  # from its beginning, not from `last`
    workshop.run(CHANGES, resume=True)
    assert (place / "metrics.jsonl").read_bytes() == metrics


def test_a_setting_newer_than_the_folder_is_its_default_there(workshop: Any) -> None:
    changes = {"rounds": {"a": {"steps": 2, "draws": ["source"]}}}
    first = workshop.run(changes)
    file = workshop.path / "run" / "config.yaml"
    text = file.read_text()
    file.write_text("\n".join(line for line in text.splitlines() if "initial_sha256" not in line))
    assert file.read_text() != text
    assert workshop.run(changes, resume=True) == first
    file.write_text(text.replace("initial_sha256: null", "initial_sha256: abc"))
    with pytest.raises(ConfigError, match=r"begun with other settings: rounds\.a\.initial_sha256"):
        workshop.run(changes, resume=True)
