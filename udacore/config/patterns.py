"""Patterns of parameter names, in which `{depth}` stands for the number of a layer."""

from __future__ import annotations

import re

DEPTH = "{depth}"
"""In a pattern: one or more digits. Where it stands twice, as in
`stages.{depth}.blocks.{depth}`, the first counts more."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; the groups `depth_0`, `depth_1` ... hold its
    numbers. Raises re.error.

    >>> compile_pattern("blocks.{depth}.").search("body.blocks.11.weight")["depth_0"]
    '11'
    """
    first, *rest = pattern.split(DEPTH)
    return re.compile(first + "".join(rf"(?P<depth_{number}>\d+){text}" for number, text in enumerate(rest)))


def read_depth(pattern: str, name: str) -> tuple[int, ...] | None:
    """The numbers for which `{depth}` stands in a name, () for a pattern without it; None if
    the name does not match."""
    found = compile_pattern(pattern).search(name)
    return None if found is None else tuple(int(found[f"depth_{number}"]) for number in range(pattern.count(DEPTH)))


def fill_depth(pattern: str, depth: tuple[int, ...]) -> str:
    """The pattern with these numbers in place of `{depth}`."""
    for number in depth:
        pattern = pattern.replace(DEPTH, str(number), 1)
    return pattern
