"""A plugin file imports what lies beside it, and nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from udacore.errors import PluginError
from udacore.methods.discovery import load_plugin

HOOK = "from udacore import hookimpl\n@hookimpl\ndef target_loss(step):\n    return None\n"


def write(folder: Path, helper: str, plugin: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "helpers.py").write_text(helper)
    (folder / "mine.py").write_text(plugin + HOOK)
    return str(folder / "mine.py")


def test_two_files_have_helpers_of_the_same_name(tmp_path: Path) -> None:
    before = list(sys.path), list(sys.meta_path), set(sys.modules)
    plugins = [write(tmp_path / name, f"word = {name!r}\n", "import helpers\nfrom helpers import word\n") for name in "ab"]
    first, second = (load_plugin(plugin).module for plugin in plugins)
    assert (first.word, first.helpers.word, second.word, second.helpers.word) == ("a", "a", "b", "b")
    assert (list(sys.path), list(sys.meta_path)) == before[:2]
    assert "helpers" not in sys.modules
    assert all(name.startswith(("udacore_file_", "udacore_beside_")) for name in set(sys.modules) - before[2])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", *["helpers.py"] * 2, *["mine.py"] * 2]


@pytest.mark.parametrize(
    "text",
    [
        "from helpers import word\n",
        "from .helpers import word\n",
        "from . import helpers\nword = helpers.word\n",
        "import pack.inner\nword = pack.inner.word\n",
        "from pack import inner\nword = inner.word\n",
        "from pack.inner import word\n",
        "import pack.inner as inner\nword = inner.word\n",
        "from pack import up\nword = up.word\n",
    ],
)
def test_every_form_of_an_import(text: str, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").touch()
    (tmp_path / "pack/inner.py").write_text("from .deep import word\n")
    (tmp_path / "pack/deep.py").write_text("word = 'mine'\n")
    (tmp_path / "pack/up.py").write_text("import helpers\nword = helpers.word\n")
    assert load_plugin(write(tmp_path, "word = 'mine'\n", text)).module.word == "mine"


def test_an_import_inside_a_function_is_found_later(tmp_path: Path) -> None:
    text = "def late():\n    import helpers\n    return helpers.word\n"
    first = load_plugin(write(tmp_path / "a", "word = 'a'\n", text)).module
    second = load_plugin(write(tmp_path / "b", "word = 'b'\n", text)).module
    assert (first.late(), second.late(), first.late()) == ("a", "b", "a")


def test_a_changed_helper_is_read_anew(tmp_path: Path) -> None:
    plugin = write(tmp_path, "word = 'old'\n", "from helpers import word\n")
    first = load_plugin(plugin).module
    assert load_plugin(plugin).module is first
    write(tmp_path, "word = 'new'\n", "from helpers import word\n")
    assert load_plugin(plugin).module.word == "new"


def test_the_standard_library_and_udacore_are_not_hidden(tmp_path: Path) -> None:
    for name in ("random.py", "udacore.py"):
        (tmp_path / name).write_text("raise RuntimeError\n")
    module = load_plugin(write(tmp_path, "", "import random\nimport udacore\n")).module
    assert module.random is sys.modules["random"]
    assert module.udacore is sys.modules["udacore"]


def test_a_helper_that_fails_is_named_in_one_line(tmp_path: Path) -> None:
    plugin = write(tmp_path, "import nowhere\n", "import helpers\n")
    with pytest.raises(PluginError, match=r"does not import: ModuleNotFoundError: No module named 'nowhere' \(.*helpers.py, line 1\)"):
        load_plugin(plugin)


@pytest.mark.long
def test_a_run_resumes_with_a_helper_and_workers(tmp_path: Path) -> None:
    text = "def source_factor():\n    from helpers import factor\n    return factor\n"
    loss = "@hookimpl\ndef source_loss(step):\n    from udacore.losses import cross_entropy\n"
    loss += "    out = step.model(step.source.image, domain='source')\n    return source_factor() * out.logits.square().mean()\n"
    write(tmp_path, "factor = 0.5\n", text)
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + loss)
    words = "streets --plugin ./mine.py steps=2 batch=2 source.count=4 source.image_size=[64,32] evaluate=null workers=1 device=cpu threads=1"
    for more in ([], ["--resume"]):
        done = subprocess.run(
            [sys.executable, "-m", "udacore", "run", *words.split(), "rounds.source.steps=2", "name=run", "tensorboard=false", *more],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
