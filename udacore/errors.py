"""Errors for users: what was given, where, and what to do instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

LONGEST_LINE = 400
"""Characters of the longest line that a user is shown."""

MOST_PROBLEMS = 20
"""Problems of a configuration that are listed; of more, the count is given."""


class UdaError(Exception):
    """A run could not go on; the message says why. Shown as one line; exit code 1."""

    exit_code = 1


class ConfigError(UdaError):
    """The command line or the configuration is wrong; exit code 2."""

    exit_code = 2


class SeveralProblemsError(ConfigError):
    """Several things are wrong with a configuration: a heading, and a line for each of the first problems."""

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        """`problems`: one text each, without line breaks of their own after `one_line`."""
        self.lines = [heading, *problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            self.lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
        super().__init__("\n  ".join(one_line(line, LONGEST_LINE - 10) for line in self.lines))


class DataError(UdaError):
    """A file of a data set is missing, broken or does not fit its partner; exit code 3."""

    exit_code = 3


class PluginError(UdaError):
    """A plugin is missing, broken or breaks the contract of the hooks; exit code 4."""

    exit_code = 4


def near_matches(given: str, possible: Iterable[str]) -> str:
    """Text to append to a message about an unknown name: near matches, else all that is possible.

    >>> near_matches("sourc", ["source", "target"])
    "; did you mean 'source'?"
    >>> near_matches("x", ["source", "target"])
    '; possible: source, target'
    """
    names = [str(name) for name in possible]
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.6) if len(given) <= LONGEST_LINE else []
    if close:
        return "; did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "; possible: " + list_names(names, most=20) if names else ""


def list_names(names: Iterable[object], most: int = 3, characters: int = 240) -> str:
    """The first names, and how many there are besides: at most `most` of them, and about
    `characters` characters.

    >>> list_names("abcde")
    'a, b, c and 2 more'
    """
    every = [str(name) for name in names]
    shown: list[str] = []
    for name in every[:most]:
        short = one_line(name, 120)
        if shown and sum(len(each) + 2 for each in shown) + len(short) > characters:
            break
        shown.append(short)
    return ", ".join(shown) + (f" and {len(every) - len(shown)} more" if len(every) > len(shown) else "")


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def spell_out(text: str) -> str:
    """The text with control characters as their escapes: line breaks, terminal sequences,
    NUL, marks of direction.

    >>> print(spell_out("a\\x1b[31m"))
    a\\x1b[31m
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """The text as one line of at most `most` characters; what is cut is counted, control
    characters are spelt out.

    A line break becomes a space. Terminal sequences, NUL and halves of surrogate pairs become their escapes.

    >>> one_line("a\\n  b\\x1b[31m")
    'a b\\\\x1b[31m'
    >>> one_line("x" * 100, 50)
    'xxxxxxxxxx ... and 90 more characters'
    """
    start = re.sub(r"\s*[\r\n]\s*", " ", text[: 4 * most])
    shown = spell_out(start)
    if len(text) <= 4 * most and len(shown) <= most:
        return shown
    left = most - 40
    return f"{shown[:left]} ... and {max(len(text), len(shown)) - left} more characters"
