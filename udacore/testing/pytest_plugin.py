"""Pytest fixtures: miniature data sets and the command line.

Loaded only when asked for: `pytest_plugins = ["udacore.testing.pytest_plugin"]` in the conftest.py beside the
configuration of pytest, or `pytest -p udacore.testing.pytest_plugin`.

    def test_my_method_runs(run_uda, tiny_gta5, tiny_cityscapes):
        done = run_uda("run", "--plugin", "my-method", "gta5-cityscapes", f"source.root={tiny_gta5}",
        f"target.root={tiny_cityscapes}", "--dry-run") assert done.code == 0, done.err
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest


@pytest.fixture
def tiny_streets(tmp_path: Path) -> Path:
    """The embedded domains as files, 64 x 32: `<root>/{source,target}/{train,val}/{images,labels}/00000.png`.

    Four images to train on and two to evaluate of each domain; labels are class ids of `streets`, 255 =
    ignore. A root for `dataset: folder` is one of the four folders, such as `<root>/source/train`.
    """
    from udacore.testing.formats import write_streets

    root = tmp_path / "tiny-streets"
    for split, count in (("train", 4), ("val", 2)):
        write_streets(root / "source" / split, "source", count, split=split)
        write_streets(root / "target" / split, "target", count, split=split)
    return root


@pytest.fixture
def tiny_gta5(tmp_path: Path) -> Path:
    """A root for `dataset: gta5`: three images of about 191 x 105 in three sizes,
    labels as palette PNG of raw ids."""
    from udacore.testing.formats import write_gta5

    root = tmp_path / "tiny-gta5"
    write_gta5(root)
    return root


@pytest.fixture
def tiny_synthia(tmp_path: Path) -> Path:
    """A root for `dataset: synthia`: three images of 128 x 76 below `RAND_CITYSCAPES`, labels in 16-bit
    RGB (class, instance, 0)."""
    from udacore.testing.formats import write_synthia

    root = tmp_path / "tiny-synthia"
    write_synthia(root)
    return root


@pytest.fixture
def tiny_cityscapes(tmp_path: Path) -> Path:
    """A root for `dataset: cityscapes`: three images of 128 x 64 to train on, two to evaluate, in cities
    of their own, with `gtFine`."""
    from udacore.testing.formats import write_cityscapes

    root = tmp_path / "tiny-cityscapes"
    write_cityscapes(root)
    return root


@attrs.frozen(kw_only=True)
class Outcome:
    """How a command ended: exit code, stdout, stderr, and the folder that it ran in."""

    code: int
    out: str
    err: str
    folder: Path


@attrs.frozen
class RunUda:
    """The command line in a clean folder; see the fixture `run_uda`."""

    folder: Path

    def __call__(self, *words: Any, process: bool = False, processes: int = 1, timeout: float = 120) -> Outcome:
        """Carry out `uda WORDS`; each word is turned into text.

        process    in a process of its own: twice as slow to begin with, and nothing is shared with the test
        processes  number of processes that train together, started by torchrun;
                   more than one implies `process`
        timeout    seconds after which such a process is ended; subprocess.TimeoutExpired
        """
        texts = [str(word) for word in words]
        return self._start(texts, processes, timeout) if process or processes > 1 else self._call(texts)

    def _call(self, words: list[str]) -> Outcome:
        from udacore.cli import main

        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except Exception:  # what ends a process with a traceback
                traceback.print_exc()
                code = 1
        return Outcome(code=code, out=out.getvalue(), err=err.getvalue(), folder=self.folder)

    def _start(self, words: list[str], processes: int, timeout: float) -> Outcome:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "udacore", *words]
        environment = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr, folder=self.folder)


@pytest.fixture
def run_uda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunUda:
    """The command line: `run_uda("run", "--plugin", "my-method", "steps=2")` gives `.code`,
    `.out`, `.err` and `.folder`.

    The folder is empty at first and the same for all calls of a test: what one call left behind (`runs/...`),
    the next one finds. Caches lie elsewhere, and `$UDACORE_DATA` is not looked at. In this process by
    default; see `RunUda.__call__`.
    """
    folder = tmp_path / "uda"
    folder.mkdir()
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "uda-cache"))
    monkeypatch.delenv("UDACORE_DATA", raising=False)
    return RunUda(folder)
