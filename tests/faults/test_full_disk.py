"""A full disk under each kind of file that a command writes: both are named, and with room it goes on.

The disk is a small tmpfs in a mount namespace of its own. Where the system allows none, the largest size of a
file is set to 0 when the file in question is opened, which the same code meets as `File too large`.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest
import yaml
from tiny_runs import PICTURES, TINY, merge

from udacore.cli import main
from udacore.files import show_bytes
from udacore.testing.interruption import find_differences

PAGE = 4096
SMALL = ["config.yaml", "env.json", "log.txt", "metrics.jsonl"]
FIRST = ["checkpoints/0-a-steps.pt", "checkpoints/0-a.pt"]
CHANGES: dict[str, Any] = {
    "log_every": 1,
    "save_every": 2,
    "rounds": {
        "a": {"steps": 1, "draws": ["source"], "evaluate": {}},
        "b": {"steps": 3, "target": {"labels": "make"}, "evaluate": {"target": {**PICTURES, "count": 1}}},
    },
}


@attrs.frozen
class Case:
    """Where the disk is full.

    named  the file that cannot be written
    there  files that fit, and after them `more` pages
    opened in place of a small disk: the file at whose opening files may grow no more
    """

    named: str
    there: list[str]
    more: int
    opened: str


CASES = [
    Case("config.yaml", [], 1, "config.yaml.part"),
    Case("metrics.jsonl", SMALL[:3], 0, "metrics.jsonl"),
    Case("checkpoints/0-a-steps.pt", SMALL, 3, "0-a-steps.pt.part"),
    Case("rounds/0-a/labels/", [*SMALL, *FIRST], 3, "/labels/"),
]

SHORT = ("checkpoints/0-a-steps.pt",)
"""The case that `make test` tries."""

UNTIL_OPENED = """
import os, resource, sys
name = sys.argv.pop(1)
def forbid(event, arguments):
    if event == "open" and name in str(arguments[0]) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.addaudithook(forbid)
from udacore.cli import main
sys.exit(main())
"""


@functools.cache
def has_own_mounts() -> bool:
    """Whether the system gives this user a mount namespace with a tmpfs in it."""
    if shutil.which("unshare") is None:
        return False
    command = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        "mount -t tmpfs -o size=64k tmpfs /mnt && mount -o remount,size=1m /mnt",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def call_on_small_disk(folder: Path, size: int, opened: str, command: list[str]) -> tuple[int, str]:
    """Exit code and stderr of `uda COMMAND` on a small disk; what it leaves is in `folder` then."""
    folder.mkdir()
    if not has_own_mounts():
        done = _run([sys.executable, "-c", UNTIL_OPENED, opened, *command])
        return done.returncode, done.stderr
    kept, disk = folder.with_name("kept"), shlex.quote(str(folder))
    lines = [
        f"mount -t tmpfs -o size={size} tmpfs {disk} || exit 99",
        f"{shlex.join([sys.executable, '-m', 'udacore', *command])}",
        "code=$?",
        f"cp -a {disk} {shlex.quote(str(kept))} || exit 99",
        "exit $code",
    ]
    done = _run(["unshare", "-rm", "sh", "-c", "\n".join(lines)])
    folder.rmdir()
    kept.rename(folder)
    return done.returncode, done.stderr


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and, in `disk`, a run of it that had room."""
    place = tmp_path_factory.mktemp("whole")
    assert main(["run", str(configure(place))]) == 0
    return place


def configure(place: Path) -> Path:
    path = place / "run.yaml"
    settings = merge(
        {**TINY, "plugin": "source-only", "name": "run", "threads": 1, "folder": str(place / "disk")}, CHANGES
    )
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def pages(path: Path) -> int:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(-(-file.stat().st_size // PAGE) for file in files)


def check_message(err: str, code: int, file: Path, disk: Path, size: int) -> None:
    """One line that names file and disk, and what is left of it; the last one."""
    assert code == 1, err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if "rror" in line]
    assert errors == err.splitlines()[-1:]
    assert errors[0].startswith(f"error: {file}")
    assert len(errors[0]) <= 400
    if has_own_mounts():
        assert ": could not be written: No space left on device (" in errors[0]
        assert f" of {show_bytes(size)} are free on {disk}, tmpfs)" in errors[0]
    else:
        assert ": could not be written: File too large (a process may write no larger file here" in errors[0]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case.named in SHORT else pytest.mark.long, id=case.named) for case in CASES]
)
def test_a_run_names_file_and_disk_and_goes_on_with_room(case: Case, whole: Path) -> None:
    place = whole.with_name(
        whole.name.replace("whole", "again")
    )  # as long: the path stands in the configuration
    place.mkdir()
    try:
        command = ["run", str(configure(place))]
        disk = place / "disk"
        size = PAGE * (sum(pages(whole / "disk" / "run" / name) for name in case.there) + case.more)
        code, err = call_on_small_disk(disk, size, case.opened, command)
        # metrics.jsonl stays open from the start: another file is the next to be written
        named = "env.json" if case.named == "metrics.jsonl" and not has_own_mounts() else case.named
        check_message(err, code, disk / "run" / named, disk, size)
        assert err.rstrip().endswith("; make room and go on with --resume")
        assert list(disk.rglob("*.part")) == []
        assert main([*command, "--resume"]) == 0
        assert find_differences(whole / "disk" / "run", disk / "run") == []
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("room", [pytest.param(1, marks=pytest.mark.long), 2])
def test_predict_names_file_and_disk_and_goes_on_with_room(room: int, whole: Path, tmp_path: Path) -> None:
    """A result takes a page, and so does the record: with one page there is a result without a record."""
    pictures = tmp_path / "in"
    pictures.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        cv2.imwrite(str(pictures / f"{number}.png"), rng.integers(0, 255, (32, 64, 3), np.uint8))
    disk = tmp_path / "out"
    command = ["predict", str(whole / "disk" / "run"), str(pictures), "--out"]
    opened = {1: ".uda-predict.jsonl", 2: "1.png.part"}[room]
    code, err = call_on_small_disk(disk, PAGE * room, opened, [*command, str(disk)])
    check_message(err, code, disk / opened.removesuffix(".part"), disk, PAGE * room)
    assert main([*command, str(disk)]) == 0
    assert main([*command, str(tmp_path / "roomy")]) == 0
    found, expected = (
        {path.name: path.read_bytes() for path in folder.glob("*.png")}
        for folder in (disk, tmp_path / "roomy")
    )
    assert found == expected
    assert len(found) == 3


@pytest.mark.long
def test_a_video_of_which_the_disk_took_a_part_is_no_result(whole: Path, tmp_path: Path) -> None:
    """OpenCV says nothing of a full disk."""
    video, disk = tmp_path / "drive.avi", tmp_path / "out"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 32))
    for frame in np.random.default_rng(2).integers(0, 255, (12, 32, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    command = ["predict", str(whole / "disk" / "run"), str(video), "--out", str(disk)]
    code, err = call_on_small_disk(disk, PAGE, ".uda-predict.jsonl", command)
    if has_own_mounts():
        check_message(err, code, disk / "drive.mp4", disk, PAGE)
        assert list(disk.iterdir()) == []
    else:  # the largest size of a file holds for the record alone: the result that it lacks is taken back
        check_message(err, code, disk / ".uda-predict.jsonl", disk, PAGE)
    assert main(command) == 0
    assert cv2.VideoCapture(str(disk / "drive.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12
