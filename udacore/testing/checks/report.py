"""Results of checks: ContractError and its messages, and a line for each check."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import attrs

_LIBRARY = sysconfig.get_paths()["stdlib"]


class ContractError(AssertionError):
    """A method breaks the contract; one line that says what was seen, where, and what to change."""


@attrs.frozen
class CheckResult:
    """One line of `uda plugins check`: what was looked at, whether it is well, and
    what was found or is wrong."""

    check: str
    ok: bool
    message: str


def describe(error: BaseException) -> str:
    """An exception in one line, with its notes and the place in the method that raised it."""
    text = flat(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    place = f" ({short(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}{notes}"


def flat(error: object) -> str:
    """A message of several lines in one."""
    return " ".join(str(error).split())


def short(file: str) -> str:
    """The last two parts of a path: enough to find a file by."""
    return "/".join(Path(file).parts[-2:])


def _is_ours(file: str) -> bool:
    parts = Path(file).parts
    is_python = file.startswith(_LIBRARY) and "site-packages" not in parts
    return is_python or file.startswith("<") or "torch" in parts or "pluggy" in parts or str(Path(__file__).parents[2]) in file
