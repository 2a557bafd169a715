"""`make faults`: runs of six methods, killed at random instants and resumed, end as undisturbed ones.

Ten kills a method; `KILLS=3` takes fewer. Not part of `make test`: it takes about half an hour on two cores.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from udacore.methods.discovery import list_plugins
from udacore.testing.checks.subject import Subject
from udacore.testing.interruption import find_differences

KILLS = int(os.environ.get("KILLS", "10"))
METHODS = sorted(plugin.name for plugin in list_plugins() if plugin.distribution != "udacore-daformer-lite")
RUN = """
import sys
from pathlib import Path
import attrs
from udacore.engine.run import run
from udacore.testing.checks.subject import Subject
subject = Subject(sys.argv[1])
config = attrs.evolve(subject.config, folder=sys.argv[2], name="run", tensorboard=True)
run(config, subject.method, resume=sys.argv[3] == "resume")
"""


def start(method: str, folder: Path, how: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "UDACORE_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", RUN, method, str(folder), how]
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()


def test_the_seven_methods_are_there() -> None:
    assert METHODS == ["bdl", "clp", "fada", "mic", "proca", "pycda", "source-only"]
    assert all(Subject(method).config.rounds for method in METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_kills_at_random_instants_change_nothing(method: str, tmp_path: Path) -> None:
    began = time.monotonic()
    finish(start(method, tmp_path / "whole", "begin"))
    length = time.monotonic() - began
    rng = random.Random(method)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        process = start(method, folder, "begin")
        time.sleep(length * rng.uniform(0.3, 1.0))  # before that nothing but imports
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finish(start(method, folder, "resume"))
        assert find_differences(tmp_path / "whole" / "run", folder / "run") == [], f"kill {number}"
