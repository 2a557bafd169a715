"""`uda plugins new` writes a package that works as it is, and says in one line why it cannot."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import udacore
from udacore.cli import main
from udacore.config.files import read_mapping
from udacore.config.resolve import load_config
from udacore.errors import ConfigError, PluginError
from udacore.methods.scaffold import Request, core_range, write_package

ROOT = Path(udacore.__file__).parent.parent
ADABN = ROOT / "examples" / "adabn.py"
ADVERSARY = '''"""Adversarial alignment."""
from torch import nn
from udacore import hookimpl
from udacore.models import build_segmenter

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.discriminator = nn.Conv2d(len(round.classes), 1, 1)
    model.note = "a/b of no part"
    return model

@hookimpl
def target_loss(step):
    return {"discriminator/target": step.model.discriminator(step.model(step.target.image).logits.softmax(1)).mean()}
'''
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refuse(words: list[str], capsys: Capture, code: int = 2) -> str:
    """The one line with which the command refuses, after a look that nothing was written."""
    before = sorted(Path.cwd().iterdir())
    assert main(["plugins", "new", *words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert sorted(Path.cwd().iterdir()) == before
    return said.err


def test_the_files_are_told_and_complete(here: Path, capsys: Capture) -> None:
    assert main(["plugins", "new", "my-method", "--folder", "deep/er", "--author", 'A. "B" Ünal $1']) == 0
    told = capsys.readouterr().out.splitlines()
    folder = here / "deep" / "er" / "udacore-my-method"
    assert sorted(told) == sorted(str(path.relative_to(here)) for path in folder.rglob("*") if path.is_file())
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": 'A. "B" Ünal $1'}]
    assert project["entry-points"]["udacore.plugins"] == {"my-method": "udacore_my_method"}
    assert "Copyright (c) 20" in (folder / "LICENSE").read_text()
    assert 'A. "B" Ünal $1' in (folder / "LICENSE").read_text()
    assert {path.name for path in folder.parent.iterdir()} == {"udacore-my-method"}


@pytest.mark.parametrize(
    ("license", "stated", "text"),
    [("mit", "MIT", "Permission is hereby granted"), ("Apache-2.0", "Apache-2.0", "Replace this file by the text")],
)
def test_the_text_of_mit_is_written_and_any_other_licence_named(here: Path, license: str, stated: str, text: str) -> None:
    folder = here / write_package(Request(name="any", license=license, author="Ada"), here)[0].parts[0]
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["license"] == stated
    written = (folder / "LICENSE").read_text()
    assert text in written
    assert " Ada\n" in written
    assert ("SPDX-License-Identifier: Apache-2.0\n" in written) == (stated == "Apache-2.0")


def test_no_word_of_a_template_is_left_open(here: Path) -> None:
    for path in write_package(Request(name="my-method"), here):
        text = (here / path).read_text()
        assert "$" not in text.replace("${{ matrix.python }}", "").replace("$UDACORE_DATA", ""), path
    assert f"UDACORE_API = {udacore.UDACORE_API}\n" in (here / "udacore-my-method/udacore_my_method/__init__.py").read_text()


def test_the_stated_range_of_cores_holds_this_one(here: Path) -> None:
    write_package(Request(name="my-method"), here)
    (stated,) = tomllib.loads((here / "udacore-my-method/pyproject.toml").read_text())["project"]["dependencies"]
    assert Requirement(stated).specifier.contains(metadata.version("udacore"))
    assert core_range("1.4.2") == ">=1.4,<2"


def test_every_hook_is_there_with_a_word_on_when_it_is_called(here: Path) -> None:
    from udacore.plugins import hook_names

    write_package(Request(name="my-method"), here)
    tree = ast.parse((here / "udacore-my-method/udacore_my_method/__init__.py").read_text())
    hooks = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert tuple(hooks) == hook_names()
    assert [name for name, text in hooks.items() if "\n\nCalled " not in text] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Method", "did you mean 'my-method'?"),
        ("MyMethod", "did you mean 'my-method'?"),
        ("2fast", "did you mean 'fast'?"),
        ("-", "see uda plugins new --help"),
        ("a--b", "did you mean 'a-b'?"),
        ("my.method", "did you mean 'my-method'?"),
        ("../up", "did you mean 'up'?"),
        ("Müller Net", "did you mean 'muller-net'?"),
        ("udacore-mine", "did you mean 'mine'?"),
        ("source-only", "is taken by udacore "),
    ],
)
def test_a_name_of_bad_form_or_taken_is_one_line(here: Path, capsys: Capture, name: str, words: str) -> None:
    assert words.replace("see uda plugins new --help", "cannot be called '-'") in refuse([name], capsys)


@pytest.mark.parametrize("name", ["null", "on", "true", "class", "e5"])
def test_a_name_that_means_something_in_yaml_or_python_stays_a_name(here: Path, name: str) -> None:
    write_package(Request(name=name), here)
    for preset in (here / f"udacore-{name}/udacore_{name}/presets").iterdir():
        assert read_mapping(preset)["plugin"] == name
    assert load_config(str(here / f"udacore-{name}/udacore_{name}/presets/streets.yaml")).plugin == name


def test_what_is_there_already_is_not_touched(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "udacore-mine").mkdir()
    assert "udacore-mine exists; choose another name" in refuse(["mine"], capsys)
    (here / "udacore_other.py").touch()
    monkeypatch.syspath_prepend(str(here))
    assert "a module udacore_other can be imported" in refuse(["other"], capsys)


def test_an_unknown_licence_and_an_author_of_two_lines_are_one_line(here: Path, capsys: Capture) -> None:
    for license in ("Apache-2", "", "a\nb"):
        assert "--license takes the name of a licence as SPDX writes it" in refuse(["mine", "--license", license], capsys)
    assert "the author's name must be one line" in refuse(["mine", "--author", "a\nb"], capsys)
    assert "give the method a name" in refuse([], capsys)


def test_a_file_goes_in_unchanged(here: Path, capsys: Capture) -> None:
    assert main(["plugins", "new", "--from", str(ADABN)]) == 0
    assert "--plugin adabn" in capsys.readouterr().err
    code = (here / "udacore-adabn/udacore_adabn/__init__.py").read_text()
    assert code.startswith(ADABN.read_text())
    added = code.removeprefix(ADABN.read_text()).strip().splitlines()
    assert len(added) == 1
    assert added[0].startswith("UDACORE_API = ")
    readme = (here / "udacore-adabn/README.md").read_text()
    assert "| `on_round_end` | yes |" in readme
    assert "| `source_loss` | no: what the core does |" in readme


def test_a_file_that_states_its_version_of_the_hooks_gets_no_line_at_all(here: Path) -> None:
    (here / "stated.py").write_text("# first line\nUDACORE_API = 1\n" + ADVERSARY)
    write_package(Request(name="stated", file=Path("stated.py")), here)
    assert (here / "udacore-stated/udacore_stated/__init__.py").read_text() == (here / "stated.py").read_text()


def test_a_folder_that_cannot_be_written_is_one_line(here: Path) -> None:
    (here / "taken").touch()
    with pytest.raises(ConfigError, match=r"nothing can be written into .*taken/deeper: Not a directory"):
        write_package(Request(name="mine"), here / "taken" / "deeper")


def test_a_file_that_is_no_method_or_not_alone_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "idle.py").write_text("x = 1\n")
    (here / "lonely.py").write_text("import helper_of_mine\n" + ADVERSARY)
    (here / "helper_of_mine.py").touch()
    with pytest.raises(PluginError, match="implements no hook"):
        write_package(Request(name="idle", file=Path("idle.py")), here)
    monkeypatch.syspath_prepend(str(here))
    with pytest.raises(ConfigError, match=r"lonely\.py imports helper_of_mine, which lies beside it"):
        write_package(Request(name="lonely", file=Path("lonely.py")), here)
    with pytest.raises(PluginError, match="no such Python file"):
        write_package(Request(name="gone", file=Path("gone.py")), here)
    assert not list(here.glob("*udacore*"))


ODD = {
    "utf-8": "# Mü\n",
    "utf-8-sig": "# Mü\n",
    "latin-1": "#!/usr/bin/python\n# -*- coding: latin-1 -*-\nNAME = 'Mü'\nassert len(NAME) == 2\n",
}


@pytest.mark.parametrize("encoding", ODD)
def test_a_file_is_copied_to_the_byte_whatever_it_is_written_in(here: Path, encoding: str) -> None:
    text = ODD[encoding] + ADVERSARY.replace('"""Adversarial', r'"""\"Adversarial" $it {x} \\n')
    (here / "odd.py").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    write_package(Request(name="odd", file=Path("odd.py")), here)
    code = (here / "udacore-odd/udacore_odd/__init__.py").read_bytes()
    assert code.startswith((here / "odd.py").read_bytes())
    names: dict[str, object] = {}
    exec(compile(code, "odd", "exec"), names)
    assert names["UDACORE_API"] == udacore.UDACORE_API


def test_a_folder_named_like_an_installed_package_is_no_neighbour(here: Path) -> None:
    for name in ("udacore", "torch"):
        (here / name).mkdir()
        (here / name / "__init__.py").touch()
    (here / "calm.py").write_text(ADVERSARY)
    assert write_package(Request(name="calm", file=Path("calm.py")), here)


HASTY = '''import attrs, os
from udacore import MethodSettings, option
@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    early: float = option(1.0, "gone")
@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    late: float = option(2.0, "this | that")
'''


def test_a_hasty_file_makes_a_package_whose_tables_and_linters_are_well(here: Path) -> None:
    (here / "hasty.py").write_text(HASTY + ADVERSARY)
    write_package(Request(name="hasty", file=Path("hasty.py")), here)
    assert r"| `late` | 2.0 | this \| that |" in (here / "udacore-hasty/README.md").read_text()
    python(here / "udacore-hasty", "-m", "ruff", "check", "--no-cache", ".")
    assert tomllib.loads((here / "udacore-hasty/pyproject.toml").read_text())["tool"]["mypy"]["disable_error_code"] == ["no-redef"]


def test_the_ci_file_is_read_as_it_is_meant(here: Path) -> None:
    write_package(Request(name="on"), here)
    flow = yaml.safe_load((here / "udacore-on/.github/workflows/test.yml").read_text())
    assert flow[True] == ["push", "pull_request"]  # `on`, as YAML 1.1 reads it
    (job,) = flow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert job["steps"][1]["with"]["python-version"] == "${{ matrix.python }}"
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[2:] == ["ruff check .", "mypy udacore_on", "pytest -q", "uda plugins check on", "python -m build"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The little method and AdaBN as packages, with what pip installs of both in `site`."""
    here = tmp_path_factory.mktemp("packages")
    write_package(Request(name="my-method"), here)
    write_package(Request(name="adabn", file=ADABN), here)
    quiet = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--no-build-isolation"]
    for name in ("my-method", "adabn"):
        copy = shutil.copytree(here / f"udacore-{name}", here / "built" / name)  # building leaves folders behind
        python(here, "-m", "pip", "install", *quiet, "--target", str(here / "site"), str(copy))
    return here


