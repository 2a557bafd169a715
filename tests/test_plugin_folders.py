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
    """FADA without its runs, which say nothing more here; .ci/run takes the tests of
    all plugins from copies."""
    copy = shutil.copytree(PLUGINS / "fada", tmp_path / "fada", ignore=shutil.ignore_patterns("__pycache__"))
    runs = ("--ignore=tests/test_contract.py", "--ignore=tests/test_run.py", "--ignore=tests/test_golden.py")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not long", *runs]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
