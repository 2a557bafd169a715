"""Runs over several sources and several targets: both overlays, a kill, workers, scores of each target."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udacore.cli import main
from udacore.config.files import parse_yaml
from udacore.engine.files.environment import ENVIRONMENT
from udacore.errors import ConfigError, DataError
from udacore.testing.interruption import DeathError, dying_in, find_differences

SCORED = {"dataset": "streets", "image_size": [64, 32], "count": 3, "batch": 2}
SETS: dict[str, Any] = {
    "source": {"sets": {"clear": {"share": "1/2"}, "palette": {"pair": "P", "count": 5}, "few": {"domain": "target", "count": 3, "share": 0.25}}},
    "target": {"sets": {"weather": {"share": 0.75}, "camera": {"pair": "L", "count": 4, "transform": {}}}},
    "evaluate": {"target": None, "weather": SCORED, "camera": {**SCORED, "pair": "L"}},
}
CHANGES: dict[str, Any] = {
    **SETS,
    "save_every": 2,
    "parts": {"critic": {"optimizer": "SGD", "lr": 0.01}},
    "rounds": {
        "source": {"steps": 3, "draws": ["source"]},
        "adapt": {"steps": 5, "trains": ["segmenter", "critic"], "target": {"labels": "make"}, "source": {"images": "source"}},
    },
}


@pytest.fixture(scope="module")
def undisturbed(make_workshop: Callable[[], Any]) -> Any:
    """The workshop of a finished run, under `run`."""
    workshop = make_workshop()
    workshop.run({**CHANGES, "plugin": str(workshop.method)})
    return workshop


def test_both_overlays_lie_below_the_names_of_the_sets(undisturbed: Any) -> None:
    rounds = undisturbed.path / "run" / "rounds" / "0-source"
    counts = {f"{kind}/{each.name}": len(list(each.rglob("*.png"))) for kind in ("images", "labels") for each in (rounds / kind).iterdir() if each.is_dir()}
    assert counts == {"images/clear": 10, "images/palette": 5, "images/few": 3, "labels/weather": 9, "labels/camera": 4}


def test_each_target_set_has_a_score(undisturbed: Any) -> None:
    rows = [json.loads(line) for line in (undisturbed.path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = {row["set"]: row["protocol"]["pair"] for row in rows if row["round"] == "adapt" and "miou" in row}
    assert last == {"weather": "W", "camera": "L"}


def test_the_record_of_the_run_names_each_set(undisturbed: Any) -> None:
    files = json.loads((undisturbed.path / "run" / ENVIRONMENT).read_text())["files"]
    counts = {place: entry["count"] for place, entry in files.items() if ".evaluate." not in place}
    assert counts == {
        "rounds.source.source.sets.clear": 10, "rounds.source.source.sets.palette": 5, "rounds.source.source.sets.few": 3,
        "rounds.adapt.target.sets.weather": 9, "rounds.adapt.target.sets.camera": 4,
    }  # fmt: skip


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_died_goes_on_bit_for_bit(undisturbed: Any, step: int) -> None:
    changes, name = {**CHANGES, "plugin": str(undisturbed.method)}, f"killed-{step}"
    with dying_in("adapt", step=step), pytest.raises(DeathError):
        undisturbed.run(changes, name=name)
    undisturbed.run(changes, name=name, resume=True)
    assert find_differences(undisturbed.path / "run", undisturbed.path / name) == []


def test_workers_change_nothing(undisturbed: Any) -> None:
    undisturbed.run({**CHANGES, "plugin": str(undisturbed.method), "workers": 2}, name="workers")
    assert find_differences(undisturbed.path / "run", undisturbed.path / "workers") == []


def test_a_change_of_one_set_ends_a_resumed_run(undisturbed: Any) -> None:
    changes = {**CHANGES, "plugin": str(undisturbed.method)}
    with dying_in("adapt"), pytest.raises(DeathError):
        undisturbed.run(changes, name="changed")
    with pytest.raises(ConfigError, match=r"source\.sets\.few\.count"):
        undisturbed.run(changes, "source.sets.few.count=2", name="changed", resume=True)


def test_a_dry_run_and_a_rehearsal_draw_from_the_sets(workshop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = workshop.write({**CHANGES, "plugin": str(workshop.method)})
    assert main(["run", str(config), "--dry-run"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["round", "source", "adapt", "total"]
    assert main(["run", str(config), "--quick", "2"]) == 0
    written = parse_yaml((workshop.path / "run-quick" / "config.yaml").read_text(), "")
    assert {name: own["count"] for name, own in written["rounds"]["adapt"]["source"]["sets"].items()} == {"clear": 8, "palette": 5, "few": 3}


def test_the_check_of_data_looks_at_each_set_and_opens_no_label_of_a_target(workshop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(workshop.write(CHANGES, "looked")), "plugin=source-only", "--json"]) == 0
    found = {entry["used"]: (entry["images"], entry["labels"]) for entry in json.loads(capsys.readouterr().out)}
    assert found["source.source.sets.few, adapt.source.sets.few"] == (3, 3)
    assert found["adapt.target.sets.camera"] == (4, None)


def test_an_epoch_ends_when_each_set_was_seen(workshop: Any) -> None:
    workshop.run({**SETS, "rounds": {"source": {"steps": "1 epochs", "draws": ["source"]}}, "evaluate": {"target": None}}, name="epoch")
    rows = [json.loads(line) for line in (workshop.path / "epoch" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 5  # of 4 images a step 2 are of the 10, 1 is of the 5, 1 of the 3


def test_images_of_two_sizes_are_refused_before_the_first_step(workshop: Any) -> None:
    said = r"rounds\.source\.source\.sets\.few\.transform: gives images of 96 x 48, that of source\.sets\.clear 64 x 32"
    with pytest.raises(ConfigError, match=said):
        workshop.run(SETS, "source.sets.few.image_size=[96,48]", name="sizes")
    assert not (workshop.path / "sizes" / "checkpoints").exists()


def test_two_sizes_are_no_fault_where_a_micro_batch_is_one_image(workshop: Any) -> None:
    workshop.run(SETS, "source.sets.few.image_size=[96,48]", "accumulation=4", "rounds.source.steps=1", name="single")
    assert (workshop.path / "single" / "checkpoints" / "0-source.pt").exists()


def test_a_set_that_is_not_there_is_named(workshop: Any) -> None:
    with pytest.raises(DataError, match=r"^source\.sets\.few: .*nowhere"):
        workshop.run(SETS, f"source.sets.few={{dataset: folder, root: {workshop.path}/nowhere}}", name="nowhere")


def test_sets_without_a_score_and_those_smaller_than_their_share_are_told(workshop: Any) -> None:
    changes = {**SETS, "rounds": {"adapt": {"steps": 1}}}
    workshop.run(changes, "target.sets.fog={count: 2}", "target.sets.weather.share=1/4", "target.sets.camera.share=1/4", "batch=8", name="told")
    log = (workshop.path / "told" / "log.txt").read_text()
    assert "round 'adapt': note: no set fog under evaluate, so these sets of the target have no score of their own" in log
    assert "round 'adapt': a batch of 8 from the target holds 2 of weather, 2 of camera, 4 of fog" in log
    assert "round 'adapt': 4 images a batch are more than target.sets.fog has (2); they repeat within a batch" in log


@pytest.mark.parametrize("folder", ["labels", "images"])
def test_replacements_that_lack_a_set_are_refused(workshop: Any, folder: str) -> None:
    (workshop.path / "own").mkdir()
    word = {"labels": "target.labels", "images": "source.images"}[folder]
    with pytest.raises(DataError, match=r"no folder .*own/(weather|clear) of replacing"):
        workshop.run({**SETS, "rounds": {"adapt": {"steps": 1}}}, f"{word}={workshop.path}/own", name=folder)


def test_a_batch_knows_its_sets(workshop: Any) -> None:
    method = workshop.write_method("""
from udacore import hookimpl


@hookimpl
def target_loss(step):
    few = sum(name == "few" for name in step.source.set)
    camera = sum(name == "camera" for name in step.target.set)
    step.record("few", few)
    step.record("camera", camera)
""")
    workshop.run({**SETS, "plugin": str(method), "log_every": 1, "rounds": {"adapt": {"steps": 2}}}, name="known")
    rows = [json.loads(line) for line in (workshop.path / "known" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["few"], row["camera"]) for row in rows if "few" in row] == [(1, 1)] * 2


def test_a_sidecar_of_a_set_is_named_by_the_set(workshop: Any) -> None:
    depth = {name: {"extras": {"depth": {"folder": str(Path(workshop.path) / name)}}} for name in SETS["source"]["sets"]}
    with pytest.raises(DataError, match=r"^source\.sets\.clear\.extras\.depth: no folder"):
        workshop.run(SETS, f"source.sets={json.dumps(depth)}", name="depth")
