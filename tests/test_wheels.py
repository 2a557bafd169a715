"""The wheels hold what they should, and work where nothing else of this repository is: alone, each with
the core, and all together."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from udacore.methods.scaffold import Request, write_package

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "dist.py"
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml") if "udacore.plugins" in path.read_text())
PROJECTS = ["udacore", *(f"udacore-{name}" for name in PLUGINS)]
IN_PLACE = """
import json, sys
from pathlib import Path
tree, prefix, *names = sys.argv[1:]
import udacore
from udacore.cli import main
from udacore.config.resolve import load_config
from udacore.methods.discovery import list_plugins, load_plugin
from udacore.engine.run import run
from udacore.testing.checks.subject import shrink

assert not [entry for entry in sys.path if Path(entry).resolve().is_relative_to(tree)], sys.path
for name in names:
    method = load_plugin(name)
    config = load_config(None, [f"plugin={name}"], packages=(method.package, "udacore"), method_settings=method.settings)
    results = run(shrink(config), method)
    print(json.dumps([name, [result.scores.miou for result in results]]))
assert main(["plugins", "list", "--check", "--json"]) == 0
ours = {name: module.__file__ for name, module in sys.modules.items() if name.split("_")[0].split(".")[0] == "udacore"}
assert not [path for path in ours.values() if path and not Path(path).is_relative_to(prefix)], ours
"""

pytestmark = pytest.mark.slow


@functools.cache
def script() -> Any:
    spec = importlib.util.spec_from_file_location("dist", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*words: str | Path, folder: Path) -> str:
    """What a program prints, none of this process's Python settings on it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPYPATH"))}
    environment |= {"UDACORE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All distributions, built once, and those of a package that `uda plugins new` wrote."""
    before = [*ROOT.glob("build"), *ROOT.glob("plugins/*/build"), *ROOT.glob("dist")]
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, SCRIPT, out, folder=out)
    assert [*ROOT.glob("build"), *ROOT.glob("plugins/*/build"), *ROOT.glob("dist")] == before
    return out


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What other people wrote and is installed here, without anything of ours."""
    folder = tmp_path_factory.mktemp("third-party")
    for packages in site.getsitepackages():
        for entry in Path(packages).glob("*"):
            if not re.match(r"__editable__|udacore|__pycache__|.*\.(pth|egg-link)$", entry.name) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def core(dist: Path, third_party: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment in which pip installed the core, from the wheel, and
    found all that it requires."""
    folder = tmp_path_factory.mktemp("core") / "env"
    call(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "third_party.pth").write_text(f"{third_party}\n")
    install(folder, dist, "udacore")
    return folder


def copy_environment(core: Path, folder: Path) -> Path:
    """The environment of the core once more, its compiled modules included: seconds less than a new one."""
    return shutil.copytree(core, folder / "env", symlinks=True, ignore=shutil.ignore_patterns("runs", "cache"))


