"""A byte that changed on the disk is never trained on: the file is named, and how the run goes on."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from udacore.errors import UdaError
from udacore.testing.interruption import DeathError, dying_before_labels, dying_in, find_differences

CHANGES: dict[str, Any] = {
    "parts": {"critic": {"optimizer": "SGD", "lr": 0.01}},
    "rounds": {
        "a": {"steps": 6, "draws": ["source"]},
        "b": {"steps": 5, "target": {"labels": "make"}, "source": {"images": "a"}},
    }
}


def changes_of(workshop: Any) -> dict[str, Any]:
    return {**CHANGES, "plugin": str(workshop.method)}


@pytest.fixture(scope="module")
def whole(make_workshop: Any) -> Any:
    """An undisturbed run."""
    workshop = make_workshop()
    workshop.run(changes_of(workshop))
    return workshop


@pytest.fixture(scope="module")
def killed(make_workshop: Any) -> Any:
    """A run that died in its second round, after a checkpoint there."""
    workshop = make_workshop()
    with dying_in("b"), pytest.raises(DeathError):
        workshop.run(changes_of(workshop))
    return workshop


@pytest.fixture
def broken(killed: Any, workshop: Any) -> Any:
    """A copy of the killed run to damage."""
    shutil.copytree(killed.path / "run", workshop.path / "run")
    workshop.method = killed.method  # the folder's configuration names it
    return workshop


def flip(path: Path, seed: int) -> None:
    """Change one bit in the middle of a file, where its tensors or pixels lie."""
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    content[rng.randrange(len(content) // 4, 3 * len(content) // 4)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_in_the_newest_checkpoint_is_named_with_the_way_on(broken: Any, whole: Any, seed: int) -> None:
    last = broken.path / "run" / "checkpoints" / "last.pt"
    flip(last, seed)
    with pytest.raises(UdaError) as caught:
        broken.run(changes_of(broken), resume=True)
    said = str(caught.value)
    assert f"{last}: not a readable checkpoint (damaged: " in said
    assert "; delete it and start the same command with --resume: the run goes on from 0-a.pt, which is sound" in said
    if seed == 0:  # what it says is true
        last.unlink()
        broken.run(changes_of(broken), resume=True)
        assert find_differences(whole.path / "run", broken.path / "run") == []


def test_the_checkpoint_of_an_earlier_round_is_verified_too(broken: Any) -> None:
    (broken.path / "run" / "checkpoints" / "last.pt").unlink()
    flip(broken.path / "run" / "checkpoints" / "0-a.pt", 1)
    with pytest.raises(UdaError, match=r"0-a\.pt: not a readable checkpoint \(damaged: .*goes on from 0-a-steps\.pt"):
        broken.run(changes_of(broken), resume=True)


@pytest.mark.parametrize("kind", ["labels", "images"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_file_of_an_overlay_is_written_anew_on_resume(
    broken: Any, whole: Any, kind: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted((broken.path / "run" / "rounds" / "0-a" / kind).rglob("*.png"))[1]
    if how == "flipped":
        flip(path, 3)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.unlink()
    broken.run(changes_of(broken), resume=True)
    assert f"round 'a': 1 of its {kind} were damaged or gone, and are written anew: " in capsys.readouterr().err
    assert find_differences(whole.path / "run", broken.path / "run") == []


def test_a_label_damaged_while_the_run_goes_on_is_an_error_that_names_it(broken: Any) -> None:
    def damage() -> None:
        for path in (broken.path / "run" / "rounds" / "0-a" / "labels").rglob("*.png"):
            flip(path, 5)

    shutil.rmtree(broken.path / "run")
    with dying_before_labels("b"):
        broken.run(changes_of(broken), only="a")
    damage()
    with pytest.raises(UdaError, match=r"label .*/labels/.*\.png is damaged: chunk \w+ differs .*; .*--resume writes it anew"):
        broken.run(changes_of(broken), only="b")


def test_a_damaged_cache_of_statistics_is_counted_anew(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    changes = {"source": {"sampler": {"name": "class_balanced"}}, "rounds": {"a": {"steps": 1, "draws": ["source"]}}}
    workshop.run(changes)
    (cache,) = (tmp_path / "cache").glob("statistics-*.npz")
    content = cache.read_bytes()
    flip(cache, 2)
    workshop.run(changes, force=True)
    assert f"{cache} is damaged and is made anew" in caplog.text
    assert cache.read_bytes() == content
