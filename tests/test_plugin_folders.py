"""A plugin's folder runs its own tests where nothing else of this repository is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent.parent / "plugins"


@pytest.mark.slow
def test_a_copied_plugin_passes_its_tests(tmp_path: Path) -> None:
    copy = shutil.copytree(PLUGINS / "proca", tmp_path / "proca", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
