"""From docstrings, as they are written in this project, to Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap

ROW = re.compile(r"^(\S(?:\S| (?! ))*) {2,}(\S.*)$")
"""`name   what it means`, the form in which arguments and fields are explained."""
SOURCE = re.compile(r"\s*\(spec[ /][^)]*\)|; spec [^)]*(?=\))")
"""Where in its written source a rule comes from: for those who read the code."""


def escape(text: str) -> str:
    """Text that means itself, but for code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*$<\[{|])", r"\\\1", part) for part in parts)


def to_markdown(docstring: str | None) -> str:
    """A docstring: paragraphs, tables of names, examples."""
    text = SOURCE.sub("", inspect.cleandoc(docstring or ""))
    return "\n\n".join(_block(block) for block in re.split(r"\n\s*\n", text) if block.strip())


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
