"""Sections of benchmarks/RESULTS.md that commands of their own write."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_name("RESULTS.md")
MARK = "\n## "


def own_sections(text: str) -> str:
    """All sections of the file's text, from the first heading of level two; empty where there is none."""
    return "".join(text.partition(MARK)[1:])


def with_section(text: str, title: str, section: str) -> str:
    """The text with the section of this title, which ends with the next one, replaced or put at its end."""
    head, *sections = text.rstrip().split(MARK)
    kept = [each for each in sections if each.partition("\n")[0] != title]
    return MARK.join([head.rstrip() + "\n", *(each.rstrip() + "\n" for each in kept), f"{title}\n\n{section.strip()}\n"])