def install(environment: Path, wheels: Path, *names: str) -> None:
    """Install by name, from a folder of wheels alone."""
    words = ("--quiet", "--no-index", "--no-compile", "--find-links", wheels)
    call(sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", *words, *names, folder=environment)


def run_in(environment: Path, names: Sequence[str]) -> dict[str, Any]:
    """Runs of some methods, and then what is installed and whether it imports, as one process of
    the environment sees it."""
    lines = call(environment / "bin" / "python", "-I", "-c", IN_PLACE, ROOT, environment, *names, folder=environment).splitlines()
    scores = [json.loads(line) for line in lines[: len(names)]]
    assert [name for name, _ in scores] == list(names)
    assert all(found for _, found in scores)
    listed: dict[str, Any] = {entry["name"]: entry for entry in json.loads("\n".join(lines[len(names) :]))}
    assert {entry["state"] for entry in listed.values()} == {"ok"}
    return listed


def test_the_core_alone_runs_source_only(core: Path) -> None:
    assert call(core / "bin" / "uda", "--version", folder=core).splitlines()[0].startswith(f"udacore {metadata.version('udacore')} (torch ")
    assert list(run_in(core, ["source-only"])) == ["source-only"]
    assert (core / "runs" / "contract" / "checkpoints" / "0-source.pt").is_file()


@pytest.mark.parametrize("name", PLUGINS)
def test_the_core_with_one_plugin_runs_it(dist: Path, core: Path, tmp_path: Path, name: str) -> None:
    environment = copy_environment(core, tmp_path)
    install(environment, dist, "--no-deps", f"udacore-{name}")
    assert set(run_in(environment, [name])) == {name, "source-only"}


def test_all_together_with_a_package_that_was_written_just_now(dist: Path, core: Path, tmp_path: Path) -> None:
    write_package(Request(name="my-method"), tmp_path)
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "mine", tmp_path / "udacore-my-method", folder=tmp_path)
    environment = copy_environment(core, tmp_path)
    install(environment, dist, "--find-links", str(tmp_path / "mine"), *PROJECTS, "udacore-my-method")  # pip looks at all requirements
    listed = run_in(environment, ["my-method"])
    assert set(listed) == {*PLUGINS, "my-method", "source-only"}
    assert listed["my-method"]["cores"] == "<1,>=0.2"


def read_wheel(dist: Path, project: str) -> tuple[list[str], Message, str]:
    """The names in a wheel, its metadata, and the text of its entry points."""
    (path,) = dist.glob(f"{project.replace('-', '_')}-[0-9]*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(name for name in names if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        return names, metadata, wheel.read(f"{info}/entry_points.txt").decode()


@pytest.mark.parametrize("project", PROJECTS)
def test_a_wheel_holds_its_package_and_nothing_else(dist: Path, project: str) -> None:
    names, _, entry_points = read_wheel(dist, project)
    module = project.replace("-", "_")
    tree = (ROOT if project == "udacore" else ROOT / "plugins" / project.removeprefix("udacore-")) / module
    wanted = {path.relative_to(tree.parent).as_posix() for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == wanted
    assert {f"{module}/py.typed", f"{module}/presets/streets.yaml"} <= inside
    assert not [name for name in inside if re.search(r"(^|/)(tests?|golden)(/|_)|\.npz$|conftest", name) and "templates/" not in name]
    assert "[udacore.plugins]" in entry_points
    assert [name for name in names if name.endswith("licenses/LICENSE")]


@pytest.mark.parametrize("project", PROJECTS)
def test_the_metadata_are_complete(dist: Path, project: str) -> None:
    _, metadata, _ = read_wheel(dist, project)
    assert metadata["Name"] == project
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata["Author"]
    assert metadata["Keywords"]
    classifiers = metadata.get_all("Classifier", [])
    assert {"Typing :: Typed", "Intended Audience :: Science/Research"} <= set(classifiers)
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL", []))
    assert set(links) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(link.startswith("https://") for link in links.values())
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = str(metadata.get_payload())
    assert page.lstrip().startswith(f"# {project}")
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not re.match(r"https://|#", link)] == []
    stated = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    if project != "udacore":
        assert [(str(each.name), str(each.specifier)) for each in stated] == [("udacore", "<1,>=0.2")]


def test_links_within_the_repository_lead_to_its_home() -> None:
    text = "[a](../../README.md) ![b c](x.png) [d](https://e.org/f) [g](#h)"
    home = script().HOME
    assert script().link_home(text, "plugins/x") == f"[a]({home}/blob/main/README.md) ![b c]({home}/raw/main/plugins/x/x.png) [d](https://e.org/f) [g](#h)"


@pytest.mark.parametrize("project", PROJECTS)
def test_there_is_a_source_distribution_of_each_wheel(dist: Path, project: str) -> None:
    assert len(list(dist.glob(f"{project.replace('-', '_')}-[0-9]*.tar.gz"))) == 1
