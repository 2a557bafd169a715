"""The fixtures of `udacore.testing.pytest_plugin`, in a pytest of their own: there when
asked for, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = '''
import subprocess
import numpy as np
import pytest
from PIL import Image
from udacore.config.schema import DataConfig
from udacore.data import streets
from udacore.data.tables import open_table
from udacore.labels import get_label_space

SMALL = ["device=cpu", "workers=0", "tensorboard=false", "rounds.source.steps=2", "rounds.source.batch=2", "threads=1", "evaluate.source=null"]


def table(dataset, root, space, domain="source", split="train"):
    return open_table(DataConfig(dataset=dataset, root=str(root), split=split), get_label_space(space), domain=domain, labels=True)


def test_streets_are_the_embedded_domains_pixel_for_pixel(tiny_streets):
    for domain in ("source", "target"):
        for split, count in (("train", 4), ("val", 2)):
            read = table("folder", tiny_streets / domain / split, "streets", domain)
            assert len(read) == count
            image, label = streets.render("W", domain, split, 1, size=(64, 32))
            assert (read.read_image(1) == image).all() and (read.read_label(1) == label).all()


def test_the_real_formats_open_as_users_have_them(tiny_gta5, tiny_synthia, tiny_cityscapes):
    with Image.open(sorted((tiny_gta5 / "labels").iterdir())[0]) as label:
        assert label.mode == "P"
    assert len(table("gta5", tiny_gta5, "cityscapes19")) == 3
    synthia = table("synthia", tiny_synthia, "synthia16")
    assert len(synthia) == 3 and set(np.unique(synthia.read_label(0))) <= {*range(16), 255}
    assert (tiny_synthia / "RAND_CITYSCAPES" / "GT" / "LABELS").is_dir()
    assert [len(table("cityscapes", tiny_cityscapes, "cityscapes19", "target", split)) for split in ("train", "val")] == [3, 2]


def test_a_command_runs_in_a_clean_folder(run_uda, tiny_streets, monkeypatch):
    assert list(run_uda.folder.iterdir()) == []
    folders = [f"{entry}.{key}" for entry, place in (("source", "source/train"), ("evaluate.target", "target/val"))
               for key in ("dataset=folder", f"root={tiny_streets / place}")]
    done = run_uda("run", "streets", *SMALL, *folders)
    assert done.code == 0, done.err
    assert "source on target" in done.out and "round 'source'" in done.err
    assert (done.folder / "runs" / "source-only-streets" / "checkpoints" / "0-source.pt").is_file()
    again = run_uda("run", "streets", *SMALL, *folders)
    assert (again.code, again.out) == (2, "") and "the run folder exists" in again.err


def test_a_users_fault_and_a_failure_have_their_codes(run_uda):
    done = run_uda("run", "--plugin", "nobody")
    assert done.code == 4 and done.err.startswith("error: no plugin 'nobody' is installed")
    (run_uda.folder / "mine.py").write_text("from udacore import hookimpl\\n@hookimpl\\ndef source_loss(step):\\n    return 1 / 0\\n")
    failed = run_uda("run", "--plugin", "./mine.py", "streets", *SMALL, "source.count=2", "evaluate.target=null")
    assert failed.code == 1 and "ZeroDivisionError" in failed.err and "in hook source_loss" in failed.err


def test_a_process_of_its_own(run_uda, monkeypatch):
    done = run_uda("plugins", "list", process=True)
    assert done.code == 0 and "source-only" in done.out and done.err == ""
    with pytest.raises(subprocess.TimeoutExpired):
        run_uda("plugins", "list", process=True, timeout=0.01)


def test_several_processes(run_uda):
    done = run_uda("plugins", "list", processes=2)
    assert done.code == 0, done.err
    assert done.out.count("source-only") == 2
'''
COMMAND = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-q"]


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_fixtures_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["udacore.testing.pytest_plugin"]\n')
    (tmp_path / "test_fixtures.py").write_text(TESTS)
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_nothing_is_loaded_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("import sys\n\ndef test_one():\n    assert 'torch' not in sys.modules\n")
    assert "run_uda" not in run_pytest(tmp_path, "--fixtures").stdout
    asked = run_pytest(tmp_path, "--fixtures", "-p", "udacore.testing.pytest_plugin").stdout
    for name in ("run_uda", "tiny_streets", "tiny_gta5", "tiny_synthia", "tiny_cityscapes"):
        assert f"\n{name} -- " in asked
    done = run_pytest(tmp_path, "-p", "udacore.testing.pytest_plugin")
    assert done.returncode == 0, done.stdout  # and it does not wait for torch
