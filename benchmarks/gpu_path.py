"""Put the core and the plugins, with their entry points, into a folder for PYTHONPATH, without a network.

    python benchmarks/gpu_path.py COPY SITE [--by-hand]

COPY is a copy of the repository. pip does it where pip and setuptools are there; where not, or with
--by-hand, the packages are copied and their metadata written from pyproject.toml.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> None:
    copy, site, by_hand = Path(sys.argv[1]), Path(sys.argv[2]), "--by-hand" in sys.argv
    projects = [copy, *sorted(path.parent for path in copy.glob("plugins/*/pyproject.toml"))]
    if by_hand or not install(projects, site):
        for project in projects:
            write(project, site)
        print("gpu: packages copied, metadata written by hand", flush=True)
    if not has("packaging"):
        vendored = next((name for name in ("pip._vendor.packaging", "setuptools._vendor.packaging") if has(name)), None)
        if vendored is None:
            sys.exit("gpu: Python's packaging is not installed, and neither pip nor setuptools brings it along")
        shutil.copytree(Path(str(importlib.util.find_spec(vendored).origin)).parent, site / "packaging")  # type: ignore[union-attr]


def has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def install(projects: list[Path], site: Path) -> bool:
    """Whether pip could do it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    done = subprocess.run([*command, *map(str, projects)], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
    return not done.returncode


def write(project: Path, site: Path) -> None:
    """The packages of a project, and a folder .dist-info with what importlib.metadata reads."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for package in project.glob("udacore*/__init__.py"):
        shutil.copytree(package.parent, site / package.parent.name, dirs_exist_ok=True)
    folder = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    folder.mkdir(parents=True)
    requires = "".join(f"Requires-Dist: {each}\n" for each in about.get("dependencies", []))
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n{requires}")
    groups = {**about.get("entry-points", {}), "console_scripts": about.get("scripts", {})}
    lines = [line for group, entries in groups.items() for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()), "")]
    (folder / "entry_points.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
