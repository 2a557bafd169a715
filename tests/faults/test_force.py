"""--force deletes what a run wrote and nothing else, and the old run only once the new one can go on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udacore.engine.files import own_files
from udacore.errors import ConfigError, UdaError
from udacore.testing.interruption import DeathError, dying_in

CHANGES: dict[str, Any] = {"rounds": {"a": {"steps": 4, "draws": ["source"]}}}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first(make_workshop: Any) -> Any:
    workshop = make_workshop()
    workshop.run(CHANGES)
    return workshop


@pytest.fixture
def used(first: Any, workshop: Any) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(first.path / "run", workshop.path / "run"))


def add_file(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a thesis": (lambda run: add_file(run, "thesis.tex"), "thesis.tex"),
    "a folder": (lambda run: add_file(run, "src/train.py"), "src"),
    "a file among the checkpoints": (lambda run: add_file(run, "checkpoints/resnet.pt"), "checkpoints/resnet.pt"),
    "a folder among the rounds": (lambda run: add_file(run, "rounds/notes/a.txt"), "rounds/notes"),
    "a link": (lambda run: (run / "data").symlink_to(run.parent), "data"),
    "a link in place of a folder": (
        lambda run: (shutil.rmtree(run / "rounds"), (run / "rounds").symlink_to(run.parent)),
        "rounds",
    ),
    "another program's configuration": (lambda run: add_file(run, "config.yaml"), "a config.yaml that no run has written"),
    "a configuration of a foreign form": (
        lambda run: (run / "config.yaml").write_text("plugin: x\nseed: 1\nrounds: 3\n"),
        "a config.yaml that no run has written",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_folder_that_holds_anything_else_is_left_alone(what: str, used: Path, workshop: Any) -> None:
    change, said = FOREIGN[what]
    change(used)
    before = contents(used)
    with pytest.raises(ConfigError, match=f"{used} is not a run folder: it holds {said}"):
        workshop.run(CHANGES, force=True)
    assert contents(used) == before


@pytest.mark.parametrize("words", [("folder=.", "name=project"), ("folder=..", "name=here")])
def test_a_project_of_the_users_is_left_alone(
    words: tuple[str, str], workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / "here" / "project", tmp_path / "here"):
        add_file(place, "config.yaml")
        add_file(place, "thesis.tex")
    monkeypatch.chdir(tmp_path / "here")
    before = contents(tmp_path / "here")
    with pytest.raises(ConfigError, match=r"is not a run folder: it holds a config\.yaml that no run has written"):
        workshop.run(CHANGES, *words, force=True)
    assert contents(tmp_path / "here") == before


def test_a_file_in_the_place_of_the_folder_is_named(workshop: Any) -> None:
    (workshop.path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="run is a file, not a folder; choose another with name="):
        workshop.run(CHANGES, force=True)
    assert (workshop.path / "run").read_text() == "mine"


def test_the_old_run_is_there_until_the_new_one_has_a_checkpoint(used: Path, workshop: Any) -> None:
    before = {name: content for name, content in contents(used).items() if name != own_files.LOCK}
    seen = []

    def look() -> None:
        seen.append(contents(used / own_files.REPLACED))

    with dying_in("a", look, step=0), pytest.raises(DeathError):
        workshop.run(CHANGES, force=True)
    assert seen == [before]
    with dying_in("a", look, step=1), pytest.raises(DeathError):  # begun again: still the first one is kept
        workshop.run(CHANGES, force=True)
    assert seen == [before, before]
    with dying_in("a", look, step=3), pytest.raises(DeathError):
        workshop.run(CHANGES, resume=True)
    assert seen[2] == {}  # a checkpoint was written after the third step
    workshop.run(CHANGES, resume=True)
    assert not (used / own_files.REPLACED).exists()
    assert set(contents(used)) == {*before, own_files.LOCK}


@pytest.mark.parametrize("moved", [0, 2, 100])
def test_a_kill_while_the_old_run_is_moved_aside_is_undone(
    moved: int, used: Path, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename, calls = contents(used), Path.rename, []

    def rename_or_die(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) > moved or self.name.endswith(".part"):
            raise DeathError
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        with pytest.raises(DeathError):
            workshop.run(CHANGES, force=True)
    assert workshop.run(CHANGES, resume=True)
    after = contents(used)
    for found in (before, after):
        del found["config.yaml"]  # it names the folder, which was another one when the run was made
    assert after == before


def test_a_folder_with_nothing_but_a_claim_is_begun(workshop: Any) -> None:
    """What version 0.1 left of a run that was killed before its configuration was written."""
    for name in (".lock", "config.yaml", "config.yaml.part"):
        add_file(workshop.path / "run", name)
        (workshop.path / "run" / name).write_text("")
    results = workshop.run(CHANGES, resume=True)
    assert [result.step for result in results] == [4]


def test_a_full_disk_at_the_configuration_leaves_a_folder_that_can_be_begun(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("udacore.engine.files.folder.write_text", fill)
        with pytest.raises(UdaError, match="No space left on device"):
            workshop.run(CHANGES)
    assert workshop.run(CHANGES)


@pytest.mark.slow
def test_a_process_killed_while_it_begins_anew_goes_on(used: Path, workshop: Any) -> None:
    process = workshop.start(workshop.write({**CHANGES, "rounds": {"a": {"steps": 400, "draws": ["source"]}}}), "--force")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("round 'a'"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert (used / "config.yaml").stat().st_size
    assert workshop.run(CHANGES, force=True)
    assert not (used / own_files.REPLACED).exists()
