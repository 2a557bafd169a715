"""A run killed at any moment and resumed is bit-identical to one that was left alone."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked

from udacore.cli import main

ADAPT = {"trains": ["segmenter", "critic"], "keep": "best", "target": {"labels": "make"}, "source": {"images": "source"}}
CHANGES: dict[str, Any] = {
    "evaluate": {"target": {"every": 4}},
    "parts": {"critic": {"optimizer": "SGD", "lr": 0.01, "options": {"momentum": 0.9}}},
    "rounds": {
        "source": {"steps": 8, "draws": ["source"]},
        "adapt": {"steps": 9, **ADAPT},
        "again": {"steps": 8, **ADAPT, "weights": {"segmenter": "best", "critic": "previous"}, "update": "alternate"},
    },
}


def count_files(folder: Path) -> int:
    return len(list(folder.rglob("*.png"))) if folder.exists() else 0


def reaches(round_name: str, step: int) -> Callable[[Path], bool]:
    """Whether the metrics have got to a log line or evaluation."""
    text = f'"round": "{round_name}", "step": {step}'

    def look(folder: Path) -> bool:
        path = folder / "metrics.jsonl"
        return path.exists() and text in path.read_text()

    return look


def writes(overlay: str, count: int) -> Callable[[Path], bool]:
    """Whether so many files of a round's overlay are there."""
    return lambda folder: count_files(folder / "rounds" / overlay) >= count


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "source: first steps": lambda folder: (folder / "env.json").exists(),
    "source: steps": reaches("source", 4),
    "source: on_round_end": writes("0-source/images", 4),
    "source: labels": writes("0-source/labels", 3),
    "adapt: steps": reaches("adapt", 8),
    "adapt: on_round_end": writes("1-adapt/images", 6),
    "adapt: labels": writes("1-adapt/labels", 5),
    "again: steps": reaches("again", 4),
    "again: on_round_end": writes("2-again/images", 2),
}

FEW = ("source: steps", "source: labels", "adapt: on_round_end", "again: steps")


