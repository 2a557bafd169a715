"""The map of the code: one line a file, from the docstrings of the modules.

`python docs/_ext/uda_architecture.py` compares docs/architecture.md with the code; `--write`
brings the page up to date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("udacore", *sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("plugins/*/udacore_*/__init__.py")))
BLOCK = re.compile(r"(?<=<!-- begin: files -->\n).*?(?=<!-- end: files -->)", re.DOTALL)


def render() -> str:
    """A heading for each package and a line for each of its files."""
    return "\n" + "\n".join(line for folder in FOLDERS for line in _package(ROOT / folder))


def _package(folder: Path) -> Iterator[str]:
    """The lines of a package and of the packages inside it; a package of one docstring has a heading only."""
    relative = folder.relative_to(ROOT).as_posix()
    yield f"### {relative}\n\n{_summary(folder / '__init__.py')}\n"
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"- `{path.name}`: {_summary(path)}"
    yield ""
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _package(inner)


def _summary(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path.relative_to(ROOT)} has no docstring")
    return " ".join(text.split("\n\n")[0].split())


def update(page: str) -> str:
    """The page with a fresh list of files."""
    if not BLOCK.search(page):
        raise ValueError(f"{PAGE.relative_to(ROOT)}: the marks of the list of files are missing")
    return BLOCK.sub(lambda _: render() + "\n", page)


def main(write: bool) -> None:
    """Write the page, or end with an error that says how to."""
    page = PAGE.read_text(encoding="utf-8")
    if write:
        PAGE.write_text(update(page), encoding="utf-8")
    elif page != update(page):
        raise SystemExit("docs/architecture.md differs from the code: python docs/_ext/uda_architecture.py --write")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