def python(folder: Path, *words: str, path: Path | None = None) -> str:
    """What a Python process prints, `path` among its packages; no pytest option of ours reaches it."""
    environment = {**os.environ, "UDACORE_CACHE": str(folder.parent / "cache")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BRIEF = ("-k", "not (resume or same_seed or processes)")
"""Without the checks that run all rounds several times."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chosen"),
    [("my-method", BRIEF), *(pytest.param(name, (), marks=pytest.mark.long) for name in ("my-method", "adabn"))],
)
def test_the_package_passes_its_own_tests(packages: Path, name: str, chosen: tuple[str, ...]) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    shown = python(packages / f"udacore-{name}", *words, path=packages / "site")
    passed = [line for line in shown.splitlines() if " passed" in line]
    assert len(passed) == 1
    assert not {"skipped", "failed", "xfailed"} & set(passed[0].split())
    assert int(passed[0].split()[0]) >= 15


@pytest.mark.slow
def test_the_packages_pass_ruff_and_the_written_one_mypy(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my-method", "adabn"):
        python(packages / f"udacore-{name}", "-m", "ruff", "check", "--no-cache", ".")
    monkeypatch.setenv("MYPYPATH", str(ROOT))  # mypy does not follow editable installs
    python(packages / "udacore-my-method", "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), "udacore_my_method")