def kill_when(process: Forked, is_time: Callable[[], bool], delay: float) -> None:
    """SIGKILL a moment after something is seen; the process must still be at work."""
    deadline = time.monotonic() + 90
    while not is_time():
        assert process.poll() is None, f"ended before it was killed: {process.communicate()[1][-2000:]}"
        assert time.monotonic() < deadline, "was not reached"
        time.sleep(0.002)
    time.sleep(delay)
    assert process.poll() is None, "ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def contents(folder: Path) -> dict[str, Any]:
    """All that must not depend on interruptions: tensors of checkpoints, metrics, labels, images."""
    found: dict[str, Any] = {"metrics": (folder / "metrics.jsonl").read_bytes()}
    for path in sorted((folder / "checkpoints").glob("[0-9]*.pt")):
        state = torch.load(path, weights_only=True)["model"]
        found |= {f"{path.stem}:{key}": value.numpy().tobytes() for key, value in state.items()}
    for path in sorted((folder / "rounds").rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def assert_equal(one: Path, two: Path) -> None:
    first, second = contents(one), contents(two)
    assert first.keys() == second.keys()
    assert [key for key in first if first[key] != second[key]] == []


@pytest.fixture(scope="session")
def undisturbed(make_workshop: Callable[[], Any]) -> Any:
    """The workshop of a run that nobody disturbed, under `run`."""
    workshop = make_workshop()
    done = workshop.call(workshop.write({**CHANGES, "plugin": str(workshop.method)}))
    assert done.returncode == 0, done.stderr
    return workshop


@pytest.mark.slow
@pytest.mark.parametrize("moments", [FEW, pytest.param(tuple(MOMENTS), marks=pytest.mark.long)], ids=["few", "all"])
def test_a_run_killed_in_every_round_and_phase_ends_bit_identical(undisturbed: Any, moments: tuple[str, ...]) -> None:
    workshop, draws, name = undisturbed, random.Random(0), f"killed-{len(moments)}"
    config = workshop.write({**CHANGES, "plugin": str(workshop.method), "method": {"pause": 0.04}}, name)
    folder = workshop.path / name
    for moment in moments:
        is_time = MOMENTS[moment]
        process = workshop.start(config, "--resume")
        kill_when(process, partial(is_time, folder), draws.uniform(0, 0.05))
        assert not (folder / "checkpoints" / "2-again.pt").exists(), moment
    done = workshop.call(config, "--resume")
    assert done.returncode == 0, done.stderr
    assert_equal(undisturbed.path / "run", folder)
    assert (folder / "rounds" / "1-adapt" / "labels" / "manifest.json").exists()
    assert count_files(folder / "rounds" / "1-adapt" / "labels") == 9


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_and_ends_with_143(undisturbed: Any) -> None:
    workshop = undisturbed
    config = workshop.write({**CHANGES, "plugin": str(workshop.method), "method": {"pause": 0.02}, "save_every": 1000}, "stopped")
    folder = workshop.path / "stopped"
    process = workshop.start(config)
    while not reaches("source", 4)(folder):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.splitlines()[-1].startswith("error: stopped by SIGTERM at round 'source', step ")
    assert torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["step"] >= 4
    done = workshop.call(config, "--resume")
    assert done.returncode == 0, done.stderr
    assert "goes on at step" in done.stderr
    assert_equal(workshop.path / "run", folder)


def test_a_finished_run_is_left_alone_by_resume_and_refused_without(undisturbed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(undisturbed.path / "run")
    assert main(["run", str(undisturbed.path / "run.yaml"), "--resume"]) == 0
    assert "again on target" in capsys.readouterr().out
    assert contents(undisturbed.path / "run") == before
    assert main(["run", str(undisturbed.path / "run.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {undisturbed.path / 'run'}: the run folder exists; go on with --resume")


def test_other_settings_are_refused_in_one_line_and_free_ones_are_not(undisturbed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = undisturbed.path / "run"
    before = contents(folder)
    assert main(["run", str(undisturbed.path / "run.yaml"), "--resume", "seed=4", "rounds.adapt.batch=2"]) == 2
    assert capsys.readouterr().err == (
        f"error: --resume: {folder} was begun with other settings: seed, rounds.adapt.batch; use those, or --force to begin again\n"
    )
    assert main(["run", str(undisturbed.path / "run.yaml"), "--resume", "workers=1", "save_every=7"]) == 0
    assert contents(folder) == before


def crash_at(step: int, loss: str = "source_loss") -> str:
    """A method that ends the run like a kill would, in the middle of a step, as long as the
    file `crash` lies beside it."""
    return f"""
from functools import partial
from pathlib import Path
from udacore import hookimpl, source_only

@hookimpl
def {loss}(step):
    if step.round.name == "adapt" and step.index == {step} and Path(__file__).with_name("crash").exists():
        raise KeyboardInterrupt
    return source_only.{loss}(step)
"""


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"update": "accumulate", "accumulation": 2, "workers": 1}, 5),
        ({"update": "joint", "source": {"sampler": {"name": "replacement"}}}, 1),
        ({"update": "alternate", "save_every": 4, "log_every": 3}, 7),
        ({"update": "joint", "steps": "3 epochs", "save_every": 1}, 3),
    ],
    ids=["accumulation and workers", "before the first checkpoint", "alternate", "epochs"],
)
def test_every_kind_of_update_resumes_exactly(workshop: Any, settings: dict[str, Any], step: int) -> None:
    run = {key: value for key, value in settings.items() if key in ("workers", "save_every", "log_every")}
    adapt = {"steps": 8, "target": {"labels": "make"}, **{key: value for key, value in settings.items() if key not in run}}
    plugin = workshop.write_method(crash_at(step, "target_loss"))
    changes = {**run, "plugin": str(plugin), "rounds": {"source": {"steps": 2, "draws": ["source"]}, "adapt": adapt}}
    workshop.run(changes, name="whole")
    (workshop.path / "crash").touch()
    with pytest.raises(KeyboardInterrupt):
        workshop.run(changes, name="broken")
    (workshop.path / "crash").unlink()
    workshop.run(changes, name="broken", resume=True)
    assert_equal(workshop.path / "whole", workshop.path / "broken")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_keeps_the_old_checkpoint(workshop: Any) -> None:
    """Files may grow to 1.2 MB: the round's model fits, the checkpoint under way
    with its optimiser does not."""
    changes = {"rounds": {"source": {"steps": 4, "draws": ["source"], "evaluate": {}}, "more": {"steps": 9, "draws": ["source"]}}, "save_every": 5}
    config = workshop.write(changes)
    process = workshop.start(config, limit=(resource.RLIMIT_FSIZE, 1_200_000))
    _, err = process.communicate(timeout=60)
    folder = workshop.path / "run" / "checkpoints"
    assert process.returncode == 1, err
    assert [line for line in err.splitlines() if "rror" in line] == [err.splitlines()[-1]]
    assert err.splitlines()[-1].startswith(f"error: {folder / 'last.pt'}: could not be written: File too large")
    assert sorted(path.name for path in folder.iterdir()) == ["0-source-steps.pt", "0-source.pt"]
    done = workshop.call(config, "--resume")
    assert done.returncode == 0, done.stderr
    workshop.run(changes, name="roomy")
    assert_equal(workshop.path / "roomy", workshop.path / "run")
