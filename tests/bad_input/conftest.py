"""The corpus of bad input: each case is a row of a command, its exit code and the words
that its message must hold.

`refused` runs one command and checks what all of them have in common: one line on stderr, no traceback,
nothing on stdout, no line longer than 400 characters, and no file changed but those that a case allows.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from udacore.cli import main
from udacore.testing.formats import write_cityscapes, write_gta5

sys.path.append(str(Path(__file__).resolve().parent))

from run_folder import killed as killed
from run_folder import run as run
from run_folder import saved as saved
from run_folder import work as work

Refused = Callable[..., str]

LONGEST_LINE = 400
MEMORY = 6 * 2**30
"""Bytes of address space beyond which a process of its own is refused memory; torch's
libraries take about 3 GiB."""

GTA5 = (
    "gta5-cityscapes source.root=gta5 target.root=cityscapes evaluate.target.root=cityscapes"
    " source.transform.resize.size=[48,24] evaluate.target.size=[48,24] model.name=small initial=random"
    " rounds.source.steps=2 batch=2 device=cpu workers=0 tensorboard=false name=bad"
)
"""A run of two steps on miniatures of GTA5 and Cityscapes."""

STREETS = (
    "streets device=cpu threads=1 workers=0 tensorboard=false rounds.source.steps=1 batch=1 source.count=2"
    " source.image_size=[64,32] evaluate.target.count=1 evaluate.target.image_size=[64,32] evaluate.source=null name=bad"
)
"""A run of one step on tiny images of the embedded domains."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the cache lies beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UDACORE_DATA", "none")
    return folder


@pytest.fixture
def data(folder: Path) -> Path:
    """The working folder with miniatures of GTA5 and Cityscapes, as the command `GTA5` reads them."""
    write_gta5(folder / "gta5", sizes=((67, 35),))
    write_cityscapes(folder / "cityscapes", {"val": 2}, size=(64, 32))
    return folder


@pytest.fixture
def refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """`refused(command, code, *said, writes=())`: run a command that must fail and return its
    error without `error: `.

    command  words after `uda`: one text that a shell would split, or a sequence; `{GTA5}` and `{STREETS}`
             stand for the runs above
    code     exit code
    said     words that the message must hold, each of them
    writes   patterns of files, relative to the working folder, that may appear or change
    alone    run in a process of its own, with a limit of memory and 120 seconds
    """

    def refused(
        command: str | Sequence[str], code: int, *said: str, writes: Sequence[str] = (), alone: bool = False
    ) -> str:
        words = shlex.split(command.format(GTA5=GTA5, STREETS=STREETS)) if isinstance(command, str) else list(command)
        before = contents(folder)
        capfd.readouterr()
        if alone:
            found, out, err = run_alone(words, folder)
        else:
            found = main(words)
            out, err = capfd.readouterr()
        assert found == code, f"exit code {found}\n{out}{err}"
        assert out == ""
        message = one_error(err)
        for text in said:
            assert text in message
        after = contents(folder)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        assert {name for name in changed if not any(fnmatch(name, pattern) for pattern in writes)} == set()
        return message

    return refused


def one_error(err: str) -> str:
    """The error that a command printed: its last line, or the last lines where
    several problems are listed."""
    assert "Traceback" not in err
    lines = err.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert len(starts) == 1, err
    error = lines[starts[0] :]
    assert all(line.startswith("  ") for line in error[1:]), err
    assert max(len(line) for line in lines) <= LONGEST_LINE
    return "\n".join(error).removeprefix("error: ")


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file below a folder; links and folders by what they are."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"link {os.readlink(path)}"
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "other"
    return found


def run_alone(words: Sequence[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in a process of its own."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, "-m", "udacore", *words],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
