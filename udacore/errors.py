"""Errors that a user should read: what was given, where, and what to do instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UdaError(Exception):
    """A run could not go on; the message says why. Shown as one line; exit code 1."""

    exit_code = 1


class ConfigError(UdaError):
    """The command line or the configuration is wrong; exit code 2."""

    exit_code = 2


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
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "; possible: " + ", ".join(names) if names else ""


def list_names(names: Iterable[object], most: int = 3) -> str:
    """The first names, and how many there are besides.

    >>> list_names("abcde")
    'a, b, c and 2 more'
    """
    every = [str(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
