"""Wheels and source distributions of the core and of every plugin: `python .ci/dist.py FOLDER`.

Each is built from a copy that holds what is distributed and nothing else: the packages, the page, the
licence. So no build folder is left in the tree, and neither tests nor reference vectors can slip in. Links
within the repository become links to its home. Needs `build` and `setuptools` in the running environment, and
no network.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = "https://github.com/udacore/udacore"
KEPT = ("pyproject.toml", "README.md", "LICENSE")


def projects() -> list[Path]:
    """The folders of the core and of all plugins."""
    return [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


def copy_project(project: Path, copy: Path) -> None:
    """Copy what is distributed: the files of KEPT and the packages whose name begins with `udacore`."""
    copy.mkdir(parents=True)
    for name in KEPT:
        shutil.copy2(project / name, copy / name)
    for package in project.glob("udacore*/__init__.py"):
        shutil.copytree(package.parent, copy / package.parent.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    readme = copy / "README.md"
    readme.write_text(link_home(readme.read_text(encoding="utf-8"), project.relative_to(ROOT).as_posix()), encoding="utf-8")


def link_home(text: str, folder: str) -> str:
    """A page whose relative links and images lead to the repository; `folder` is
    where the page lies in it."""

    def absolute(match: re.Match[str]) -> str:
        sign, words, target = match.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return match.group()
        path = posixpath.normpath(posixpath.join(folder, target))
        return f"{sign}[{words}]({HOME}/{'raw' if sign else 'blob'}/main/{path})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, text)


def build(project: Path, out: Path) -> None:
    """A source distribution of one project, and from it the wheel. Ends the program with the
    tool's words if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / project.name
        copy_project(project, copy)
        words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{project.relative_to(ROOT.parent)}: no distribution could be built\n{done.stdout}{done.stderr}")


def main(out: Path) -> None:
    """Build all, two at a time, into a folder that holds nothing else of ours afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("udacore*.whl"), *out.glob("udacore*.tar.gz")):
        old.unlink()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda project: build(project, out.resolve()), projects()))
    print("\n".join(sorted(str(path) for path in out.iterdir() if path.name.startswith("udacore"))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python .ci/dist.py FOLDER")
    main(Path(sys.argv[1]))
