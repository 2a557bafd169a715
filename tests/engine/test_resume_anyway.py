"""What changed between a kill and --resume: refused by name if it may change the outcome, told if not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from udacore.cli import main
from udacore.errors import ConfigError
from udacore.testing.formats import write_streets
from udacore.testing.interruption import DeathError, dying_in, find_differences

SIZE = (64, 32)


def changes_of(root: Path, method: Path) -> dict[str, Any]:
    files = {"dataset": "folder", "count": None}
    return {
        "plugin": str(method), "source": {**files, "root": str(root / "source")}, "target": {**files, "root": str(root / "target")},
        "evaluate": {"target": {**files, "root": str(root / "val"), "batch": 2}},
        "parts": {"critic": {"optimizer": "SGD", "lr": 0.01}},
        "rounds": {"source": {"steps": 4, "draws": ["source"]}, "adapt": {"steps": 5, "target": {"labels": "make"}}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def killed(make_workshop: Any) -> Any:
    """A run on files that died in its second round, and `whole`, the same undisturbed."""
    workshop = make_workshop()
    root = workshop.path / "data"
    write_streets(root / "source", "source", 6, size=SIZE)
    write_streets(root / "target", "target", 5, size=SIZE)
    write_streets(root / "val", "target", 2, split="val", size=SIZE)
    changes = changes_of(root, workshop.method)
    workshop.run(changes, name="whole")
    with dying_in("adapt"), pytest.raises(DeathError):
        workshop.run(changes)
    return workshop


@pytest.fixture
def copy(killed: Any, workshop: Any) -> Any:
    """The killed run and its data, moved here: to be changed."""
    shutil.copytree(killed.path / "run", workshop.path / "run")
    shutil.copytree(killed.path / "data", workshop.path / "data")
    workshop.method = killed.method
    return workshop


def resume(workshop: Any, **choices: Any) -> Any:
    return workshop.run(changes_of(workshop.path / "data", workshop.method), resume=True, **choices)


def env(workshop: Any) -> Any:
    return json.loads((workshop.path / "run" / "env.json").read_text())


def remove(data: Path) -> None:
    (data / "source" / "images" / "00002.png").unlink()
    (data / "source" / "labels" / "00002.png").unlink()


def add(data: Path) -> None:
    shutil.copy(data / "target" / "images" / "00001.png", data / "target" / "images" / "00001b.png")


def rename(data: Path) -> None:
    (data / "target" / "images" / "00001.png").rename(data / "target" / "images" / "00001b.png")


def swap(data: Path) -> None:
    one, other = (data / "target" / "images" / f"0000{number}.png" for number in (0, 3))
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


def paint(data: Path) -> None:
    """One pixel of a large label, with the times of the file as they were."""
    path = data / "val" / "labels" / "00001.png"
    times = path.stat()
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[3, 4] = 255 if label[3, 4] != 255 else 0
    cv2.imwrite(str(path), label)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DATA: list[tuple[Callable[[Path], None], str]] = [
    (remove, "rounds.source.source: 6 images, now 5, first difference at '00003'"),
    (add, "rounds.adapt.target: 5 images, now 6, first difference at '00001b'"),
    (rename, "rounds.adapt.target: 1 of 5 names, images or labels changed, first difference at '00001b'"),
    (swap, "rounds.adapt.target: 2 of 5 names, images or labels changed, first difference at '00000'"),
    (paint, "rounds.source.evaluate.target: 1 of 2 names, images or labels changed, first difference at '00001'"),
]


@pytest.mark.parametrize(("change", "said"), DATA, ids=lambda value: getattr(value, "__name__", None))
def test_data_that_changed_is_refused_by_name(copy: Any, change: Callable[[Path], None], said: str) -> None:
    change(copy.path / "data")
    before = {path: path.read_bytes() for path in (copy.path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as refused:
        resume(copy)
    assert said in str(refused.value)
    assert "--resume-anyway" in str(refused.value)
    after = {path: path.read_bytes() for path in (copy.path / "run").rglob("*") if path.is_file()}
    assert after == before


def set_key(content: Any, where: str, value: Any) -> None:
    *parents, last = where.split("/")
    for key in parents:
        content = content[key]
    content[last] = value


DECISIVE = [
    ("versions/torch", "2.5.0", "torch 2.5.0, now "),
    ("versions/udacore", "0.0.9", "udacore 0.0.9, now "),
    ("versions/pillow", "9.9", "pillow 9.9, now "),
    ("plugin/version", "0.7", "version 0.7, now None"),
    ("plugin/code", "an older file", "the code of plugin 'strange'"),
    ("threads", 7, "threads 7, now 1"),
    ("device", "NVIDIA A100", "device NVIDIA A100, now cpu"),
]


@pytest.mark.parametrize(("where", "value", "said"), DECISIVE)
def test_what_computes_differently_is_refused_by_name(copy: Any, where: str, value: Any, said: str) -> None:
    content = env(copy)
    set_key(content, where, value)
    (copy.path / "run" / "env.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=said):
        resume(copy)


def test_what_changes_no_outcome_is_told(copy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    content = env(copy)
    set_key(content, "versions/python", "3.10.1")
    set_key(content, "git", "abc")
    (copy.path / "run" / "env.json").write_text(json.dumps(content))
    resume(copy)
    said = capsys.readouterr().err
    assert "--resume: python 3.10.1, now 3." in said
    assert "--resume: git abc, now " in said
    assert [entry["versions"]["python"] for entry in env(copy)["history"]] == ["3.10.1"]


def test_moved_data_and_a_renamed_folder_of_equal_contents_resume_to_the_same_end(copy: Any, killed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (copy.path / "run").rename(copy.path / "renamed")
    copy.run(changes_of(copy.path / "data", copy.method), name="renamed", resume=True)
    assert find_differences(killed.path / "whole", copy.path / "renamed") == []
    assert f"--resume: rounds.source.source lies in {copy.path / 'data/source/images'} now" in capsys.readouterr().err


def test_resume_anyway_goes_on_and_records_both(copy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    remove(copy.path / "data")
    was = env(copy)
    resume(copy, anyway=True)
    assert "--resume-anyway: rounds.source.source: 6 images, now 5" in (copy.path / "run" / "log.txt").read_text()
    now = env(copy)
    assert [entry["files"]["rounds.source.source"]["count"] for entry in (*now["history"], now)] == [6, 5]
    assert now["history"][0]["versions"] == was["versions"]
    resume(copy)  # what was accepted once is what is compared with from then on
    assert len(env(copy)["history"]) == 1


def test_a_finished_run_is_shown_after_a_change_that_can_change_nothing(killed: Any, workshop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(killed.path / "whole", workshop.path / "run")
    shutil.copytree(killed.path / "data", workshop.path / "data")
    workshop.method = killed.method
    content = env(workshop)
    set_key(content, "versions/torch", "2.5.0")
    (workshop.path / "run" / "env.json").write_text(json.dumps(content))
    assert resume(workshop)
    assert "--resume: torch 2.5.0, now " in capsys.readouterr().err
    assert env(workshop) == content


def test_one_round_is_compared_as_a_resumed_run_is(copy: Any, killed: Any) -> None:
    content = env(copy)
    set_key(content, "versions/torch", "2.5.0")
    (copy.path / "run" / "env.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"^--round adapt: .*torch 2\.5\.0, now "):
        copy.run(changes_of(killed.path / "data", copy.method), only="adapt")


def test_without_env_json_a_moved_data_root_is_another_setting(copy: Any, killed: Any) -> None:
    (copy.path / "run" / "env.json").unlink()
    with pytest.raises(ConfigError, match=r"other settings: .*source\.root"):
        resume(copy)  # without checksums another folder is another setting


@pytest.mark.parametrize("place", ["weights", "initial"])
def test_a_file_of_weights_with_another_content_is_refused_by_the_setting_that_names_it(workshop: Any, place: str) -> None:
    workshop.run({"rounds": {"a": {"steps": 1, "draws": ["source"]}}}, name="first")
    file = workshop.path / "start.pt"
    shutil.copy(workshop.path / "first" / "checkpoints" / "0-a.pt", file)
    changes = {"rounds": {"a": {"steps": 3, "draws": ["source"], place: str(file)}}, "parts": {"critic": {"optimizer": "SGD", "lr": 0.01}}}
    with dying_in("a"), pytest.raises(DeathError):
        workshop.run(changes)
    content = torch.load(file, weights_only=True)
    next(value for value in content["model"].values() if value.is_floating_point()).mul_(2)
    torch.save(content, file)
    with pytest.raises(ConfigError, match=rf"rounds\.a\.{place}: the content of the file"):
        workshop.run(changes, resume=True)
    assert workshop.run(changes, anyway=True)


CONFLICTS = [
    ("--resume", "--force"), ("--resume-anyway", "--force"), ("--resume-anyway", "--round", "source"), ("--dry-run", "--round", "source"),
    ("--dry-run", "--resume"), ("--dry-run", "--resume-anyway"), ("--dry-run", "--force"), ("--dry-run", "--json"),
]  # fmt: skip


@pytest.mark.parametrize("options", CONFLICTS, ids="+".join)
def test_options_that_exclude_each_other_are_refused(workshop: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    config = workshop.write({})
    assert main(["run", str(config), *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "exclude each other" in said
    assert not (workshop.path / "run").exists()
