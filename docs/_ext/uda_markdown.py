"""From docstrings, as they are written in this project, to Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from functools import cache
from pathlib import Path

ROW = re.compile(r"^(\S(?:\S| (?! ))*) {2,}(\S.*)$")
"""`name   what it means`, the form in which arguments and fields are explained."""
ALGORITHMS = Path(__file__).parent.parent / "algorithms"
CITATION = re.compile(r"\balgorithms/([a-z-]+) (\d+(?:\.\d+)?(?:(?:, | and | to )\d+(?:\.\d+)?)*)")
"""`algorithms/clp 5.2, 5.3`: sections of a page of docs/algorithms."""


def escape(text: str) -> str:
    """Text that means itself, but for code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*$<\[{|])", r"\\\1", part) for part in parts)


def to_markdown(docstring: str | None) -> str:
    """A docstring: paragraphs, tables of names, examples."""
    text = inspect.cleandoc(docstring or "")
    return link_citations("\n\n".join(_block(block) for block in re.split(r"\n\s*\n", text) if block.strip()))


def link_citations(text: str) -> str:
    """Markdown in which each section that is cited is a link to its heading."""

    def link(found: re.Match[str]) -> str:
        page, sections = found.groups()
        target, anchors = f"/algorithms/{page}.md", _anchors(page)
        return f"{page} " + re.sub(r"\d+(?:\.\d+)?", lambda number: f"[{number[0]}]({target}#{anchors[number[0]]})", sections)

    return CITATION.sub(link, text)


@cache
def _anchors(page: str) -> dict[str, str]:
    """Number of a section -> the anchor that MyST gives its heading."""
    text = (ALGORITHMS / f"{page}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ ((\d+(?:\.\d+)?) .+)$", text, re.MULTILINE)
    return {number: re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title, number in headings}


def _block(block: str) -> str:
    lines = block.split("\n")
    if lines[0].lstrip().startswith(">>>"):
        return f"```python\n{textwrap.dedent(block)}\n```"
    if lines[0].startswith("    "):
        return f"```text\n{textwrap.dedent(block)}\n```"
    if ROW.match(lines[0]) and all(ROW.match(line) or line.startswith("  ") for line in lines):
        return _table(lines)
    return escape("\n".join(line.strip() for line in lines))


def _table(lines: list[str]) -> str:
    rows: list[list[str]] = []
    for line in lines:
        found = ROW.match(line)
        if found:
            rows.append([found[1], found[2]])
        else:
            rows[-1][1] += " " + line.strip()
    return "\n\n".join(f"{_names(name)}\n: {escape(text)}" for name, text in rows)


def _names(text: str) -> str:
    return ", ".join(f"`{name.strip()}`" for name in text.split(","))
